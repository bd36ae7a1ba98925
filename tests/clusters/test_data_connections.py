"""Saves and restores over data connections: stock's bytes, strangers, lost servers, and nothing left open."""

import functools
import itertools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf

from autodist.checkpoint.distributed.restoring import restore_steps
from autodist.checkpoint.distributed.shared_save import save_steps
from autodist.checkpoint.distributed.tasks import data_connections
from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import PsJob, files, running
from support.clusters.server_variables import build, save_by_stock, values_of
from support.ports import free_ports

tf1 = tf.compat.v1

# Of some variables; a group holds less.
ROWS = 60_000
MEMORY_BYTES = 16 << 20


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[int]]:
    """The tasks that have connected, by save or restore."""
    found: list[frozenset[int]] = []
    connect = data_connections.DataConnections.connect

    def note(self: Any, *arguments: Any) -> frozenset[int]:
        found.append(connect(self, *arguments))
        return found[-1]

    monkeypatch.setattr(data_connections.DataConnections, "connect", note)
    return found


@pytest.fixture
def own_job() -> Iterator[PsJob]:
    """A job whose servers a test may lose."""
    with running(free_ports(3)) as job:
        yield job


def listening_ports(pid: int) -> set[int]:
    """The ports on which a process listens."""
    found = psutil.Process(pid).net_connections("tcp")
    return {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}


def pids_of(job: PsJob) -> list[int]:
    """The processes of a job."""
    living = [server.pid for server in job.servers.values() if server.poll() is None]
    return [os.getpid(), *living]


def ports_of(job: PsJob) -> set[int]:
    """The ports on which the processes of a job listen."""
    return set().union(*(listening_ports(pid) for pid in pids_of(job)))


def data_connections_of(job: PsJob) -> set[tuple[int, int]]:
    """The connections between two processes of a job that are not those of gRPC."""
    grpc = ports_of(job)
    ends = {
        (each.laddr.port, each.raddr.port)
        for pid in pids_of(job)
        for each in psutil.Process(pid).net_connections("tcp")
        if each.raddr and grpc.isdisjoint((each.laddr.port, each.raddr.port))
    }
    return {(one, other) for one, other in ends if (other, one) in ends}


def assert_nothing_is_left(job: PsJob, listened: set[int]) -> None:
    """No port is open that was not before, and no connection of ours."""
    deadline = time.monotonic() + 20
    while True:
        ports, connections = ports_of(job) - listened, data_connections_of(job)
        if not ports and not connections:
            return
        assert time.monotonic() < deadline, (ports, connections)
        time.sleep(0.05)


def test_the_bytes_are_those_of_stock_and_no_port_is_left(
    job: PsJob, directory: Path, connected: list[frozenset[int]]
) -> None:
    listened = ports_of(job)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream", memory_bytes=MEMORY_BYTES)
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        for _ in range(2):
            saver.save(session, str(directory / "ours"), write_meta_graph=False)
            assert files(directory / "ours") == expected
            assert connected.pop() == {1, 2}
            assert_nothing_is_left(job, listened)


