"""The commands hold a lease on what they read, so that no saver removes it meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodist import cli
from autodist.checkpoint.keeping import leases
from autodist.checkpoint.saver import Saver
from autodist.cli import leasing
from autodist.workbench.commands import differences, showing, statistics, verification
from support.python_programs import run_python

COMMANDS: dict[str, tuple[Any, str, list[str]]] = {
    "verify": (verification._Checking, "run", ["m-1"]),
    "stat": (statistics, "statistics", ["m-1.index"]),
    "show": (showing, "show", ["m-1", "w"]),
    "diff": (differences, "compare", ["m-1", "m-1"]),
}


def prefixes(directory: Path) -> set[str]:
    return {path.name.removesuffix(".index") for path in directory.glob("*.index")}


@pytest.fixture
def saver() -> Saver:
    return Saver(max_to_keep=1, durable=False)


def run(name: str, directory: Path) -> int:
    first, *others = COMMANDS[name][2]
    others = [str(directory / other) if other.startswith("m-") else other for other in others]
    return cli.main([name, str(directory / first), *others])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_read_is_not_removed(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    saver.save(session, str(tmp_path / "m"), 1)
    place, called, _ = COMMANDS[name]
    reads: Callable[..., Any] = getattr(place, called)

    def saves_first(*given: Any, **named: Any) -> Any:
        saver.save(session, str(tmp_path / "m"), 2)
        assert prefixes(tmp_path) == {"m-1", "m-2"}
        return reads(*given, **named)

    monkeypatch.setattr(place, called, saves_first)
    assert run(name, tmp_path) == 0
    assert not list(tmp_path.glob("*.lease*"))
    monkeypatch.undo()
    saver.save(session, str(tmp_path / "m"), 3)
    assert prefixes(tmp_path) == {"m-3"}


@pytest.mark.parametrize("name", COMMANDS)
def test_without_a_lease_it_is_read_all_the_same(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    saver.save(session, str(tmp_path / "m"), 1)

    def refuse(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(leases.LeaseLock, "share", refuse)
    assert run(name, tmp_path) == 0


def test_a_lease_needs_no_tensorflow(session: Any, tmp_path: Path, saver: Saver) -> None:
    prefix = saver.save(session, str(tmp_path / "m"), 1)
    program = (
        "import sys\n"
        "from autodist.cli import leasing\n"
        f"with leasing.found({prefix!r}) as found: print(found)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    assert run_python("-c", program, fresh=True).stdout.strip() == prefix


def test_what_is_no_checkpoint_has_no_lease(session: Any, tmp_path: Path, saver: Saver) -> None:
    saver.save(session, str(tmp_path / "m"), 1)
    graph = str(tmp_path / "m-1.meta")
    with leasing.found(graph) as found:
        assert found == graph
    assert not list(tmp_path.glob("*.lease*"))
