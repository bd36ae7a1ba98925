"""Faults that the system makes, not a shim: what a save says, what stays, and that the next one works."""

from pathlib import Path
from typing import Any

import pytest

MEGABYTE = 1 << 20
# Of the model: a data file of 1.2 MB.
DATA_BYTES = 1_200_000 + 24 + 30
# What an error says of variables that stay.
SAVED = "The variables are saved all the same"
TYPES = {"OpError", "OSError", "ValueError", "AutoDistError"}


def problems(outcomes: list[dict[str, Any]], cause: str) -> list[str]:
    """What is wrong with saves under a fault; the cause is what their errors must tell."""
    found = []
    for outcome in outcomes:
        at = outcome["amount"]
        if outcome["error"] is not None:
            if not TYPES & set(outcome["types"]) or cause not in outcome["error"]:
                found.append(f"{at}: {outcome['types'][0]}: {outcome['error']}")
            if "/work" not in outcome["error"]:
                found.append(f"{at}: no path in {outcome['error']}")
            # Over a prefix in use the variables may be saved though what stands beside them is not.
            is_saved = SAVED in outcome["error"] and outcome["found"] == outcome["before"] + 1
            if outcome["found"] != outcome["before"] and not is_saved:
                found.append(f"{at}: version {outcome['found']}, not {outcome['before']}")
            if any(".autodist" in name for name in outcome["left"]):
                found.append(f"{at}: left {outcome['left']}")
        elif outcome["found"] != outcome["before"] + 1:
            found.append(f"{at}: saved, but {outcome['found']} is found")
        if outcome["again"] is not None or outcome["found_again"] != outcome["before"] + 2:
            found.append(f"{at}: then {outcome['again']}, version {outcome['found_again']}")
        if any(".autodist" in name for name in outcome["left_again"]):
            found.append(f"{at}: then left {outcome['left_again']}")
    return found


def failed(outcomes: list[dict[str, Any]]) -> int:
    return sum(outcome["error"] is not None for outcome in outcomes)


def with_mount(rig: Any, *arguments: Any, **task: Any) -> Any:
    try:
        return rig.save_with_fault(*arguments, **task)
    except PermissionError as error:
        pytest.skip(f"needs to mount a file system: {error}")


@pytest.mark.parametrize("step", [None, 7], ids=["new prefix", "same prefix"])
def test_no_space(step: int | None, rig: Any) -> None:
    # None at all, for a part of the data, for the data alone, and for data and index but not for the graph.
    amounts = [0, 4096, DATA_BYTES // 2, *(DATA_BYTES + 4096 * pages for pages in range(0, 24, 3))]
    with rig.directory() as directory:
        outcomes = with_mount(
            rig, "no_space", amounts, directory, mount_bytes=12 * MEGABYTE, step=step
        )
    assert problems(outcomes, "No space left on device") == []
    assert 4 <= failed(outcomes) < len(outcomes)


def test_a_read_only_directory(rig: Any) -> None:
    with rig.directory() as directory:
        outcomes = with_mount(rig, "read_only", [0], directory, mount_bytes=12 * MEGABYTE)
    assert problems(outcomes, "Read-only file system") == []
    assert failed(outcomes) == 1


@pytest.mark.parametrize("step", [None, 7], ids=["new prefix", "same prefix"])
def test_too_many_open_files(step: int | None, rig: Any) -> None:
    with rig.directory() as directory:
        outcomes = rig.save_with_fault("few_files", list(range(16)), directory, step=step)
    assert problems(outcomes, "Too many open files") == []
    assert 2 <= failed(outcomes) < len(outcomes)


def test_a_limit_of_file_sizes(rig: Any) -> None:
    amounts = [0, 100, 5000, DATA_BYTES // 2, DATA_BYTES - 100, 2 * DATA_BYTES]
    with rig.directory() as directory:
        outcomes = rig.save_with_fault("small_files", amounts, directory)
    assert problems(outcomes, "File too large") == []
    assert failed(outcomes) == 5


def test_little_memory(rig: Any) -> None:
    """A save takes the memory that it gets, or fails whole; `test_scarcity` takes more away.

    The C library ends a process that has no memory for a thread's own data: then it is as with a kill.
    """
    outcomes = []
    ended = 0
    for megabytes in (0, 1, 4, 16):
        with rig.directory() as directory:
            try:
                outcomes += rig.save_with_fault(
                    "little_memory", [megabytes * MEGABYTE], directory, size=6_000_000
                )
            except RuntimeError:
                ended += 1
                assert rig.judge_versions(directory, [1, 2], 6_000_000) is None
    assert problems(outcomes, "no memory") == []
    assert ended + len(outcomes) == 4


@pytest.mark.parametrize("fault", ["deleted", "replaced"])
def test_a_directory_that_goes_during_the_save(fault: str, rig: Any) -> None:
    for milliseconds in (0, 5, 15, 30):
        with rig.directory() as directory:
            below = directory / "below"
            below.mkdir()
            (outcome,) = rig.save_with_fault(fault, [milliseconds], below, size=4_000_000)
            # What was saved went with the directory; nothing of the new is in another's place.
            if outcome["error"] is not None:
                assert TYPES & set(outcome["types"]), outcome
                assert str(below) in outcome["error"]
            assert not any(".autodist" in name for name in outcome["left"])
            assert outcome["again"] is None
            assert outcome["found_again"] == 3
            moved = below.parent / "moved"
            if moved.exists():
                assert not any(".autodist" in path.name for path in moved.iterdir())


def test_a_handler_of_sigterm_that_raises(rig: Any) -> None:
    with rig.directory() as directory:
        outcomes = rig.save_with_fault("terminated", [0, 2, 5, 10, 20, 40], directory)
    for outcome in outcomes:
        assert outcome["found"] in {outcome["before"], outcome["before"] + 1}
        assert not any(".autodist" in name for name in outcome["left"])
        assert outcome["again"] is None
        assert outcome["found_again"] == outcome["before"] + 2
    failures = [outcome for outcome in outcomes if outcome["error"] is not None]
    assert failures
    for outcome in failures:
        # Where it is raised while TensorFlow's binding makes an exception, that makes another of the two.
        is_replaced = "REPLACED BY SystemExit" in outcome["error"]
        assert outcome["types"][0] == "SystemExit" or is_replaced


def test_sigterm_without_a_handler(rig: Any, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    progress.write_text("0\n")
    with rig.directory() as directory:
        for seconds in (0.0, 0.13, 0.27):
            rig.loop(directory, progress, seconds, 20_000, signal_name="SIGTERM", saves=1)
            returned = int(progress.read_text().split()[-1])
            assert rig.judge_versions(directory, [returned, returned + 1], 20_000) is None
    assert returned > 0
