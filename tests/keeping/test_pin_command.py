"""The command `autodist pin`."""

import json
from pathlib import Path
from typing import Any

import pytest

from autodist import checkpoint, cli
from autodist.checkpoint.saver import Saver


@pytest.fixture
def prefix(session: Any, tmp_path: Path) -> str:
    return str(Saver(durable=False).save(session, str(tmp_path / "m"), 1))


def test_pins_are_made_listed_and_taken_away(
    prefix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["pin", prefix, "--reason", "released"]) == 0
    assert capfd.readouterr().out == f"{prefix}: pinned\n"
    assert cli.main(["pin", str(tmp_path)]) == 0
    heading, row = capfd.readouterr().out.splitlines()
    assert heading.split() == ["CHECKPOINT", "PINNED", "ON", "REASON"]
    assert row.startswith(prefix)
    assert row.endswith("released")
    assert cli.main(["pin", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)["pins"]
    assert (found["prefix"], found["reason"]) == (prefix, "released")
    assert cli.main(["pin", "--remove", prefix]) == 0
    assert checkpoint.pins(tmp_path) == {}
    assert cli.main(["pin", "--remove", prefix, "--json"]) == 1
    assert '"was_pinned": false' in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["m-2"], "there is no"),
        (["none/m"], "its directory is missing"),
        (["", "--remove"], "is a directory"),
        (["", "m-1"], "is a directory"),
    ],
)
def test_what_cannot_be_pinned_is_refused(
    prefix: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    given = [each if each.startswith("--") else str(tmp_path / each) for each in arguments]
    assert cli.main(["pin", *given]) == 2
    assert says in capfd.readouterr().err
    assert not list(tmp_path.glob("*.pin"))
