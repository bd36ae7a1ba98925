"""Restores into variables on parameter servers, in real processes, whatever the way."""

import concurrent.futures
import contextlib
import logging
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.distributed.variables import own_graph_handles
from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import PsJob, files
from support.clusters.server_variables import build, values_of

tf1 = tf.compat.v1

PS = "/job:ps/replica:0/task:"
WAYS = (None, "shared", "stream")


@contextlib.contextmanager
def fresh(job: PsJob) -> Iterator[Any]:
    """A session whose variables nobody else has had."""
    with (
        tf.Graph().as_default() as graph,
        graph.container(secrets.token_hex(4)),
        tf1.Session(job.target) as session,
    ):
        yield session


def stored(directory: Path, values: dict[str, Any], name: str = "stock") -> str:
    """Saves values with stock TensorFlow on one machine; returns the prefix."""
    prefix = str(directory / name)
    with tf.Graph().as_default(), tf1.Session() as session:
        for key, value in values.items():
            tf1.get_variable(key, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, prefix, write_meta_graph=False)
    return prefix


def expected_values(rows: int = 300) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "rows": rng.random((rows, 50), np.float32),
        "columns": rng.random((rows, 50), np.float32),
        "small": rng.random(7),
        "empty": np.zeros((0, 3), np.float32),
        "ref": rng.random((9, 3), np.float32),
        "text": np.array([b"four", b"five" * 90]),
        "flag": np.array(False),
        "global_step": np.array(42, np.int64),
    }


