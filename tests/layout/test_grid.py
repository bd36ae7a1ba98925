"""Grids tile their variable, whatever the cuts."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from autodist.layout import Box, Grid, even_sizes

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)
GRIDS = st.lists(SIZES, max_size=4).map(lambda sizes: Grid(tuple(sizes)))


def slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))


@hypothesis.given(GRIDS)
def test_the_boxes_cover_every_element_once(grid: Grid) -> None:
    covered = np.zeros(grid.shape, int)
    for box in grid.boxes():
        covered[slices(box)] += 1
    assert (covered == 1).all()


@hypothesis.given(GRIDS)
def test_there_is_a_box_per_shard_in_row_major_order(grid: Grid) -> None:
    boxes = grid.boxes()
    places = [grid.place(shard) for shard in range(grid.shard_count)]

    assert len(boxes) == grid.shard_count
    assert places == list(np.ndindex(*grid.counts))
    for place, box in zip(places, boxes, strict=True):
        assert box.start == tuple(grid.starts(axis)[i] for axis, i in enumerate(place))
        assert box.extent == tuple(grid.sizes[axis][i] for axis, i in enumerate(place))


@hypothesis.given(GRIDS)
def test_every_box_survives_its_slice_text(grid: Grid) -> None:
    hypothesis.assume(grid.sizes)
    for box in grid.boxes():
        assert Box.parse(box.slice_spec(grid.shape)) == (grid.shape, box)


@hypothesis.given(st.lists(st.integers(0, 9), max_size=4).map(tuple))
def test_a_whole_grid_is_one_box_of_the_whole_shape(shape: tuple[int, ...]) -> None:
    grid = Grid.whole(shape)
    assert grid.is_whole
    assert grid.cut_axes == ()
    assert grid.boxes() == (Box((0,) * len(shape), shape),)


@hypothesis.given(
    st.lists(st.integers(0, 20), min_size=1, max_size=4).map(tuple), st.data(), st.integers(1, 25)
)
def test_a_grid_along_an_axis_cuts_that_axis_only(
    shape: tuple[int, ...], data: st.DataObject, count: int
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    grid = Grid.along(shape, axis, count)

    assert grid.shape == shape
    assert grid.counts[axis] == grid.shard_count == count
    assert grid.cut_axes == ((axis,) if count > 1 else ())


@hypothesis.given(st.integers(0, 1000), st.integers(1, 50))
def test_even_sizes_differ_by_at_most_one_and_large_ones_come_first(dim: int, count: int) -> None:
    sizes = even_sizes(dim, count)
    assert sum(sizes) == dim
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert list(sizes) == sorted(sizes, reverse=True)


def test_the_shards_of_an_uneven_grid_are_those_of_its_documentation() -> None:
    assert Grid(((7, 3), (2, 2))).boxes() == (
        Box((0, 0), (7, 2)),
        Box((0, 2), (7, 2)),
        Box((7, 0), (3, 2)),
        Box((7, 2), (3, 2)),
    )


@pytest.mark.parametrize("sizes", [((),), ((2, -1),), ((3,), ())])
def test_ranges_of_less_than_nothing_are_refused(sizes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"axis \d must be cut into ranges of 0 or more"):
        Grid(sizes)


def test_a_dimension_is_cut_into_at_least_one_range() -> None:
    with pytest.raises(ValueError, match="at least 1 range, not 0"):
        even_sizes(3, 0)
