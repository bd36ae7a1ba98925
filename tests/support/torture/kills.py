"""A process killed at every call that changes the disk: what stock TensorFlow then restores."""

from typing import Any

from support.torture.harness import IS_FULL
from support.torture.scenarios import Scenario

# Calls that switch from one state to the next; the others are sampled where not all is tried.
SWITCHES = {"rename", "renameat", "link", "linkat", "unlink", "unlinkat", "mkdir"}


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
