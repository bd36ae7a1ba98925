"""`proof='stock'`: another process, with TensorFlow alone, restores a checkpoint.

The process is a new interpreter that never imports autodist. It has no GPU, and ends with the save:
it is killed at the timeout, when the save is interrupted, and when this process ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autodist import errors

_PROGRAM = Path(__file__).with_name("stock_restore.py")
# What the process printed, at the end of an error.
_MOST_TEXT = 2000
# A week. The system's calls that wait take no more than 2**31 milliseconds.
_MOST_SECONDS = 7 * 24 * 3600
# What the program imports is not looked for in the directory of the caller.
_PREAMBLE = "import sys; sys.path[:] = [path for path in sys.path if path]\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """How it is proved that a checkpoint can be restored.

    Attributes:
        kind: `'stock'`: a process with TensorFlow alone loads the graph and restores everything.
        timeout_seconds: How long that may take; a week at most.
        op_libraries: Libraries of ops of your own that the graph needs; the process loads them.

    Raises:
        ArgumentError: A value cannot be used.
        ArgumentTypeError: A value is of the wrong type.
    """

    kind: str = "stock"
    timeout_seconds: float = 600.0
    op_libraries: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = ()

    def __post_init__(self) -> None:
        if self.kind != "stock":
            raise errors.ArgumentError(f"proof must be 'stock' or a Proof, not {self.kind!r}")
        seconds = self.timeout_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise errors.ArgumentTypeError(
                f"proof: timeout_seconds must be a number, not {seconds!r}"
            )
        if not 0 < seconds <= _MOST_SECONDS:
            raise errors.ArgumentError(
                f"proof: timeout_seconds must be more than 0 and at most {_MOST_SECONDS}, not {seconds}"
            )
        given = self.op_libraries
        libraries = (given,) if isinstance(given, (str, os.PathLike)) else tuple(given)
        object.__setattr__(self, "op_libraries", tuple(map(os.fspath, libraries)))

    @property
    def libraries(self) -> tuple[str, ...]:
        """The paths of `op_libraries`."""
        given = self.op_libraries
        assert isinstance(given, tuple)
        return given

    @staticmethod
    def of(value: Proof | str) -> Proof:
        """Returns a proof that was given as such or by its kind.

        Args:
            value: A `Proof`, or `'stock'`.

        Raises:
            ArgumentError: It is another text.
            ArgumentTypeError: It is something else.
        """
        if isinstance(value, Proof):
            return value
        if isinstance(value, str):
            return Proof(kind=value)
        raise errors.ArgumentTypeError(f"proof must be 'stock' or a Proof, not {value!r}")


def why_not(proof: Proof, graph_path: str, prefix: str) -> str | None:
    """Restores a checkpoint in another process; returns what failed, or `None`.

    Args:
        proof: How.
        graph_path: Path of its `.meta` file.
        prefix: The checkpoint's prefix.
    """
    with tempfile.TemporaryFile() as printed:
        try:
            process = _start(proof, graph_path, prefix, printed.fileno())
        except OSError as error:
            return f"no process can be started: {error}"
        try:
            answer, _ = process.communicate(timeout=proof.timeout_seconds)
        except subprocess.TimeoutExpired:
            # Both may have been stopped, and this one has seen the time first.
            if process.poll() is None:
                return f"the process did not end within {proof.timeout_seconds:g} s"
            answer, _ = process.communicate()
        finally:
            # Also where this thread is interrupted.
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        printed.seek(0)
        said = printed.read()[-_MOST_TEXT:].decode(errors="replace").strip()
    return _reason(answer, process.returncode, said)


def _start(proof: Proof, graph_path: str, prefix: str, output: int) -> subprocess.Popen[bytes]:
    # As `-c`, so that the folder of the program is no place to import from.
    program = ["-c", _PREAMBLE + _PROGRAM.read_text(encoding="utf-8")]
    arguments = [str(os.getpid()), graph_path, prefix, *proof.libraries]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # The cluster of the job is none of its business.
    environment.pop("TF_CONFIG", None)
    # Whether the save goes on after a signal to all processes of the job, this process decides: the
    # other one has a session of its own, and inherits that these are blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(  # noqa: S603 this Python and our program
            [sys.executable, *program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reason(answer: bytes, code: int, said: str) -> str | None:
    found = _last_answer(answer)
    if code == 0 and "read" in found:
        return None
    if "error" in found:
        return str(found["error"])
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"the process {ended}. {said}".strip()


def _last_answer(printed: bytes) -> dict[str, Any]:
    """Returns what the program answered; others may have printed before it and after it."""
    for line in reversed(printed.splitlines()):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and ("read" in found or "error" in found):
                return found
    return {}
