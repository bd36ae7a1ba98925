"""A parameter-server job of real processes: two servers, and this process as the worker that is its chief."""

import contextlib
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from support.python_programs import environment
from support.warm_python import start_program

SERVER = """
import json, sys
import tensorflow as tf
cluster, task, has_library = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "library"
if has_library:
    import autodist
    autodist.load_ops()
if sys.argv[4]:
    tf.load_library(sys.argv[4])
config = tf.compat.v1.ConfigProto(isolate_session_state=sys.argv[5] == "isolated")
server = tf.distribute.Server(
    tf.train.ClusterSpec(cluster), job_name="ps", task_index=task, config=config
)
print("ready", flush=True)
server.join()
"""

# A server that sees nothing of what others put under /dev/shm.
UNSHARED = "mount -t tmpfs none /dev/shm"


@dataclasses.dataclass
class PsJob:
    """The job: its target, and its servers by number."""

    target: str
    cluster: dict[str, list[str]]
    servers: dict[int, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)

    def start(
        self,
        number: int,
        *,
        library: bool = True,
        mounts: Callable[[int], str] | None = None,
        plugin: str = "",
        isolated: bool = False,
    ) -> None:
        """Starts a server, again if it was killed.

        Args:
            number: Its task.
            library: Whether it loads our library.
            mounts: Returns a shell command by number that is run first, in a mount namespace of the server's own.
            plugin: A library to load, with a device.
            isolated: Whether sessions that it is the master of have variables of their own.
        """
        import json

        program = [
            "-c",
            SERVER,
            json.dumps(self.cluster),
            str(number),
            "library" if library else "none",
            plugin,
            "isolated" if isolated else "shared",
        ]
        how = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        if mounts is None:
            self.servers[number] = start_program(program, **how)
        else:
            command = in_own_mounts(mounts(number), [sys.executable, *program])
            self.servers[number] = subprocess.Popen(command, **how)

    def wait(self, *numbers: int) -> None:
        """Returns once servers serve that were started."""
        for number in numbers:
            stdout = self.servers[number].stdout
            assert stdout is not None
            assert stdout.readline() == b"ready\n"

    def kill(self, number: int) -> None:
        """Kills a server."""
        server = self.servers.pop(number)
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def in_own_mounts(before: str, command: Sequence[str]) -> list[str]:
    """A command that runs another in a mount namespace of its own, after a shell command there."""
    return ["unshare", "-m", "sh", "-c", f'{before} && exec "$@"', "sh", *command]


def can_unshare() -> bool:
    """Tells whether this process may give another a mount namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    command = in_own_mounts(UNSHARED, ["true"])
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


@contextlib.contextmanager
def running(ports: list[int], lacking: Sequence[int] = (), **how: Any) -> Iterator[PsJob]:
    """Runs a job whose worker is this process.

    Args:
        ports: Of the worker and of the servers.
        lacking: The servers that do not load our library.
        **how: As for `PsJob.start`.
    """
    worker, *ps = (f"127.0.0.1:{port}" for port in ports)
    cluster = {"worker": [worker], "ps": ps}
    own = tf.distribute.Server(tf.train.ClusterSpec(cluster), job_name="worker", task_index=0)
    job = PsJob(own.target, cluster)
    try:
        for number in range(len(ps)):
            job.start(number, library=number not in lacking, **how)
        job.wait(*job.servers)
        yield job
    finally:
        for number in list(job.servers):
            job.kill(number)


def files(prefix: Path) -> tuple[bytes, bytes]:
    """The bytes of a checkpoint's files."""
    return (
        prefix.with_name(prefix.name + ".index").read_bytes(),
        prefix.with_name(prefix.name + ".data-00000-of-00001").read_bytes(),
    )
