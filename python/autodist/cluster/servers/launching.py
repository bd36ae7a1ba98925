"""Starts the servers of other nodes: as subprocesses on this machine, or over ssh.

A server that was started here ends with this process. It reads from a pipe, or an ssh channel, to
which nobody writes. The pipe is closed however this process ends, and then the server exits.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any

from autodist import _installation
from autodist.cluster.servers.serving import ServedTask
from autodist.cluster.spec.nodes import Node
from autodist.process import background

_TAIL_LINES = 30
_SECONDS_TO_END = 0.5
_SECONDS_TO_READ = 5.0
_SERVE = ("-m", "autodist.cli", "serve", "--from-chief")


class LaunchedServer(abc.ABC):
    """A server that this process has started."""

    def __init__(self) -> None:
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._has_read_all = threading.Event()

    @property
    @abc.abstractmethod
    def is_running(self) -> bool:
        """Whether its process has not ended."""

    @abc.abstractmethod
    def end(self) -> None:
        """Ends it, and waits for that."""

    @property
    def how(self) -> str:
        """How it runs, or how it ended, in words."""
        return "still running" if self.is_running else "ended"

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        if not self.is_running:
            # Its end may be known before its last lines are read. A child of it may still write.
            self._has_read_all.wait(_SECONDS_TO_READ)
        return "\n".join(self._tail)

    def _collect(self, lines: Iterable[str]) -> None:
        """Reads its output in a thread from now on; ends the server if no thread can be started."""

        def read() -> None:
            try:
                self._tail.extend(line.rstrip("\n") for line in lines)
            finally:
                self._has_read_all.set()

        try:
            background.start(read, "autodist-server-log")
        except BaseException:
            self.end()
            raise


class LocalServer(LaunchedServer):
    """A server in a subprocess, with this process's Python and packages."""

    def __init__(self, task: ServedTask) -> None:
        super().__init__()
        paths = [str(_installation.import_dir()), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(  # noqa: S603 - this Python and this module
            [sys.executable, *_SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            # The terminal's Ctrl-C is for the chief, which may still want to save.
            start_new_session=True,
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._stdin = stdin
        self._collect(stdout)
        try:
            stdin.write(task.to_line())
            stdin.flush()
        except BrokenPipeError:
            self._process.wait()  # It has ended already, and its log says why.

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    @property
    def how(self) -> str:
        """How it runs, or how it ended, in words."""
        try:
            # A process that was killed a moment ago may not be gone yet.
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return f"still running as process {self._process.pid}"
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def end(self) -> None:
        """Ends it, and waits for that."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class SshServer(LaunchedServer):
    """A server on another machine, run by a command over ssh.

    Host keys are those that the user has accepted; an unknown or changed one is an error.

    Raises:
      LaunchError: if there is no connection, or the command cannot be run.
    """

    def __init__(self, node: Node, task: ServedTask, timeout_seconds: float) -> None:
        super().__init__()
        assert node.ssh is not None
        import paramiko

        self._client = paramiko.SSHClient()
        try:
            self._client.load_system_host_keys()
            if node.ssh.known_hosts is not None:
                self._client.load_host_keys(node.ssh.known_hosts)
            self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
            self._client.connect(
                node.host,
                node.ssh.port,
                node.ssh.username,
                key_filename=node.ssh.key_file,
                timeout=timeout_seconds,
                banner_timeout=timeout_seconds,
                auth_timeout=timeout_seconds,
                channel_timeout=timeout_seconds,
            )
            self._channel = self._open(command_line(node), timeout_seconds)
            self._channel.sendall(task.to_line().encode())
        except (paramiko.SSHException, OSError, RuntimeError) as error:
            # RuntimeError: it could not start its thread.
            self._client.close()
            raise LaunchError(f"ssh to {node.host}:{node.ssh.port}: {error}") from error
        # paramiko's text mode ends with the first byte that is no UTF-8.
        output = self._channel.makefile("rb")
        self._collect(line.decode(errors="replace") for line in output)

    def _open(self, command: str, timeout_seconds: float) -> Any:
        transport = self._client.get_transport()
        if transport is None:
            raise OSError("the connection was closed")
        transport.set_keepalive(15)
        channel = transport.open_session(timeout=timeout_seconds)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        return channel

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended, as far as this end of the connection knows."""
        return not (self._channel.exit_status_ready() or self._channel.closed)

    @property
    def how(self) -> str:
        """How it runs, or how it ended, in words."""
        if self.is_running:
            return "still running"
        # -1 where the connection was closed without one.
        code = self._channel.recv_exit_status()
        return "the connection was closed" if code < 0 else f"ended with exit code {code}"

    def end(self) -> None:
        """Ends it: closing the channel closes its standard input."""
        self._channel.close()
        self._client.close()


class LaunchError(Exception):
    """A server could not be started; the message says why."""


def command_line(node: Node) -> str:
    """The command that starts a node's server from a shell on that machine."""
    assert node.ssh is not None
    python = "python" if node.ssh.python_venv else "python3"
    settings = [f"{name}={value}" for name, value in node.ssh.shared_envs]
    words = ["exec", "env", *settings, python, *_SERVE]
    command = shlex.join(words)
    if node.ssh.python_venv:
        command = f"{node.ssh.python_venv} && {command}"
    return shlex.join(["bash", "-c", command])
