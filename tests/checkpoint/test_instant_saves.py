"""Saves of one instant: all variables are as they were at once, however they are updated meanwhile."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import ArgumentError
from support.threads import training

tf1 = tf.compat.v1
METHODS = ["pages", "fork", "copy"]
ROWS, COLUMNS = 4000, 120  # 1.9 MB: several blocks, and more than what is copied at once


def _add_rows(variable: Any) -> Any:
    return tf.raw_ops.ResourceScatterAdd(
        resource=variable.handle, indices=tf.range(ROWS), updates=tf.ones([ROWS, COLUMNS])
    )


class Chain:
    """Counters that are updated one after the other: `first` by rows, `dense`, `last` by rows.

    At any instant `last <= dense <= first <= last + 1`, which a save that reads them one after the
    other does not see.
    """

    def __init__(self) -> None:
        self.first, self.last = (
            tf1.get_variable(
                n, [ROWS, COLUMNS], use_resource=True, initializer=tf1.zeros_initializer()
            )
            for n in ("first", "last")
        )
        self.dense = tf1.get_variable(
            "dense", [ROWS, COLUMNS], use_resource=True, initializer=tf1.zeros_initializer()
        )
        with tf.control_dependencies([_add_rows(self.first)]):
            middle = tf1.assign_add(self.dense, tf.ones([ROWS, COLUMNS])).op
        with tf.control_dependencies([middle]):
            self.step = _add_rows(self.last)


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session


@pytest.mark.parametrize("method", METHODS)
def test_a_save_of_one_instant_sees_the_counters_in_order(
    method: str, session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "autodist")
    chain = Chain()
    saver = Saver(options=SaveOptions(consistency="instant", snapshot_method=method))
    session.run(tf1.global_variables_initializer())
    # Both tables are updated in place from now on.
    session.run(chain.step)
    with training(session, chain.step):
        for number in range(20):
            path = saver.save(session, str(tmp_path / "m"), number)
            first, dense, last = (
                tf.train.load_variable(path, name) for name in ("first", "dense", "last")
            )
            for counter in (first, dense, last):
                assert counter.min() == counter.max()
            assert last[0, 0] <= dense[0, 0] <= first[0, 0] <= last[0, 0] + 1
    assert f"kept by {method}" in caplog.text


def test_the_bytes_are_those_of_any_save(session: Any, tmp_path: Path) -> None:
    chain = Chain()
    session.run(tf1.global_variables_initializer())
    session.run(chain.step)
    saved = {}
    for method in METHODS:
        options = SaveOptions(snapshot_method=method)
        path = Saver(options=options).save(
            session, str(tmp_path / method / "m"), consistency="instant"
        )
        saved[method] = Path(f"{path}.data-00000-of-00001").read_bytes()
    path = tf1.train.Saver().save(session, str(tmp_path / "stock"))
    wanted = Path(f"{path}.data-00000-of-00001").read_bytes()
    assert all(found == wanted for found in saved.values())


def test_a_small_pool_spills_beside_the_checkpoint(session: Any, tmp_path: Path) -> None:
    chain = Chain()
    saver = Saver(
        options=SaveOptions(
            consistency="instant", snapshot_method="pages", snapshot_memory_bytes=1 << 16
        )
    )
    session.run(tf1.global_variables_initializer())
    session.run(chain.step)
    with training(session, chain.step):
        for number in range(5):
            path = saver.save(session, str(tmp_path / "m"), number)
            first, last = (tf.train.load_variable(path, name) for name in ("first", "last"))
            assert np.all(last <= first)
            assert np.all(first <= last + 1)
    assert not any(path.suffix == "" and path.name != "checkpoint" for path in tmp_path.iterdir())


def test_variables_without_updates_in_place_are_referred_to(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "autodist")
    Chain()
    session.run(tf1.global_variables_initializer())
    Saver().save(session, str(tmp_path / "m"), consistency="instant")
    assert "kept by references" in caplog.text


def test_an_unknown_consistency_is_refused(session: Any, tmp_path: Path) -> None:
    Chain()
    session.run(tf1.global_variables_initializer())
    with pytest.raises(ArgumentError, match="consistency must be one of"):
        Saver().save(session, str(tmp_path / "m"), consistency="epoch")
    assert list(tmp_path.iterdir()) == []