def test_small_saves_need_no_connection(
    job: PsJob,
    directory: Path,
    connected: list[frozenset[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_connections, "LEAST_BYTES", 1 << 30)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        saver = Saver(transport="stream")
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        saver.save(session, str(directory / "ours"), write_meta_graph=False)
    assert files(directory / "ours") == expected
    assert connected == [frozenset()]


def test_tasks_that_cannot_connect_send_through_grpc(
    job: PsJob,
    directory: Path,
    connected: list[frozenset[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(data_connections, "CONNECT_SECONDS", 0.0)
    listened = ports_of(job)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream")
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        with caplog.at_level(logging.INFO, logger="autodist"):
            for _ in range(2):
                saver.save(session, str(directory / "ours"), write_meta_graph=False)
                assert files(directory / "ours") == expected
    assert connected == [frozenset()] * 2
    # Once: the second save does not try again.
    (line,) = (text for text in caplog.messages if "no data connection" in text)
    assert "no data connection between /job:worker/replica:0/task:0 and /job:ps" in line
    assert "go through gRPC: 127.0.0.1: no answer" in line
    assert_nothing_is_left(job, listened)


def attack(pid: int, known: set[int], ended: threading.Event) -> list[bytes]:
    """Does what strangers can to each port that a process opens; returns what was heard there."""
    heard: list[bytes] = []
    while not ended.wait(0.01):
        for port in listening_ports(pid) - known:
            opened = []
            for number in range(1000):
                try:
                    stranger = socket.create_connection(("127.0.0.1", port), 5)
                except OSError:
                    break
                opened.append(stranger)
                if number % 4 == 0:
                    stranger.sendall(os.urandom(68))
                elif number % 4 == 1:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            for stranger in opened[:16]:
                stranger.settimeout(5)
                try:
                    heard.append(stranger.recv(1000))
                except OSError:
                    heard.append(b"")
            for stranger in opened:
                stranger.close()
    return heard


def test_strangers_get_nothing_and_disturb_nothing(
    own_job: PsJob, directory: Path, connected: list[frozenset[int]]
) -> None:
    """They find the port, because one server is late."""
    with tf.Graph().as_default(), tf1.Session(own_job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream", memory_bytes=MEMORY_BYTES)
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        saver.save(session, str(directory / "ours"), write_meta_graph=False)
        connected.clear()
        listened = ports_of(own_job)
        ended, heard = threading.Event(), []
        attacking = threading.Thread(
            target=lambda: heard.extend(attack(os.getpid(), listened, ended))
        )
        late = own_job.servers[1]
        connect = data_connections.DataConnections.connect

        def connect_late(self: Any, *arguments: Any) -> frozenset[int]:
            late.send_signal(signal.SIGSTOP)
            threading.Timer(1.5, late.send_signal, [signal.SIGCONT]).start()
            return connect(self, *arguments)

        attacking.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(data_connections.DataConnections, "connect", connect_late)
            saver.save(session, str(directory / "ours"), write_meta_graph=False)
        ended.set()
        attacking.join()
    assert files(directory / "ours") == expected
    assert connected == [frozenset({1, 2})]
    assert heard, "no stranger found the port"
    # A greeting: a name and a nonce.
    assert all(len(answer) in {0, 40} for answer in heard)
    assert len(set(heard) - {b""}) == len([answer for answer in heard if answer])
    assert_nothing_is_left(own_job, listened)


@pytest.mark.parametrize("verify", ["before", "during", "swap"])
def test_restored_values_are_those_of_stock(
    job: PsJob, directory: Path, connected: list[frozenset[int]], verify: str
) -> None:
    """Into variables with values, and into those of a new session."""
    listened = ports_of(job)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream", verify=verify, memory_bytes=MEMORY_BYTES)
        session.run(tf1.global_variables_initializer())
        expected = values_of(session)
        prefix = str(save_by_stock(expected, directory))
        session.run(tf1.global_variables_initializer())
        saver.restore(session, prefix)
        assert connected == [{1, 2}]
        assert_same(values_of(session), expected)
        assert_nothing_is_left(job, listened)
    tf1.Session.reset(job.target)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        Saver(transport="stream", verify=verify).restore(session, prefix)
        assert connected == [{1, 2}] * 2
        assert_same(values_of(session), expected)
        assert_nothing_is_left(job, listened)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


def test_a_damaged_checkpoint_changes_nothing(
    job: PsJob, directory: Path, connected: list[frozenset[int]]
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream")
        session.run(tf1.global_variables_initializer())
        prefix = saver.save(session, str(directory / "ours"), write_meta_graph=False)
        with Path(prefix + ".data-00000-of-00001").open("r+b") as file:
            file.seek(ROWS * 50)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        session.run(tf1.global_variables_initializer())
        before = values_of(session)
        with pytest.raises(tf.errors.DataLossError, match="bytes"):
            saver.restore(session, prefix)
        assert_same(values_of(session), before)
    assert connected == [{1, 2}] * 2


def test_tasks_that_cannot_connect_restore_through_grpc(
    job: PsJob,
    directory: Path,
    connected: list[frozenset[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_connections, "CONNECT_SECONDS", 0.0)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream")
        session.run(tf1.global_variables_initializer())
        expected = values_of(session)
        prefix = saver.save(session, str(directory / "ours"), write_meta_graph=False)
        session.run(tf1.global_variables_initializer())
        saver.restore(session, prefix)
        assert_same(values_of(session), expected)
    assert connected == [frozenset()] * 2


@pytest.mark.parametrize(
    ("way", "step"),
    [
        ("stream", "_stream"),
        ("stream", "_plan"),
        ("shared", "_write_direct"),
        ("restore", "_stream"),
    ],
)
def test_a_server_that_ends_and_is_back_at_once_is_named(
    own_job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, way: str, step: str
) -> None:
    steps: Any = restore_steps.ClusterRestore if way == "restore" else save_steps.SharedSave
    do_step = getattr(steps, step)
    troubles: list[bool] = []

    def strike(self: Any, *arguments: Any, **how: Any) -> Any:
        if troubles:
            troubles.pop()
            own_job.kill(1)
            own_job.start(1)
            own_job.wait(1)
        return do_step(self, *arguments, **how)

    prefix = str(directory / "ours")
    with tf.Graph().as_default(), tf1.Session(own_job.target) as session:
        build(ROWS)
        saver = Saver(
            transport="shared" if way == "shared" else "stream",
            memory_bytes=MEMORY_BYTES,
            timeout_seconds=4,
        )
        session.run(tf1.global_variables_initializer())
        saver.save(session, prefix, write_meta_graph=False)
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        monkeypatch.setattr(steps, step, strike)
        troubles.append(True)
        work = functools.partial(saver.restore, session, prefix)
        if way != "restore":
            work = functools.partial(saver.save, session, prefix, write_meta_graph=False)
        with pytest.raises(tf.errors.UnavailableError, match=r"^/job:ps/\S+:1 restarted meanwhile"):
            work()
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
        # As a monitored session does, for the former one knows nothing of the new server.
        with tf1.Session(own_job.target) as again:
            saver.restore(again, prefix)
            saver.save(again, prefix, write_meta_graph=False)
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("operation", ["save", "restore"])
def test_a_server_that_is_lost_is_named(
    own_job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Stopped or killed while bytes travel; the checkpoint stays as it was."""
    steps: Any = save_steps.SharedSave if operation == "save" else restore_steps.ClusterRestore
    stream = steps._stream
    troubles: list[Any] = []
    calls = itertools.count()

    def strike(self: Any, *arguments: Any, **how: Any) -> None:
        # Between the first bytes and the others.
        if troubles and next(calls) % 2:
            own_job.servers[1].send_signal(troubles.pop())
        stream(self, *arguments, **how)

    prefix = str(directory / "ours")
    with tf.Graph().as_default(), tf1.Session(own_job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream", memory_bytes=MEMORY_BYTES, timeout_seconds=4)
        session.run(tf1.global_variables_initializer())
        saver.save(session, prefix, write_meta_graph=False)
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        listened = ports_of(own_job)
        work = functools.partial(saver.restore, session, prefix)
        if operation == "save":
            work = functools.partial(saver.save, session, prefix, write_meta_graph=False)
        monkeypatch.setattr(steps, "_stream", strike)
        for trouble in (signal.SIGSTOP, signal.SIGKILL):
            troubles.append(trouble)
            start = time.monotonic()
            with pytest.raises(
                tf.errors.UnavailableError, match="/job:ps/replica:0/task:1"
            ) as caught:
                work()
            assert "did not answer within 4 s" in caught.value.message
            assert time.monotonic() - start < 40
            assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
            own_job.servers[1].send_signal(signal.SIGCONT)
            assert_nothing_is_left(own_job, listened)
