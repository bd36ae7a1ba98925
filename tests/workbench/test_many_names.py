"""What takes its time only with very many names: work for each of them is done for all at once."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autodist.workbench.commands import explanation, selection
from autodist.workbench.reading import tables

Run = Callable[..., tuple[int, str, str]]
COUNT = 1200


def save(path: Path, run: Run, form: str) -> Path:
    arrays = {form.format(i // 100, i): np.full(3, i, np.float32) for i in range(COUNT)}
    np.savez(f"{path}.npz", **arrays)
    assert run("import", f"{path}.npz", path)[0] == 0
    return path


@pytest.fixture
def many(tmp_path: Path, run: Run) -> Path:
    return save(tmp_path / "many", run, "model/enc/layer_{}/v{}/weights")


def test_small_tensors_are_summed_together(
    many: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    sum_ranges = tables.module().sum_ranges

    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return sum_ranges(*arguments, **named)

    monkeypatch.setattr(tables.module(), "sum_ranges", counting)
    for arguments in (
        ("average", many, many, "--output", tmp_path / "mean"),
        ("convert", many, tmp_path / "half", "--cast", "float32=float16"),
        ("convert", many, tmp_path / "cut", "--partition", "*=0:3"),
        ("export", many, tmp_path / "e.npz"),
    ):
        calls.clear()
        assert run(*arguments)[0] == 0
        assert 1 <= len(calls) <= 4, arguments
    data = ".data-00000-of-00001"
    assert (tmp_path / f"mean{data}").read_bytes() == Path(f"{many}{data}").read_bytes()


def test_damage_among_many_is_named(many: Path, tmp_path: Path, run: Run) -> None:
    path = Path(f"{many}.data-00000-of-00001")
    data = bytearray(path.read_bytes())
    # In the order of names.
    names = sorted(f"model/enc/layer_{i // 100}/v{i}/weights" for i in range(COUNT))
    data[700 * 12] ^= 1
    path.write_bytes(data)
    for arguments in (
        ("average", many, many, "--output", tmp_path / "mean"),
        ("convert", many, tmp_path / "half", "--cast", "float32=float16"),
        ("export", many, tmp_path / "e.npz"),
    ):
        code, _, err = run(*arguments)
        assert (code, f"tensor '{names[700]}'" in err) == (1, True), err
    assert {path.name for path in tmp_path.iterdir()} == {path.name, "many.index", "many.npz"}


def test_a_renaming_of_many_names_is_found_by_few_comparisons(
    many: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save(tmp_path / "other", run, "net/encoder/layer_{}/v{}/weights")
    compared = []
    close = difflib.get_close_matches

    def counting(name: str, names: list[str], *arguments: Any) -> list[str]:
        compared.append(len(names))
        return close(name, names, *arguments)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    found = explanation.explain(str(many), other=str(other))
    assert len(found.missing) == COUNT
    assert found.rule is not None
    assert found.rule.found == COUNT
    assert found.missing[0].near[0] == "model/enc/layer_0/v0/weights"
    assert max(compared) <= 500
    assert len(compared) <= 200


def test_very_long_names_are_not_compared_letter_by_letter() -> None:
    long = "a" * 100_000
    assert selection.nearest(long, [long + "b"]) == []
    assert selection.nearest("abcd", [long, "abce"]) == ["abce"]
