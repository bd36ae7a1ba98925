"""Saves of variables on a server that has not loaded our library: stock TensorFlow's bytes, in bounded memory."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.distributed.shared_save import save_steps
from autodist.checkpoint.distributed.stock_servers.stock_server_reads import CONTAINER
from autodist.checkpoint.saver import SaveOptions, Saver
from support.clusters.ps_job import PsJob, files, running
from support.clusters.server_variables import build, values_of
from support.evidence import check, evidence_of
from support.ports import free_ports

tf1 = tf.compat.v1

STOCK = "/job:ps/replica:0/task:1"
LEAST_MEMORY = 16 << 20
# More than may be kept, in floats.
LARGE = (20 << 20) // 4
TIMEOUT_SECONDS = 3.0


@pytest.fixture(scope="module")
def job() -> Iterator[PsJob]:
    """A job of which server 1 is plain."""
    with running(free_ports(3), lacking=[1]) as job:
        yield job


def on_stock(name: str, value: Any, **how: Any) -> Any:
    """Makes a variable on the stock server."""
    with tf1.device("/job:ps/task:1"):
        return tf1.get_variable(name, initializer=value, **{"use_resource": True, **how})


def save_by_stock(values: dict[str, Any], prefix: Path) -> None:
    """Saves values from one machine."""
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, value in values.items():
            tf1.get_variable(name, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def test_ways_write_the_bytes_of_stock(
    job: PsJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(3000)
        on_stock("large", tf.random.uniform([LARGE]), use_resource=True)
        on_stock("old", tf.random.uniform([LARGE // 4, 4]), use_resource=False)
        on_stock("bits", np.array([True, False, True]))
        on_stock("words", np.array([b"", b"word"]))
        on_stock("halves", np.arange(33, dtype=np.float16))
        on_stock("bytes", np.arange(5, dtype=np.uint8))
        on_stock("complex", np.array(1 + 2j, np.complex64))
        on_stock("eighths", np.array([1, 2, 4], ml_dtypes.float8_e5m2))
        savers = [Saver(memory_bytes=LEAST_MEMORY, transport=way) for way in (None, "stream")]
        session.run(tf1.global_variables_initializer())
        save_by_stock(values_of(session), tmp_path / "stock")
        expected = files(tmp_path / "stock")
        for saver in savers:
            caplog.clear()
            with caplog.at_level(logging.INFO, logger="autodist"):
                for _ in range(2):
                    saver.save(session, str(tmp_path / "ours"), write_meta_graph=False)
            assert files(tmp_path / "ours") == expected
            (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
            assert f"autodist's ops are not loaded in {STOCK}: they send" in warning
            assert "Call `autodist.load_ops()` where these servers start" in warning
            assert "autodist serve" not in warning
            assert f"({STOCK}: as plain tensors)" in caplog.records[-1].getMessage()
    assert [path for path in tmp_path.iterdir() if ".autodist" in path.name] == []


def test_a_shared_way_is_refused_before_a_byte(job: PsJob, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        saver = Saver(transport="shared")
        session.run(tf1.global_variables_initializer())
        with pytest.raises(tf.errors.FailedPreconditionError, match=f"not loaded in {STOCK}"):
            saver.save(session, str(tmp_path / "refused"))
    assert list(tmp_path.iterdir()) == []


def test_a_variable_without_a_value_is_named(job: PsJob, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        on_stock("given", np.zeros(3))
        on_stock("forgotten", np.zeros(3))
        saver = Saver()
        session.run(tf1.get_default_graph().get_operation_by_name("given/Assign"))
        with pytest.raises(tf.errors.FailedPreconditionError, match="'forgotten' on /job:ps"):
            saver.save(session, str(tmp_path / "refused"))
    assert list(tmp_path.iterdir()) == []


def test_a_large_shard_is_untorn_while_dense_updates_go_on(job: PsJob, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        large = on_stock("untorn", tf.zeros([LARGE]))
        saver = Saver(memory_bytes=LEAST_MEMORY)
        update = tf1.assign_add(large, tf.ones([LARGE])).op
        session.run(tf1.global_variables_initializer())
        ends = threading.Event()

        def train() -> None:
            while not ends.is_set():
                session.run(update)

        trainer = threading.Thread(target=train)
        trainer.start()
        seen = []
        try:
            for _ in range(4):
                prefix = saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
                seen.append(np.unique(tf.train.load_checkpoint(prefix).get_tensor("untorn")))
        finally:
            ends.set()
            trainer.join()
    assert [len(values) for values in seen] == [1, 1, 1, 1]
    assert seen[0] < seen[-1]


def test_dense_variables_are_kept_when_the_save_begins(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are sent last, and those without elements; nothing stays kept. Rows are as they are when sent."""
    sends: list[Any] = []
    send = save_steps.SharedSave._send

    def train_first(self: Any, *given: Any) -> None:
        session.run(update)
        sends.append(self)
        send(self, *given)

    monkeypatch.setattr(save_steps.SharedSave, "_send", train_first)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        # Each more than what is kept of copies at a time.
        dense = [on_stock(f"dense_{i}", tf.zeros([LARGE])) for i in range(3)]
        rows = on_stock("rows_of_some", tf.zeros([8, 8]))
        on_stock("nothing", tf.zeros([0, 3]))
        update = tf.group(
            *(variable.assign_add(tf.ones([LARGE])).op for variable in dense),
            tf1.scatter_add(rows, tf.range(8), tf.ones([8, 8])).op,
        )
        saver = Saver(memory_bytes=LEAST_MEMORY)
        session.run(tf1.global_variables_initializer())
        for count in range(2):
            prefix = saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
            reader = tf.train.load_checkpoint(prefix)
            for number in range(3):
                assert np.unique(reader.get_tensor(f"dense_{number}")) == count
            assert np.unique(reader.get_tensor("rows_of_some")) == count + 1
            assert kept_by(job, sends[-1]) == []


