"""Power cuts at every instant of a save, over all that a disk may then hold."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.torture import disk_model
from support.torture.harness import IS_FULL
from support.torture.scenarios import MORE_SCENARIOS, SCENARIOS, Scenario

# Random choices among the pending calls of each instant, beside those that `disk_model` always makes.
RANDOM_CHOICES = 40 if IS_FULL else 3
# A link and a current directory are not part of a state of the disk.
CUT = [
    *(scenario for scenario in SCENARIOS if IS_FULL or not scenario.is_large),
    *(scenario for scenario in MORE_SCENARIOS if IS_FULL and scenario.place == "plain"),
]


class PowerCuts:
    """A recorded save, and what the judge says of the states of the disk that it may leave."""

    def __init__(
        self,
        rig: Any,
        scenario: Scenario,
        work: Path,
        scratch: Path,
        saver: str = "ours",
        **task: Any,
    ) -> None:
        self._rig, self._scenario, self._work = rig, scenario, work
        log, self._snapshot = scratch / "log", scratch / "snapshot"
        answer = rig.save(
            scenario, work, saver, mode="record", log=str(log), snapshot=str(self._snapshot), **task
        )
        assert answer["error"] is None, answer
        self.calls = disk_model.read_log(log)
        self._verdicts: dict[object, str | None] = {}

    def losses(self, calls: list[disk_model.Call]) -> Iterator[str]:
        """Yields what is lost if these are the calls that were made."""
        choices = random.Random(7)
        disk = disk_model.Disk(self._snapshot)
        for number, call in enumerate([*calls, None], 1):
            for state in disk.states(RANDOM_CHOICES, choices):
                if (loss := self._judge(state, disk.root, is_saved=call is None)) is not None:
                    yield f"before call {number} ({call.what if call else 'the end'}): {loss}"
            if call is not None:
                disk.play(call)

    @property
    def state_count(self) -> int:
        """How many different states were judged."""
        return len(self._verdicts)

    def lost_states(self) -> list[str]:
        """The losses, one per state that was judged."""
        return [verdict for verdict in self._verdicts.values() if verdict is not None]

    def _judge(self, state: disk_model.Nodes, root: int, *, is_saved: bool) -> str | None:
        key = (disk_model.fingerprint(state, root), is_saved)
        if key not in self._verdicts:
            # In the directory of the save, whose path stands in the state file.
            shutil.rmtree(self._work)
            self._work.mkdir()
            disk_model.write_state(state, root, self._work)
            self._verdicts[key] = self._rig.judge(self._scenario, self._work, is_saved=is_saved)
        return self._verdicts[key]
