"""What `stat`, `diff`, `explain` and `doctor` compute, beside NumPy and by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autodist.workbench import errors
from autodist.workbench.commands import (
    diagnosis,
    differences,
    explanation,
    listing,
    renaming,
    selection,
    statistics,
)
from autodist.workbench.reading.checkpoint import Piece, Variable


def variable(name: str) -> Variable:
    return Variable(name, "float32", (1,), (Piece(0, 0, 4, 0, (0,), (1,), ""),))


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int64", "uint32", "bool"]
)
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_figures_are_those_of_numpy(dtype: str, parts: int) -> None:
    drawn = np.random.default_rng(3).normal(1, 40, 5000).astype(dtype)
    figures = statistics.Figures()
    for part in np.array_split(drawn, parts):
        figures.add(statistics.figures_of(part, stride=10))
    wide = drawn.astype(np.float64)
    assert figures.count == figures.finite == 5000
    assert (figures.minimum, figures.maximum) == (wide.min(), wide.max())
    assert figures.zeros == (drawn == 0).sum()
    assert math.isclose(figures.mean, wide.mean(), rel_tol=1e-9)
    assert math.isclose(figures.deviation, wide.std(), rel_tol=1e-9)
    assert sum(figures.histogram()) == len(figures.sample) >= 500


def test_figures_leave_out_what_is_not_finite() -> None:
    values = np.array([np.nan, 1, np.inf, 3, -np.inf, np.nan, 0], np.float32)
    figures = statistics.figures_of(values)
    assert (figures.nans, figures.infinities, figures.zeros, figures.finite) == (2, 2, 1, 3)
    assert (figures.minimum, figures.maximum, figures.mean) == (0, 3, pytest.approx(4 / 3))
    empty = statistics.figures_of(np.full(4, np.nan, np.float32))
    assert (empty.finite, empty.nans, empty.histogram()) == (0, 4, [])


def test_figures_hold_the_largest_floats() -> None:
    most = float(np.finfo(np.float64).max)
    figures = statistics.figures_of(np.array([most, most, -most]))
    assert (figures.infinities, figures.maximum, figures.minimum) == (0, most, -most)
    figures.histogram()


@pytest.mark.parametrize("name", ["dtypes", "sliced", "v1", "v1_sliced", "sharded"])
def test_statistics_of_any_block_size_are_equal(stock: Path, name: str) -> None:
    small, large = (
        statistics.statistics(str(stock / name), threads=2, memory_bytes=memory)
        for memory in (1, 1 << 28)
    )
    assert small == large
    assert any(result.figures is not None for result in small)


def test_statistics_refuse_damage(stock: Path, tmp_path: Path) -> None:
    data = bytearray((stock / "keras/model.ckpt.data-00000-of-00001").read_bytes())
    data[8] ^= 1
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(data)
    index = (stock / "keras/model.ckpt.index").read_bytes()
    (tmp_path / "model.ckpt.index").write_bytes(index)
    with pytest.raises(errors.DamagedError, match=r"have the CRC .*, written with"):
        statistics.statistics(str(tmp_path))


def test_differences_are_of_every_kind(stock: Path) -> None:
    results = differences.compare(str(stock / "pairs/a"), str(stock / "pairs/b"))
    found = {result.name: result for result in results}
    assert {name: result.kind for name, result in found.items()} == {
        "gone": "only in A",
        "new": "only in B",
        "dtype": "dtype",
        "shape": "shape",
        "large": "values",
        "nan": "same",
        "same": "same",
        "scalar": "values",
        "text": "values",
        "x": "values",
    }
    change = found["x"].change
    assert change is not None
    assert (change.elements, change.row_count, change.rows) == (5, 2, [3, 7])
    assert (change.absolute, change.place) == (math.inf, (7, 0))
    large = found["large"].change
    assert large is not None
    assert (large.absolute, large.place, large.elements) == (1.0, (0,), 1)


def test_differences_within_a_tolerance_are_none(stock: Path) -> None:
    pair = (str(stock / "pairs/a"), str(stock / "pairs/b"))
    for tolerance, kind in [((0.9, 0.0), "values"), ((1.0, 0.0), "same"), ((0.0, 0.5), "same")]:
        (result,) = differences.compare(
            *pair, ["scalar"], tolerance=differences.Tolerance(*tolerance)
        )
        assert result.kind == kind


@pytest.mark.parametrize("memory_bytes", [1, 1 << 26])
def test_layouts_and_formats_make_no_difference(stock: Path, memory_bytes: int) -> None:
    results = differences.compare(
        str(stock / "sliced"), str(stock / "v1_sliced"), memory_bytes=memory_bytes
    )
    assert [result.kind for result in results] == ["same"] * 3


def test_equal_checksums_are_trusted_if_asked(stock: Path, tmp_path: Path) -> None:
    for suffix in ("index", "data-00000-of-00001"):
        data = bytearray((stock / f"keras/model.ckpt.{suffix}").read_bytes())
        if suffix.startswith("data"):
            data[8] ^= 1
        (tmp_path / f"model.ckpt.{suffix}").write_bytes(data)
    pair = (str(stock / "keras/model.ckpt"), str(tmp_path / "model.ckpt"))
    assert all(r.kind == "same" for r in differences.compare(*pair, trust_crcs=True))
    with pytest.raises(errors.DamagedError):
        differences.compare(*pair)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 1, 9)])
@pytest.mark.parametrize("block_bytes", [1, 12, 1000])
def test_changes_of_blocks_add_up(shape: tuple[int, ...], block_bytes: int) -> None:
    random = np.random.default_rng(7)
    a = random.integers(0, 3, shape).astype(np.float32)
    b = random.integers(0, 3, shape).astype(np.float32)
    from autodist.workbench.reading import values

    whole = Variable("v", "float32", shape, (Piece(0, 0, a.nbytes, 0, (0,), shape, ""),))
    total = differences.Change()
    for block in values.blocks(whole, block_bytes):
        index = (*block.lead, slice(block.begin, block.end))
        part = differences._compare_arrays(
            np.ascontiguousarray(a[index]), np.ascontiguousarray(b[index]), block,
            differences.Tolerance(), is_scalar=False,
        )  # fmt: skip
        if part.elements:
            total.add(part)
    rows = np.flatnonzero((a != b).reshape(shape[0], -1).any(axis=1))
    assert total.elements == (a != b).sum()
    assert total.absolute == np.abs(a - b).max()
    assert (total.row_count, total.rows) == (len(rows), rows[:10].tolist())
    assert total.place is not None
    assert abs(a[total.place] - b[total.place]) == total.absolute


def test_a_graph_restores_from_its_own_checkpoint(stock: Path) -> None:
    for name in ("dtypes", "sliced", "sharded", "v1", "v1_sliced"):
        found = explanation.explain(str(stock / name), graph=str(stock / name / "model.ckpt.meta"))
        assert found.restores, found
        assert found.wanted_count


def test_a_renaming_that_fits_is_found(stock: Path) -> None:
    found = explanation.explain(str(stock / "pairs/new"), other=str(stock / "pairs/old"))
    assert len(found.missing) == 8
    assert found.missing[0].near[0] == "net/encoder/layer_0/bias"
    assert found.rule == renaming.Rule("model(.*)", r"net/encoder\g<1>", 8)


@pytest.mark.parametrize(
    ("missing", "unused", "rule"),
    [
        (["a/w", "b/w"], ["s/a/w", "s/b/w"], ("(.*)", r"s/\g<1>")),
        (["s/a/w", "s/b/w"], ["a/w", "b/w"], ("s/(.*)", r"\g<1>")),
        (["a/w:0", "b/w:0"], ["a/w", "b/w"], ("(.*):0", r"\g<1>")),
        (["a/kernel", "b/kernel"], ["a/weights", "b/weights"], ("(.*)kernel", r"\g<1>weights")),
        (["n/lstm/w0", "n/lstm/b0"], ["n/gru/w0", "n/gru/b0"], ("(.*?)lstm(.*)", r"\g<1>gru\g<2>")),
        (["a", "b"], ["c", "d"], None),
    ],
)
def test_rules_are_of_several_kinds(
    missing: list[str], unused: list[str], rule: tuple[str, str] | None
) -> None:
    found = renaming.find(
        missing, unused, lambda name: selection.nearest(name, unused), lambda _, __: True
    )
    assert (found and found[:2]) == rule


def test_what_does_not_fit_is_told(stock: Path) -> None:
    found = explanation.explain(str(stock / "pairs/b"), other=str(stock / "pairs/a"))
    assert not found.restores
    assert [m.wanted.name for m in found.missing] == ["gone"]
    assert [m.stored.name for m in found.dtypes] == ["dtype"]
    assert [(m.wanted.shape, m.stored.shape) for m in found.shapes] == [((10, 4), (5, 4))]
    assert found.unused == ("new",)


def test_a_graph_of_tensorflow_2_is_refused(stock: Path) -> None:
    with pytest.raises(errors.UnsupportedError, match="has no restore op of a Saver"):
        explanation.explain(str(stock / "objects"), graph=str(stock / "saved_model"))
    with pytest.raises(errors.ArgumentError, match="exactly one of --graph META and --with CKPT"):
        explanation.explain(str(stock / "objects"))


def test_parts_in_place_of_a_variable_are_named(stock: Path) -> None:
    found = explanation.explain(str(stock / "keras"), graph=str(stock / "v1/model.ckpt.meta"))
    assert found.is_by_objects
    assert not found.restores


def test_names_are_chosen_by_patterns_and_names() -> None:
    variables = [variable(name) for name in ("a/w", "a/w[0]", "b/x")]
    for patterns, wanted in [
        ([], ["a/w", "a/w[0]", "b/x"]),
        (["a/*"], ["a/w", "a/w[0]"]),
        (["a/w[0]"], ["a/w[0]"]),
        (["b/?", "a/w"], ["a/w", "b/x"]),
    ]:
        assert [v.name for v in selection.select(variables, patterns)] == wanted
    with pytest.raises(errors.NotFoundError, match="Nearest: a/w"):
        selection.select(variables, ["a/v"])


def test_a_tree_adds_up() -> None:
    deep = "/".join("d" * 3000)
    top = listing.tree([variable(n) for n in ("a/b/c", "a/b/d", "a/e", "f", deep, deep + "/x")])
    assert (top.variable_count, top.size) == (6, 24)
    a = top.children[0]
    assert (a.name, a.variable_count, [child.name for child in a.children]) == (
        "a",
        3,
        ["a/b", "a/e"],
    )


def test_a_directory_is_safe_as_its_file_system_is(tmp_path: Path) -> None:
    found = diagnosis.diagnose((str(tmp_path), "gs://bucket"))
    local, remote = found.directories
    assert found.is_well
    assert local.is_writable
    assert local.free_bytes > 0
    assert local.kind == "one machine" if local.file_system in ("tmpfs", "ext2/ext3/ext4") else True
    assert (remote.kind, remote.free_bytes) == ("remote", -1)
    with pytest.raises(errors.NotFoundError):
        diagnosis.diagnose((str(tmp_path / "none"),))


def test_listings_are_sorted(stock: Path) -> None:
    path = str(stock / "pairs/a")

    def names(sort: str, *, reverse: bool = False) -> list[str]:
        return [
            v.name
            for v in listing.list_checkpoint(path, ["s*", "x"], sort, reverse=reverse).variables
        ]

    assert names("name") == ["same", "scalar", "shape", "x"]
    assert names("size", reverse=True)[0] == "scalar"
    assert names("shape")[0] == "scalar"
    everything: Any = listing.list_checkpoint(path)
    assert everything.variable_count == len(everything.variables) == 9
