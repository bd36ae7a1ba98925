"""Checkpoints behind a scheme, through fsspec; here its file system in memory."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from autodist.workbench import errors
from autodist.workbench.commands import differences, showing, verification
from autodist.workbench.reading import finding
from autodist.workbench.storage import places


@pytest.fixture
def remote(stock: Path) -> Iterator[str]:
    """The directories of `stock`, as `memory://stock`."""
    memory = fsspec.filesystem("memory")
    for path in stock.rglob("*"):
        if path.is_file() and "large" not in path.parts:
            memory.pipe_file(f"/stock/{path.relative_to(stock)}", path.read_bytes())
    yield "memory://stock"
    memory.rm("/stock", recursive=True)


@pytest.mark.parametrize(
    "name", ["dtypes", "sliced", "sharded", "keras", "saved_model", "v1/model.ckpt"]
)
def test_a_remote_checkpoint_is_that_of_the_disk(stock: Path, remote: str, name: str) -> None:
    prefix = finding.find(str(stock / name)).prefix.removeprefix(str(stock))
    near, far = finding.read(f"{stock}{prefix}"), finding.read(f"{remote}{prefix}")
    assert near.variables == far.variables
    results = differences.compare(near.prefix, far.prefix)
    assert {result.kind for result in results} == {"same"}


def test_a_remote_checkpoint_is_verified(remote: str) -> None:
    for name in ("dtypes", "sliced", "sharded"):
        job = verification.plan([f"{remote}/{name}/model.ckpt"])
        assert not verification.verify(job, 1).problems
    path = "/stock/dtypes/model.ckpt.data-00000-of-00001"
    memory = fsspec.filesystem("memory")
    memory.pipe_file(path, memory.cat_file(path)[:-4] + b"oops")
    report = verification.verify(verification.plan([f"{remote}/dtypes/model.ckpt"]), 1)
    assert [p.variable for p in report.problems if p.is_damage] == ["text"]


def test_a_remote_directory_is_listed(remote: str) -> None:
    assert finding.prefixes_in(f"{remote}/keras") == [f"{remote}/keras/model.ckpt"]
    (shown,) = showing.show(f"{remote}/keras/model.ckpt.index", ["*_iterations*"])
    assert shown.values == 1
    with pytest.raises(errors.NotFoundError):
        finding.open_checkpoint(f"{remote}/none")


def test_paths_with_a_scheme_of_files_are_local(stock: Path) -> None:
    assert not places.is_remote(f"file://{stock}")
    assert finding.open_checkpoint(f"file://{stock}/keras/model.ckpt").variables


def test_a_scheme_without_its_package_says_what_to_install() -> None:
    with pytest.raises(errors.MissingPackageError, match="pip install gcsfs"):
        finding.find("gs://bucket/m")
    with pytest.raises(errors.NotFoundError, match="nosuch"):
        finding.find("nosuch://bucket/m")
