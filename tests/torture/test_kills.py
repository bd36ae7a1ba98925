"""A process killed at every call that changes the disk: what stock TensorFlow then restores."""

from typing import Any

import pytest

from support.torture.harness import IS_FULL
from support.torture.kills import count_lost
from support.torture.scenarios import MORE_SCENARIOS, SCENARIOS, Scenario

SAMPLED = {
    "first save, new directory",
    "same prefix",
    "retention",
    "SavedModel",
    "sharded, same prefix",
    "in the background, retention",
    "past the page cache, same prefix",
}


@pytest.mark.parametrize(
    "scenario", [*SCENARIOS, *MORE_SCENARIOS], ids=lambda scenario: scenario.name
)
def test_no_checkpoint_is_lost(rig: Any, scenario: Scenario) -> None:
    if not IS_FULL and scenario.name not in SAMPLED:
        pytest.skip("make torture tries all scenarios")
    _, lost = count_lost(rig, scenario, "ours")
    assert lost == []


@pytest.mark.skipif(not IS_FULL, reason="make torture tries this")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_checkpoint_is_lost_to_a_kill_without_syncs(rig: Any, scenario: Scenario) -> None:
    _, lost = count_lost(rig, scenario, "ours", durable=False)
    assert lost == []


def test_the_harness_sees_what_stock_tensorflow_loses(rig: Any) -> None:
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == "same prefix")
    _, lost = count_lost(rig, scenario, "stock")
    assert lost != []


def test_leftovers_of_a_killed_save_are_removed_by_the_next(rig: Any) -> None:
    scenario = Scenario("new prefix", (1, 2))
    with rig.directory() as directory:
        calls = rig.save(scenario, directory, mode="count")["calls"]
        whole = sorted(path.name for path in directory.iterdir())
    rename = next(at for at, (name, _) in enumerate(calls, 1) if name == "renameat")
    with rig.directory() as directory:
        rig.save(scenario, directory, mode="kill", at=rename)
        kept = directory / "m-1.index.autodist-of-the-user"
        kept.write_text("kept")
        left = {path.name for path in directory.iterdir()}
        # The data, the index, the locks of the index and of the prefix, and what is the user's.
        assert sum(".autodist" in name for name in left) == 5
        rig.save(scenario, directory)
        assert sorted(path.name for path in directory.iterdir()) == sorted([*whole, kept.name])
