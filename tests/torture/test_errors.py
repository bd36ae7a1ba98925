"""An error at every call that a save makes below its directory."""

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from support.torture.harness import IS_FULL
from support.torture.scenarios import MORE_SCENARIOS, SCENARIOS, Scenario

# What each call may fail with; where not all is tried, one of them in turn.
ERRORS = {
    "openat": (errno.EMFILE, errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO),
    "open": (errno.EMFILE, errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG),
    "pwrite64": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "close": (errno.EIO, errno.ENOSPC),
    "mkdir": (errno.ENOSPC, errno.EACCES, errno.EROFS),
    "fallocate": (errno.ENOSPC, errno.EDQUOT),
}
OTHERS = (errno.EIO, errno.ENOSPC, errno.EACCES)
SHARDED = [
    scenario
    for scenario in MORE_SCENARIOS
    if scenario.name in {"sharded, retention", "sharded, same prefix"}
]
TYPES = {"OpError", "OSError", "ValueError", "AutoDistError"}
SAMPLED = {"first save, new directory", "same prefix", "retention", "SavedModel"}


def injections(calls: list[tuple[str, bool]]) -> Iterator[tuple[int, str, int]]:
    for at, (name, _) in enumerate(calls, 1):
        errors = ERRORS.get(name, OTHERS)
        if IS_FULL:
            yield from ((at, name, error) for error in errors)
        elif at % 4 == 0:
            yield at, name, errors[at % len(errors)]


def faults_of(rig: Any, scenario: Scenario, at: int, name: str, error: int) -> Iterator[str]:
    """Yields what is wrong after a save in which one call failed."""
    with rig.directory() as directory:
        answer = rig.save(
            scenario, directory, mode="fail", at=at, errno=error, reads=True, again=True
        )
        told = answer["error"]
        if told is not None:
            if not TYPES & set(answer["types"]):
                yield f"an error of type {answer['types'][0]}"
            if str(directory) not in told or os.strerror(error) not in told:
                yield f"a message without path or cause: {told}"
        if name not in {"unlink", "unlinkat"} and any(
            ".autodist" in file for file in answer["left"]
        ):
            yield f"files left: {answer['left']}"
        if any(".autodist" in file for file in answer["left_again"]):
            yield f"files left by the next save: {answer['left_again']}"
        if answer.get("again") is not None:
            yield f"the next save: {answer['again']}"
        if (loss := rig.judge(scenario, directory, is_saved=True)) is not None:
            yield loss


@pytest.mark.parametrize("scenario", [*SCENARIOS, *SHARDED], ids=lambda scenario: scenario.name)
def test_the_former_checkpoint_stays_and_the_next_save_works(rig: Any, scenario: Scenario) -> None:
    if not IS_FULL and scenario.name not in SAMPLED:
        pytest.skip("make torture tries all scenarios")
    with rig.directory() as directory:
        calls = rig.save(scenario, directory, mode="count", reads=True)["calls"]
    faults = [
        f"{os.strerror(error)} at {at} ({name}): {fault}"
        for at, name, error in injections(calls)
        for fault in faults_of(rig, scenario, at, name, error)
    ]
    assert "\n".join(faults) == ""