def kept_by(job: PsJob, saved: Any) -> list[int]:
    """The numbers of the variables that the stock server still keeps."""
    (stock_server,) = saved._graph.stock_servers.values()
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:1"):
            are_there = {
                number: tf.raw_ops.VarIsInitializedOp(
                    resource=tf.raw_ops.VarHandleOp(
                        container=CONTAINER,
                        shared_name=f"{stock_server._label}/{number}",
                        dtype=tf.float32,
                        shape=None,
                    )
                )
                for number in stock_server.numbers
            }
        return [number for number, is_there in session.run(are_there).items() if is_there]


def test_what_is_updated_by_rows_is_copied_within_bounds(job: PsJob, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        rows = on_stock("rows_of_large", tf.zeros([LARGE // 8, 8]))
        saver = Saver(memory_bytes=LEAST_MEMORY)
        update = tf1.scatter_update(rows, [1], tf.ones([1, 8])).op
        session.run([tf1.global_variables_initializer()])
        session.run(update)
        with pytest.raises(
            tf.errors.ResourceExhaustedError, match="'rows_of_large' on /job:ps"
        ) as caught:
            saver.save(session, str(tmp_path / "refused"))
        # It is no disk that is full.
        assert "Free space" not in caught.value.message
        assert list(tmp_path.iterdir()) == []
        prefix = Saver(memory_bytes=2 * LEAST_MEMORY).save(session, str(tmp_path / "model"))
        assert tf.train.load_checkpoint(prefix).get_tensor("rows_of_large")[:3].sum() == 8


def test_another_process_that_keeps_under_the_same_names_is_told(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a type of error after which a monitored session trains again from the last checkpoint."""
    send = save_steps.SharedSave._send

    def lose_mark_first(self: Any, *given: Any) -> None:
        (stock_server,) = self._graph.stock_servers.values()
        with tf.Graph().as_default(), tf1.Session(job.target) as other, tf1.device(STOCK):
            mark = tf.raw_ops.VarHandleOp(
                container=CONTAINER,
                shared_name=f"{stock_server._label}/mark",
                dtype=tf.string,
                shape=None,
            )
            other.run(tf.raw_ops.AssignVariableOp(resource=mark, value="another's"))
        send(self, *given)

    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        on_stock("contested", tf.zeros([3]))
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        with monkeypatch.context() as patch:
            patch.setattr(save_steps.SharedSave, "_send", lose_mark_first)
            with pytest.raises(tf.errors.FailedPreconditionError, match="another process replaced"):
                saver.save(session, str(tmp_path / "refused"))
        assert list(tmp_path.iterdir()) == []
        saver.save(session, str(tmp_path / "model"))


def test_a_plain_master_trains_and_saves_as_tensorflow_does(
    job: PsJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = f"grpc://{job.cluster['ps'][1]}"
    with tf.Graph().as_default(), tf1.Session(target) as session:
        build()
        step = tf1.assign_add(tf1.train.get_global_step(), 1)
        saver, demanding = Saver(), Saver(transport="shared")
        session.run(tf1.global_variables_initializer())
        assert session.run(step) == 1
        with caplog.at_level(logging.WARNING, logger="autodist"):
            for _ in range(2):
                saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
        (warning,) = [record.getMessage() for record in caplog.records]
        assert f"not loaded in {STOCK}, the session's master: TensorFlow sends" in warning
        reader = tf.train.load_checkpoint(str(tmp_path / "model"))
        for name, value in values_of(session).items():
            np.testing.assert_array_equal(reader.get_tensor(name), value)
        with pytest.raises(tf.errors.FailedPreconditionError, match=f"not loaded in {STOCK}"):
            demanding.save(session, str(tmp_path / "refused"))


def test_a_stock_server_that_is_lost_is_named_and_nothing_else_is(
    job: PsJob, tmp_path: Path
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        on_stock("lost", tf.random.uniform([4 * LARGE]))
        tf1.get_variable("here", initializer=1.0)
        saver = Saver(memory_bytes=LEAST_MEMORY, timeout_seconds=TIMEOUT_SECONDS)
        session.run(tf1.global_variables_initializer())
        prefix = tmp_path / "model"
        saver.save(session, str(prefix), write_meta_graph=False)
        former, names = files(prefix), sorted(tmp_path.iterdir())
        server = job.servers[1]
        for trouble in (signal.SIGSTOP, signal.SIGKILL):
            # In the middle: a save of it takes longer.
            threading.Timer(0.05, os.kill, (server.pid, trouble)).start()
            start = time.monotonic()
            with pytest.raises(tf.errors.UnavailableError, match=f"{STOCK} did not answer"):
                saver.save(session, str(prefix), write_meta_graph=False)
            assert time.monotonic() - start < 3 * TIMEOUT_SECONDS
            assert files(prefix) == former
            assert sorted(tmp_path.iterdir()) == names
            if trouble == signal.SIGSTOP:
                os.kill(server.pid, signal.SIGCONT)
                saver.save(session, str(prefix), write_meta_graph=False)
                assert files(prefix) == former
                assert not session.run(kept_on_plain())
        job.kill(1)
        # A session's end waits for its servers.
        job.start(1, library=False)
        job.wait(1)


def kept_on_plain() -> Any:
    """Whether the stock server still has what a save kept of variables."""
    label = "/job:worker/replica:0/task:0/save/SaveV2"
    with tf1.device("/job:ps/task:1"):
        kept = [
            tf.raw_ops.VarHandleOp(
                container="autodist_kept",
                shared_name=f"{label}/{name}",
                dtype=dtype,
                shape=None,
            )
            for name, dtype in [("mark", tf.string), *((i, tf.float32) for i in range(3))]
        ]
        return tf.reduce_any([tf.raw_ops.VarIsInitializedOp(resource=each) for each in kept])


def test_what_a_stock_server_sends_is_checked(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        saver = Saver(options=SaveOptions(check=True, durable=False))
        session.run(tf1.global_variables_initializer())
        evidence = evidence_of(saver.save(session, str(directory / "m")))
        values = values_of(session)
        assert set(evidence.not_checked) == {"text", "flag"}
        assert set(evidence.variables) == set(values) - {"text", "flag"}
        for name, figures in evidence.variables.items():
            check(figures, values[name])
