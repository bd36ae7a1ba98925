"""Restores from checkpoints that do not fit, into variables on servers, by every way."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.flexible import flexible_restore
from autodist.checkpoint.saver import RestoreOptions, Saver
from autodist.errors import ArgumentError
from autodist.strategy import PartitionedPS, StrategyBuilder
from support.clusters.ps_job import PsJob, running
from support.clusters.server_variables import build, values_of
from support.ports import free_ports

tf1 = tf.compat.v1

RNG = np.random.default_rng(4)
STORED = {
    "old/rows": RNG.random((250, 50), np.float32),
    "old/columns": RNG.random((300, 50), np.float32),
    "old/small": RNG.random(7).astype(np.float32),
    "old/ref": RNG.random((9, 3), np.float32),
    "old/text": np.array([b"four", b"five" * 90]),
}
OPTIONS: dict[str, Any] = {
    "name_map": [("(rows|columns|small|ref|text)", r"old/\1")],
    "grow": {"rows": 0},
    "cast": True,
    "missing": "keep",
}


@contextlib.contextmanager
def fresh(job: PsJob) -> Iterator[Any]:
    """A session whose variables nobody else has had, and that are initialized."""
    with (
        tf.Graph().as_default() as graph,
        graph.container(secrets.token_hex(4)),
        tf1.Session(job.target) as session,
    ):
        yield session


@pytest.fixture
def prefix(directory: Path) -> str:
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, value in STORED.items():
            tf1.get_variable(name, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        path = str(directory / "m")
        return str(tf1.train.Saver().save(session, path, write_meta_graph=False))


def expected(former: dict[str, Any]) -> dict[str, Any]:
    rows = np.concatenate([STORED["old/rows"], np.zeros([50, 50], np.float32)])
    taken = {name.removeprefix("old/"): value for name, value in STORED.items()}
    return {**former, **taken, "rows": rows, "small": taken["small"].astype(np.float64)}


def assert_restored(values: dict[str, Any], former: dict[str, Any]) -> None:
    wanted = expected(former)
    assert set(values) == set(wanted)
    for name, value in values.items():
        # The initial values of further rows are random.
        taken = slice(250) if name == "rows" else ()
        np.testing.assert_array_equal(value[taken], wanted[name][taken], err_msg=name)
    assert not np.array_equal(values["rows"][250:], former["rows"][250:])


def assert_kept(values: dict[str, Any], former: dict[str, Any]) -> None:
    for name, value in values.items():
        former_value = np.asarray(former[name])
        # The bytes of texts are pointers.
        is_text = former_value.dtype == object
        same = value.tolist() if is_text else np.asarray(value).tobytes()
        assert same == (former_value.tolist() if is_text else former_value.tobytes()), name


def restore(job: PsJob, prefix: str, **arguments: Any) -> None:
    """Restores after refusals that change nothing."""
    with fresh(job) as session:
        build()
        saver = Saver(**arguments)
        session.run(tf1.global_variables_initializer())
        former = values_of(session)
        for wrong in ({"missing": "error"}, {"grow": {}}, {"cast": False}, {"unexpected": "error"}):
            if wrong == {"unexpected": "error"}:
                wrong["name_map"] = {}
            with pytest.raises(tf.errors.OpError):
                saver.restore(session, prefix, options=RestoreOptions(**{**OPTIONS, **wrong}))
            assert_kept(values_of(session), former)
        report = saver.restore(session, prefix, options=RestoreOptions(**OPTIONS))
        assert report is not None
        assert set(report.kept) == {"empty", "flag", "global_step"}
        assert_restored(values_of(session), former)


@pytest.mark.parametrize("way", [None, "shared", "stream"])
@pytest.mark.parametrize("verify", ["before", "swap"])
def test_every_way_restores_flexibly(
    job: PsJob, prefix: str, caplog: pytest.LogCaptureFixture, way: str | None, verify: str
) -> None:
    with caplog.at_level(logging.INFO, logger="autodist"):
        restore(job, prefix, transport=way, verify=verify)
    told = "sent the values" if way == "stream" else "every task read its variables"
    assert sum(told in record.getMessage() for record in caplog.records) == 1


def test_servers_without_our_ops_get_values(prefix: str) -> None:
    with running(free_ports(3), [0]) as job:
        restore(job, prefix)


def test_one_server_is_restored_flexibly(job: PsJob, prefix: str) -> None:
    with fresh(job) as session, tf.device("/job:ps/task:1"):
        rows = tf1.get_variable("rows", [300, 50], use_resource=True)
        more = tf1.get_variable("more", initializer=3, use_resource=True)
        saver = Saver()
        options = RestoreOptions(
            missing="initialize", name_map={"rows": "old/rows"}, grow={"rows": 0}
        )
        saver.restore(session, prefix, options=options)
        np.testing.assert_array_equal(session.run(rows)[:250], STORED["old/rows"])
        assert session.run(more) == 3


def test_damage_changes_nothing(job: PsJob, prefix: str) -> None:
    path = Path(prefix + ".data-00000-of-00001")
    whole = path.read_bytes()
    for name in ("old/rows", "old/columns", "old/ref"):
        contents = bytearray(whole)
        contents[contents.index(STORED[name].tobytes()) + 5] ^= 1
        path.write_bytes(contents)
        with fresh(job) as session:
            build()
            saver = Saver()
            session.run(tf1.global_variables_initializer())
            former = values_of(session)
            with pytest.raises(tf.errors.DataLossError, match=f"tensor '{name}'"):
                saver.restore(session, prefix, options=RestoreOptions(**OPTIONS))
            assert_kept(values_of(session), former)


def test_a_value_that_no_message_holds_is_refused(
    job: PsJob, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flexible_restore, "_MOST_FED_BYTES", 10_000)
    with fresh(job) as session:
        build()
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        former = values_of(session)
        with pytest.raises(ArgumentError, match="'rows' lies on a server and is to be sent"):
            saver.restore(session, prefix, options=RestoreOptions(**OPTIONS))
        assert_kept(values_of(session), former)


def test_a_distributed_session_on_servers(
    make_autodist: Callable[[StrategyBuilder], AutoDist], prefix: str
) -> None:
    autodist = make_autodist(PartitionedPS(min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        rows = tf1.get_variable("rows", [300, 50], initializer=tf1.ones_initializer())
        columns = tf1.get_variable("columns", [300, 50], initializer=tf1.ones_initializer())
        text = tf1.get_variable("text", initializer=np.array([b"a", b"b"]))
        more = tf1.get_variable("more", [5, 5], initializer=tf1.ones_initializer())
        saver = Saver()
        session = autodist.create_distributed_session()
        session.run([more.assign_add(more), rows.assign_add(rows)])
        options = {**OPTIONS, "missing": "initialize"}
        saver.restore(session, prefix, options=RestoreOptions(**options))
        found = session.run({"rows": rows, "columns": columns, "text": text, "more": more})
        np.testing.assert_array_equal(found["rows"][:250], STORED["old/rows"])
        np.testing.assert_array_equal(found["rows"][250:], np.ones([50, 50]))
        np.testing.assert_array_equal(found["columns"], STORED["old/columns"])
        assert found["text"].tolist() == STORED["old/text"].tolist()
        np.testing.assert_array_equal(found["more"], np.ones([5, 5]))
        session.close()
