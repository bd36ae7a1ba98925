"""Starts Python programs in processes that have imported TensorFlow already, by forks of `support.warm_server`.

The fork server of `multiprocessing` runs functions, without standard input and output of their own, and its processes
end without the end of an interpreter: programs need another.
"""

import atexit
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("warm_server.py")
PR_SET_CHILD_SUBREAPER = 36

# Variables that nothing reads before a program runs, or that the import of TensorFlow 2.21 sets itself. Programs whose
# other variables are alike have one server.
LATE = (
    *("AUTODIST_", "PYTEST_", "PYTHONPATH", "SLOW_", "SUPPORT_", "TF_CONFIG"),
    *("ENABLE_RUNTIME_UPTIME_TELEMETRY", "HDF5_PLUGIN_PATH", "KMP_", "TF2_BEHAVIOR", "TPU_ML_"),
)
# Variables of the loader, the allocator and the interpreter: a server has them as this process has.
EARLIEST = ("LD_", "MALLOC_", "PYTHON")

Environment = dict[str, str]

_lock = threading.Lock()


def _without_late(environment: Environment) -> Environment:
    return {name: value for name, value in environment.items() if not name.startswith(LATE)}


def _earliest(environment: Environment) -> Environment:
    return {
        name: value
        for name, value in _without_late(environment).items()
        if name.startswith(EARLIEST)
    }


_own_environment = dict(os.environ)


def start_program(
    arguments: Sequence[Any],
    env: Environment,
    *,
    fresh: bool = False,
    starts_programs: bool = False,
    preload: str | None = None,
    **how: Any,
) -> subprocess.Popen[Any]:
    """Starts a Python program, in a forked process where that makes no difference to it.

    A new process runs what has flags for the interpreter, is to log the import, or has EARLIEST variables of its own.

    Args:
      arguments: A file, `-c` or `-m` with what follows, and the arguments of the program.
      env: All its environment.
      fresh: Whether the start of Python, or the import of TensorFlow, is what is tested: a new process runs it.
      starts_programs: Whether it starts programs itself: a server below it forks them.
      preload: A library to load first, which changes nothing of how Python starts and imports TensorFlow. Programs with
        the same one have one server.
      **how: `cwd`, `stdin`, `stdout`, `stderr` and `text` of `subprocess.Popen`.
    """
    program = [str(argument) for argument in arguments]
    is_plain = program[0] in ("-c", "-m") or not program[0].startswith("-")
    is_silent = env.get("TF_CPP_MIN_LOG_LEVEL") == "3"
    is_alike = _earliest(env) == _earliest(_own_environment)
    if preload is not None:
        env = {**env, "LD_PRELOAD": preload}
    if is_plain and is_silent and is_alike and not fresh:
        return ForkedProgram(program, env, starts_programs, **how)
    return subprocess.Popen([sys.executable, *program], env=env, **how)


class ForkedProgram(subprocess.Popen[Any]):
    """A child of this process that a server has forked."""

    def __init__(
        self, program: list[str], env: Environment, starts_programs: bool, **how: Any
    ) -> None:
        self._starts_programs = starts_programs
        super().__init__(program, env=env, **how)

    def _execute_child(self, program: list[str], *how: Any) -> None:
        """Replaces what `subprocess` does; the order of its arguments is that of Python 3.10 to 3.14."""
        cwd, env = how[4:6]
        pipes = how[9:15]
        request = {
            "arguments": program,
            "environment": env,
            "directory": str(Path.cwd() / (cwd or "")),
            "starts_programs": self._starts_programs,
        }
        ends = (pipes[0], pipes[3], pipes[5])
        descriptors = [own if end == -1 else end for own, end in enumerate(ends)]
        self.pid = _fork(request, descriptors)
        self._child_created = True
        self._close_pipe_fds(*pipes)


def _fork(request: dict[str, Any], descriptors: list[int]) -> int:
    """Has a server fork a program; returns its pid."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    with _lock:
        early = _without_late(request["environment"])
        connection = _connection(tuple(sorted(early.items())))
        # An orphan becomes a child of this process, for the server is one.
        prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
        try:
            socket.send_fds(connection, [json.dumps(request).encode()], descriptors)
            answer = connection.recv(32)
        finally:
            prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)
    if not answer:
        raise RuntimeError(f"{SERVER} has ended; what it says is above")
    return int(answer)


@functools.cache
def _connection(early: tuple[tuple[str, str], ...]) -> socket.socket:
    """Returns the connection with a server, started if there is none yet, which ends with the connection."""
    pid, _, number = os.environ.get("SUPPORT_WARM_SERVER", "").partition(":")
    if pid == str(os.getpid()) and dict(early) == _without_late(_own_environment):
        return socket.socket(fileno=int(number))
    connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        server = subprocess.Popen(
            [sys.executable, SERVER, str(other.fileno())],
            # With more threads, NumPy starts them when it is imported.
            env={**dict(early), "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(server.wait)
    atexit.register(connection.close)
    return connection
