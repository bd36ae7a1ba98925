"""Saves over data connections: stock's bytes, also beside strangers; servers that are lost; nothing is left open."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tensorflow as tf

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
    return [os.getpid(), *(server.pid for server in job.servers.values())]


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


@pytest.mark.parametrize(("trouble", "delay"), [(signal.SIGKILL, 0.02), (signal.SIGSTOP, 0.0)])
def test_a_server_that_is_lost_is_named(
    own_job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, trouble: Any, delay: float
) -> None:
    """Killed or stopped while it sends; the former checkpoint stays."""
    stream = save_steps.SharedSave._stream
    count = 0

    def strike(self: Any, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            threading.Timer(delay, own_job.servers[1].send_signal, [trouble]).start()
            time.sleep(delay / 2)
        stream(self, *arguments)

    prefix = directory / "ours"
    with tf.Graph().as_default(), tf1.Session(own_job.target) as session:
        build(ROWS)
        saver = Saver(transport="stream", memory_bytes=MEMORY_BYTES, timeout_seconds=4)
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(prefix), write_meta_graph=False)
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        listened = ports_of(own_job)
        monkeypatch.setattr(save_steps.SharedSave, "_stream", strike)
        start = time.monotonic()
        with pytest.raises(tf.errors.UnavailableError, match="/job:ps/replica:0/task:1") as caught:
            saver.save(session, str(prefix), write_meta_graph=False)
        assert "did not answer within 4 s" in caught.value.message
        assert time.monotonic() - start < 40
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
        own_job.servers[1].send_signal(signal.SIGCONT)
        own_job.kill(1)
        assert_nothing_is_left(own_job, listened)
