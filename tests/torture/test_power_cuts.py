"""Power cuts at every instant of a save, over all that a disk may then hold."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.torture import disk_model
from support.torture.power_cuts import CUT, PowerCuts
from support.torture.scenarios import SCENARIOS, Scenario


def plain(name: str) -> str:
    """A name without what differs from save to save."""
    name = name.split(".autodist", maxsplit=1)[0].split("-00000-of", maxsplit=1)[0]
    return re.sub(r"^(m-\d|variables)\b", "m", name)


def roles_of_syncs(calls: list[disk_model.Call]) -> dict[int, str]:
    """What each sync is for: of a file, its name; of a directory, what was changed in it last."""
    files: dict[int, str] = {}
    roles = {}
    for at, call in enumerate(calls):
        if call.what == "create":
            files[call.inode] = plain(call.name)
        elif call.what == "sync" and call.inode in files:
            roles[at] = f"bytes of {files[call.inode]}"
        elif call.what == "sync":
            before = calls[at - 1]
            roles[at] = f"directory after {before.what} {plain(before.second_name or before.name)}"
    return roles


@pytest.mark.parametrize("scenario", CUT, ids=lambda scenario: scenario.name)
def test_no_checkpoint_is_lost(rig: Any, scenario: Scenario, tmp_path: Path) -> None:
    with rig.directory() as work:
        cuts = PowerCuts(rig, scenario, work, tmp_path)
        assert list(cuts.losses(cuts.calls)) == []
        assert cuts.state_count > 20


def test_every_sync_is_needed(rig: Any, tmp_path: Path) -> None:
    is_needed: dict[str, bool] = {}
    for number, scenario in enumerate(SCENARIOS):
        if scenario.is_large:
            continue
        scratch = tmp_path / str(number)
        scratch.mkdir()
        with rig.directory() as work:
            cuts = PowerCuts(rig, scenario, work, scratch)
            for at, role in roles_of_syncs(cuts.calls).items():
                if not is_needed.get(role):
                    without = [*cuts.calls[:at], *cuts.calls[at + 1 :]]
                    is_needed[role] = next(cuts.losses(without), None) is not None
    assert [role for role, needed in is_needed.items() if not needed] == []
    assert len(is_needed) > 12


def test_the_model_sees_what_is_lost_without_syncs(rig: Any, tmp_path: Path) -> None:
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == "same prefix")
    with rig.directory() as work:
        cuts = PowerCuts(rig, scenario, work, tmp_path, durable=False)
        assert next(cuts.losses(cuts.calls), None) is not None
