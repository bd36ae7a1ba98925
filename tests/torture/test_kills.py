"""A process killed at every call that changes the disk: what stock TensorFlow then restores."""

from typing import Any

import pytest
from harness import IS_FULL
from scenarios import MORE_SCENARIOS, SCENARIOS, Scenario

# Calls that switch from one state to the next; the others are sampled where not all is tried.
SWITCHES = {"rename", "renameat", "link", "linkat", "unlink", "unlinkat", "mkdir"}
SAMPLED = {
    "first save, new directory",
    "same prefix",
    "retention",
    "SavedModel",
    "sharded, same prefix",
}


def kill_points(calls: list[tuple[str, bool]]) -> list[tuple[str, int]]:
    """The calls to be killed before, and those to be made by half."""
    before = [("kill", at) for at in range(1, len(calls) + 1)]
    half = [("tear", at) for at, (_, is_write) in enumerate(calls, 1) if is_write]
    if IS_FULL:
        return before + half
    switches = [("kill", at) for _, at in before if calls[at - 1][0] in SWITCHES]
    return switches[::2] + half[::3]


def count_lost(
    rig: Any, scenario: Scenario, saver: str, *, durable: bool = True
) -> tuple[int, list[str]]:
    """Kills a save at its points; returns how many there were, and what was lost."""
    with rig.directory() as directory:
        calls = rig.save(scenario, directory, saver, mode="count", durable=durable)["calls"]
        assert rig.judge(scenario, directory, is_saved=True, graph=True) is None
    points = kill_points(calls)
    lost = []
    for mode, at in points:
        with rig.directory() as directory:
            answer = rig.save(scenario, directory, saver, mode=mode, at=at, durable=durable)
            assert answer["signal"] == 9, answer
            if (loss := rig.judge(scenario, directory)) is not None:
                lost.append(f"{mode} at {at} ({calls[at - 1][0]}): {loss}")
    return len(points), lost


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
