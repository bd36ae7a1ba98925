"""What the user of the demo may choose."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `autodist demo`.

    Attributes:
        output: directory to write to.
        steps: distributed training steps before the save.
        large_mib: size in MiB of the large model whose save is timed.
        repeats: how often each timed save is repeated.
        nodes: servers on this machine; 1: none, and two replicas in the demo's own process.
    """

    output: Path
    steps: int
    large_mib: int
    repeats: int
    nodes: int = 1

    @property
    def replicas(self) -> int:
        """How many replicas the model is trained on: one per node, or two in one process."""
        return 2 if self.nodes == 1 else self.nodes

    @property
    def replicas_text(self) -> str:
        """The same in words."""
        return "2 replicas" if self.nodes == 1 else f"{self.nodes} nodes"

    @property
    def later_steps(self) -> int:
        """Steps of fine-tuning, and of training after the last restore."""
        return max(1, self.steps // 2)

    @property
    def all_steps(self) -> int:
        """Steps from the first to the last."""
        return self.steps + 2 * self.later_steps
