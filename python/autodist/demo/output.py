"""The directory that the demo writes to, and what lies where in it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from autodist.demo.errors import DemoError

_MARKER = ".autodist-demo"
_RESOURCE_SPEC = """\
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
    def create(root: Path) -> Output:
        """Makes an empty output directory, in place of that of an earlier demo if there is one.

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
                    f"the output directory {root} holds files that no demo made; choose an empty or new "
                    "one with --output"
                )
            shutil.rmtree(root)
        root.mkdir(parents=True, exist_ok=True)
        marker.touch()
        output = Output(root)
        output.resource_spec.write_text(_RESOURCE_SPEC)
        return output

    @property
    def resource_spec(self) -> Path:
        """The resource spec: this machine, two replicas."""
        return self.root / "resource_spec.yml"

    @property
    def picture(self) -> Path:
        """The picture of the losses."""
        return self.root / "loss.png"

    @property
    def single_node(self) -> Path:
        """What the uninterrupted single-node training came to."""
        return self.root / "single_node.npz"

    def part(self, name: str) -> Path:
        """A new directory for one strategy."""
        path = self.root / name
        path.mkdir()
        return path
