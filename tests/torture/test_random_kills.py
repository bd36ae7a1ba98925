"""A loop that trains, saves and prunes, killed at random moments."""

import random
from pathlib import Path
from typing import Any

from support.torture.harness import IS_FULL

KILLS = 500 if IS_FULL else 10
SIZE = 200_000


def test_no_checkpoint_is_lost(rig: Any, tmp_path: Path) -> None:
    moments = random.Random(3)
    progress = tmp_path / "progress"
    progress.write_text("0\n")
    lost = []
    with rig.directory() as directory:
        for number in range(KILLS):
            # Every other one may be killed in its first save, before it has pruned.
            rig.loop(directory, progress, moments.random() * 0.4, SIZE, saves=number % 2)
            returned = int(progress.read_text().split()[-1])
            loss = rig.judge_versions(directory, [returned, returned + 1], SIZE)
            if loss is not None:
                lost.append(f"kill {number} after version {returned}: {loss}")
        assert returned > 0
        # Each saver cleaned up after the one before.
        assert sum(".autodist" in path.name for path in directory.iterdir()) < 8
    assert lost == []
