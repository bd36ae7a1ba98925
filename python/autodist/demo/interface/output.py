"""The directory that the demo writes to, and what lies where in it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
from pathlib import Path

from autodist.demo.interface.errors import DemoError

_MARKER = ".autodist-demo"
_THIS_PROCESS = """\
nodes:
  - address: localhost
    cpus: [0, 1]
"""


@dataclasses.dataclass(frozen=True)
class Output:
    """The output directory.

    Attributes:
        root: the directory.
    """

    root: Path

    @staticmethod
    def create(root: Path, nodes: int = 1) -> Output:
        """Makes an empty output directory, in place of that of an earlier demo if there is one.

        Args:
            root: the directory.
            nodes: how many the resource spec in it has, all on this machine.

        Raises:
            DemoError: there is something else at `root`.
        """
        root = root.resolve()
        marker = root / _MARKER
        if root.exists() and not root.is_dir():
            raise DemoError(
                f"the output {root} is not a directory; choose another one with --output"
            )
        if root.is_dir() and any(root.iterdir()):
            if not marker.is_file():
                raise DemoError(
                    f"the output directory {root} holds files that no demo made; choose an empty "
                    "or new one with --output"
                )
            shutil.rmtree(root)
        root.mkdir(parents=True, exist_ok=True)
        marker.touch()
        output = Output(root)
        output.resource_spec.write_text(_THIS_PROCESS if nodes == 1 else _loopback_spec(nodes))
        return output

    @property
    def resource_spec(self) -> Path:
        """The resource spec: this machine, two replicas or several servers."""
        return self.root / "resource_spec.yml"

    @property
    def picture(self) -> Path:
        """The picture of the losses."""
        return self.root / "loss.png"

    @property
    def single_node(self) -> Path:
        """The file with the results of the uninterrupted single-node training."""
        return self.root / "single_node.npz"

    def part(self, name: str) -> Path:
        """A new directory for one strategy."""
        path = self.root / name
        path.mkdir()
        return path


def _loopback_spec(nodes: int) -> str:
    """A resource spec of several servers on this machine, at ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(nodes)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    lines = [f"  - address: 127.0.0.1:{port}\n    cpus: [0]" for port in ports]
    lines[0] += "\n    chief: true"
    return "\n".join(["nodes:", *lines, ""])
