"""What each command prints as JSON has the keys that its page names, and no others."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.python_programs import ROOT

Run = Callable[..., tuple[int, str, str]]

READING = (ROOT / "docs/workbench.md").read_text(encoding="utf-8")
WRITING = (ROOT / "docs/converting-checkpoints.md").read_text(encoding="utf-8")


def documented(command: str) -> set[str]:
    """The words in code of the row of a command, or of the paragraph on JSON of its section."""
    table = READING.split("## JSON")[1]
    row = re.search(rf"^\| `{command}`[^|]*\| (.*) \|$", table, re.MULTILINE)
    section = "" if row else WRITING.split(f"\n## {command}")[1]
    text = row[1] if row else section.split("\nJSON: ")[1].split("\n\n")[0]
    return set(re.findall(r"`(\w+)`", text))


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for child in value if isinstance(value, list) else ():
        yield from keys_of(child)


@pytest.fixture
def pair(tmp_path: Path, run: Run) -> Path:
    """Two checkpoints `a` and `b` that differ in all ways, and a state file."""
    first = {"x": np.arange(6.0).reshape(2, 3), "shape": np.zeros(2), "t": np.zeros(1)}
    first["gone"] = np.zeros(2)
    second = {"x": np.ones((2, 3)), "shape": np.zeros(3), "t": np.zeros(1, np.int32)}
    for name, arrays in (("a", first), ("b", second)):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert run("import", tmp_path / f"{name}.npz", tmp_path / name)[0] == 0
    (tmp_path / "spec.yml").write_text("nodes:\n  - address: localhost\n    cpus: [0]\n")
    (tmp_path / "c.index").write_bytes((tmp_path / "a.index").read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("command", "arguments", "values"),
    [
        ("ls", "ls {}/a", {"checkpoint", "saved_model", "V1", "V2"}),
        ("show", "show {}/a x", set()),
        ("stat", "stat {}/a", set()),
        ("verify", "verify {}/c", set()),
        ("diff", "diff {}/a {}/b", {"values"}),
        ("explain", "explain {}/b --with {}/a", {"expected", "found", "pattern", "replacement"}),
        ("pin", "pin {}/a", {"pins", "reason", "host", "time"}),
        ("pin", "pin {}", {"checkpoints", "pinned", "was_pinned"}),
        ("doctor", "doctor {}", set()),
        ("spec check", "spec check {}/spec.yml", set()),
        ("Convert", "convert {}/a {}/t", set()),
        ("Average", "average {}/a {}/a --output {}/t", set()),
        ("safetensors and NumPy", "export {}/a {}/t.safetensors", set()),
        ("safetensors and NumPy", "import {}/a.npz {}/t", set()),
        ("Repair", "repair {}/a", {"index", "name", "reason"}),
    ],
)  # fmt: skip
def test_keys_are_documented(
    pair: Path, run: Run, command: str, arguments: str, values: set[str]
) -> None:
    """`values` are words of the page that need not be keys here."""
    run("pin", pair / "a")
    _, out, err = run(*arguments.format(*[pair] * 3).split(), "--json")
    assert not err
    found = set(keys_of(json.loads(out)))
    assert found <= documented(command)
    assert documented(command) - found <= values
