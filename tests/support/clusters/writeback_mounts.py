"""Mounts of one directory for several processes, each with a page cache of its own, as clients of NFS have them."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.c_programs import compile_program


def reason_against() -> str:
    """Returns why this process cannot make such mounts; empty if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    missing = [name for name in ("cc", "unshare", "mount") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        return "needs the right to unshare mounts"
    return ""


@dataclasses.dataclass(frozen=True)
class Mounts:
    """Where things are.

    Attributes:
        back: The directory itself.
        shared: The path where each process is to see a mount of its own.
    """

    back: Path
    shared: Path

    def bind(self, number: int) -> str:
        """A shell command that puts a client's mount at the shared path."""
        return f"mount --bind '{self._client(number)}' '{self.shared}'"

    def _client(self, number: int) -> Path:
        return self.back.parent / f"client{number}"


@contextlib.contextmanager
def separate(directory: Path, count: int, believed_seconds: int = 0) -> Iterator[Mounts]:
    """Mounts a directory several times in the mount namespace of this process.

    Args:
        directory: An empty one to work in.
        count: How many mounts.
        believed_seconds: For how long names and attributes are believed without asking again.
    """
    mounts = Mounts(directory / "back", directory / "shared")
    clients = [directory / f"client{number}" for number in range(count)]
    for path in (mounts.back, mounts.shared, *clients):
        path.mkdir()
    program = compile_program("clusters/writeback_client.c", directory / "writeback_client")
    servers = []
    try:
        for client in clients:
            command = [program, mounts.back, client, str(believed_seconds)]
            servers.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            stdout = servers[-1].stdout
            assert stdout is not None
            assert stdout.readline() == b"mounted\n"
        yield mounts
    finally:
        for path in (mounts.shared, *clients):
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
        for server in servers:
            server.kill()
            server.communicate()
