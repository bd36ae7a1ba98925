"""Prints the table of docs/design/durability.md: at how many points of a save a checkpoint is lost, stock beside ours.

A loss of the graph alone (`.meta`) counts apart: the values can still be restored by a program that has the graph.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from support.torture.harness import Rig
from support.torture.kills import count_lost
from support.torture.power_cuts import CUT, PowerCuts
from support.torture.scenarios import MORE_SCENARIOS, SCENARIOS, Scenario


def kills(rig: Rig, scenario: Scenario, saver: str) -> str:
    """`<points> / <values lost> / <graph lost>`."""
    points, lost = count_lost(rig, scenario, saver)
    graphs = sum("graph of" in loss for loss in lost)
    return f"{points} / {len(lost) - graphs} / {graphs}"


def cuts(rig: Rig, scenario: Scenario, saver: str, scratch: Path) -> str:
    """The same for the states that a power cut may leave."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    with rig.directory() as work:
        found = PowerCuts(rig, scenario, work, scratch, saver)
        list(found.losses(found.calls))
        lost = found.lost_states()
    graphs = sum("graph of" in loss for loss in lost)
    return f"{found.state_count} / {len(lost) - graphs} / {graphs}"


def main() -> None:
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    rig = Rig(root)
    print("| scenario | kills: stock | kills: ours | power cuts: stock | power cuts: ours |")
    print("|---|---|---|---|---|")
    for scenario in [*SCENARIOS, *MORE_SCENARIOS]:
        columns = [kills(rig, scenario, saver) for saver in ("stock", "ours")]
        if scenario in CUT:
            columns += [cuts(rig, scenario, saver, root / "scratch") for saver in ("stock", "ours")]
        print(f"| {scenario.name} | {' | '.join(columns)} |", flush=True)
    rig.close()
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
