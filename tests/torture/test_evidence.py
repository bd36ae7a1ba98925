"""A save with rules, killed at every call that changes the disk: what is named is always good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist import checkpoint
from support.torture.harness import IS_FULL
from support.torture.kills import kill_points

CASES = [
    (before, how, value)
    for before in ("nothing", "good", "refused", "pending")
    for how in ("refuse", "plain")
    for value in ("good", "bad")
    # Without a rule the bad value is what was asked for.
    if (how, value) != ("plain", "bad")
]
SAMPLED = [("refused", "plain", "good"), ("nothing", "refuse", "bad")]


def value_of(prefix: str | None) -> list[float]:
    assert prefix is not None
    found: list[float] = tf.train.load_variable(prefix, "w").tolist()
    return found


def what_is_wrong(directory: Path) -> str | None:
    """What a program that goes on in a directory would be given wrongly, or `None`."""
    named = value_of(tf.train.latest_checkpoint(str(directory)))
    found = value_of(checkpoint.latest(directory))
    (directory / "checkpoint").unlink()
    found_alone = value_of(checkpoint.latest(directory))
    for what, value in (("named", named), ("latest", found), ("latest, alone", found_alone)):
        if value not in ([1, 1], [2, 2]):
            return f"{what}: {value}"
    return None


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(("before", "how", "value"), CASES)
def test_what_is_named_is_good_wherever_a_save_is_killed(
    rig: Any, before: str, how: str, value: str, durable: bool
) -> None:
    if not IS_FULL and ((before, how, value) not in SAMPLED or not durable):
        pytest.skip("make torture tries all cases")
    task = {"before": before, "how": how, "value": value, "durable": durable}
    with rig.directory() as directory:
        calls = rig.save_judged(directory, mode="count", **task)["calls"]
        assert what_is_wrong(directory) is None
        if value == "good":
            assert value_of(f"{directory}/m-2") == [2, 2]
    wrong = []
    for mode, at in kill_points(calls):
        with rig.directory() as directory:
            answer = rig.save_judged(directory, mode=mode, at=at, **task)
            assert answer["signal"] == 9, answer
            if (why := what_is_wrong(directory)) is not None:
                wrong.append(f"{mode} at {at} ({calls[at - 1][0]}): {why}")
    assert wrong == []
