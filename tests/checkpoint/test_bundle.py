"""Removing the files of a checkpoint, and the way out when the op library is missing."""

from pathlib import Path
from typing import Any

import pytest

from autodist import _native
from autodist.checkpoint.files import bundle
from autodist.checkpoint.saver import Saver


def touch(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text("")


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("name", ["m-1", "m[1]", "m*"])
def test_only_the_files_of_the_prefix_are_removed(name: str, tmp_path: Path) -> None:
    others = {"m-10.index", "m-10.data-00000-of-00001", "m-1x.data-00000-of-00001", f"{name}.meta"}
    mine = [f"{name}.index", f"{name}.data-00000-of-00002", f"{name}.data-00001-of-00002"]
    touch(tmp_path, *others, *mine)
    assert bundle.exists(str(tmp_path / name))

    bundle.remove(str(tmp_path / name))

    assert files(tmp_path) == others
    assert not bundle.exists(str(tmp_path / name))


def test_a_prefix_without_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "m.index", "m.data-00000-of-00001", "m.meta", "n.index")
    bundle.remove("m", "m.meta", "m.gone")
    assert files(tmp_path) == {"n.index"}


def test_a_missing_directory_is_no_error(tmp_path: Path) -> None:
    bundle.remove(str(tmp_path / "gone" / "m"))


def test_without_the_op_library_a_saver_is_not_built(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("autodist was built against another TensorFlow")

    monkeypatch.setattr(_native, "ops", fail)
    with pytest.raises(ImportError, match="built against another TensorFlow"):
        Saver()