def assert_equal(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(values) == set(expected)
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verify", ["before", "during", "swap"])
@pytest.mark.parametrize("initialized", [False, True])
def test_every_way_restores_what_stock_saved(
    job: PsJob,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    way: str | None,
    verify: str,
    initialized: bool,
) -> None:
    expected = expected_values()
    prefix = stored(directory, expected)
    with fresh(job) as session:
        build()
        saver = Saver(transport=way, verify=verify, memory_bytes=16 << 20)
        if initialized:
            session.run(tf1.global_variables_initializer())
        with caplog.at_level(logging.INFO, logger="autodist"):
            saver.restore(session, prefix)
        assert_equal(values_of(session), expected)
        told = "sent the values" if way == "stream" else "every task read its variables"
        assert told in caplog.records[-1].getMessage()
        # What was restored can be trained and saved.
        session.run(tf1.global_variables()[0].assign_add(tf.ones([100, 50])))
        saver.save(session, str(directory / "again"), write_meta_graph=False)
    trained = tf.train.load_variable(str(directory / "again"), "rows")
    np.testing.assert_array_equal(trained[:100], expected["rows"][:100] + 1)


def initialized_values(session: Any) -> dict[str, Any]:
    """Initializes the variables of `build`; returns what they are."""
    session.run(tf1.global_variables_initializer())
    return values_of(session)


def flip(prefix: str, name: str) -> None:
    """Changes one byte of a tensor that is stored whole."""
    found = tf.train.load_variable(prefix, name).tobytes()
    path = Path(prefix + ".data-00000-of-00001")
    contents = bytearray(path.read_bytes())
    contents[contents.index(found) + len(found) // 2] ^= 4
    path.write_bytes(contents)


@pytest.mark.parametrize("verify", ["before", "swap"])
@pytest.mark.parametrize("way", ["shared", "stream"])
def test_a_damaged_checkpoint_changes_nothing(
    job: PsJob, directory: Path, way: str, verify: str
) -> None:
    prefix = stored(directory, expected_values())
    flip(prefix, "columns")
    with fresh(job) as session:
        build()
        saver = Saver(transport=way, verify=verify)
        former = initialized_values(session)
        with pytest.raises(
            tf.errors.DataLossError, match=r"tensor 'columns': bytes \[\d+, \d+\) of"
        ):
            saver.restore(session, prefix)
        assert_equal(values_of(session), former)
    with fresh(job) as session:
        build()
        saver = Saver(transport=way, verify=verify)
        with pytest.raises(tf.errors.DataLossError, match="tensor 'columns'"):
            saver.restore(session, prefix)
        missing = session.run(tf1.report_uninitialized_variables())
        assert len(missing) == len(tf1.global_variables())


@pytest.mark.parametrize("way", ["shared", "stream"])
def test_verified_during_the_restore_damage_leaves_no_value(
    job: PsJob, directory: Path, way: str
) -> None:
    prefix = stored(directory, expected_values())
    flip(prefix, "rows")
    with fresh(job) as session:
        build()
        saver = Saver(transport=way, verify="during")
        initialized_values(session)
        with pytest.raises(tf.errors.DataLossError, match="have no value now"):
            saver.restore(session, prefix)
        missing = {name.decode() for name in session.run(tf1.report_uninitialized_variables())}
        assert {"rows/part_0", "rows/part_2", "columns/part_1", "small"} <= missing
        # Another checkpoint brings them back.
        expected = expected_values()
        saver.restore(session, stored(directory, expected, "whole"))
        assert_equal(values_of(session), expected)


def test_what_does_not_fit_is_listed_and_changes_nothing(job: PsJob, directory: Path) -> None:
    values = expected_values()
    del values["small"], values["flag"]
    lacking = stored(directory, values)
    with fresh(job) as session:
        build()
        saver = Saver()
        former = initialized_values(session)
        with pytest.raises(
            tf.errors.NotFoundError, match=r"(?s)Key .*flag.*Key .*small|Key small.*flag"
        ):
            saver.restore(session, lacking)
        wrong = {**expected_values(), "small": np.zeros(8), "rows": np.zeros((300, 51), np.float32)}
        prefix = stored(directory, wrong, "wrong")
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)rows.*small|small.*rows"):
            saver.restore(session, prefix)
        assert_equal(values_of(session), former)


def test_tables_are_restored_too(job: PsJob, directory: Path) -> None:
    with fresh(job) as session:
        build()
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        keys = tf.constant(["a", "b"])
        insert = table.insert(keys, tf.constant([1, 2], tf.int64))
        change = table.insert(keys, tf.constant([7, 8], tf.int64))
        found = table.lookup(keys)
        saver = Saver()
        former = initialized_values(session)
        session.run(insert)
        saver.save(session, str(directory / "model"), write_meta_graph=False)
        session.run([tf1.global_variables_initializer(), change])
        saver.restore(session, str(directory / "model"))
        assert session.run(found).tolist() == [1, 2]
        assert_equal(values_of(session), former)


def test_any_slices_into_any_others(job: PsJob, directory: Path) -> None:
    """A checkpoint of slices of other cuts, in several data files, as stock TensorFlow writes them."""
    prefix = str(directory / "sharded")

    def cut(shards: int, axis: int) -> Any:
        setter = tf1.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
        with tf1.device(setter):
            return tf1.get_variable(
                "rows",
                [300, 50],
                initializer=tf1.random_uniform_initializer(),
                partitioner=tf1.fixed_size_partitioner(shards, axis),
                use_resource=True,
            )

    with fresh(job) as session:
        variable = cut(7, 0)
        session.run(tf1.global_variables_initializer())
        value = np.concatenate(session.run(list(variable)))
        tf1.train.Saver(sharded=True).save(session, prefix, write_meta_graph=False)
    assert len(list(directory.glob("sharded.data-*"))) == 2
    for way in WAYS:
        with fresh(job) as session:
            variable = cut(3, 1)
            Saver(transport=way).restore(session, prefix)
            restored = np.concatenate(session.run(list(variable)), 1)
            np.testing.assert_array_equal(restored, value)


def test_variables_elsewhere_than_in_a_processors_memory_travel_as_tensors(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_graph_handles, "is_pinnable", lambda op: False)
    expected = expected_values()
    with fresh(job) as session:
        build()
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        saver.restore(session, stored(directory, expected))
        assert_equal(values_of(session), expected)
        saver.save(session, str(directory / "model"), write_meta_graph=False)
    assert files(directory / "model") == files(directory / "stock")


@pytest.mark.parametrize("verify", ["before", "swap"])
@pytest.mark.parametrize("way", ["shared", "stream"])
def test_updates_of_rows_during_a_restore_leave_the_servers_alive(
    job: PsJob, directory: Path, way: str, verify: str
) -> None:
    """TensorFlow's kernels write wherever the shape of a variable lets them, also if it has no memory.

    A variable that is swapped has a value all the time.
    """
    table = np.random.default_rng(4).random((20_000, 64), np.float32)
    prefix = stored(directory, {"table": table, "flat": table[:, 0]})
    with fresh(job) as session:
        with tf.device(PS + "0"):
            variables_ = {
                name: tf1.get_variable(name, initializer=np.zeros_like(value), use_resource=True)
                for name, value in (("table", table), ("flat", table[:, 0]))
            }
            updates = [
                tf1.scatter_add(each, [1], tf.ones([1, *each.shape[1:]])).op
                for each in variables_.values()
            ]
        with tf.device(PS + "1"):
            saver = Saver(transport=way, verify=verify)
        session.run(tf1.global_variables_initializer())
        session.run(updates)
        ended = threading.Event()

        def train() -> None:
            while not ended.is_set():
                # A variable that is being restored has no rows.
                lost = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)
                with contextlib.suppress(*(() if verify == "swap" else lost)):
                    session.run(updates)

        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            trained = [executor.submit(train) for _ in range(2)]
            try:
                for _ in range(6):
                    saver.restore(session, prefix)
            finally:
                ended.set()
        for each in trained:
            each.result()
        saver.restore(session, prefix)
        assert_equal(session.run(variables_), {"table": table, "flat": table[:, 0]})
