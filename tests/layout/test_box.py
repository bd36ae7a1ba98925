"""A box as TensorFlow's `shape_and_slice` text, and back."""

import hypothesis
import hypothesis.strategies as st
import pytest

from autodist.layout import Box

COORDINATES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=4
)


@hypothesis.given(COORDINATES)
def test_the_slice_text_of_a_box_parses_to_the_box(rows: list[tuple[int, int, int]]) -> None:
    start, extent, rest = zip(*rows, strict=True)
    shape = tuple(sum(row) for row in rows)
    box = Box(tuple(start), tuple(extent))

    assert Box.parse(box.slice_spec(shape)) == (shape, box)
    assert len(rest) == len(shape)


def test_the_slice_text_has_tensorflows_form() -> None:
    assert Box((2, 0), (2, 3)).slice_spec((4, 3)) == "4 3 2,2:0,3"


def test_a_dash_stands_for_a_whole_dimension() -> None:
    assert Box.parse("4 3 1,2:-") == ((4, 3), Box((1, 0), (2, 3)))


@pytest.mark.parametrize("text", ["4 3 1,2", "4 1,2:0,3", "4 3 1:0,3", "a b 1,2:0,3"])
def test_a_slice_text_that_does_not_fit_its_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Box.parse(text)


@hypothesis.given(COORDINATES)
def test_a_shifted_box_keeps_its_extent(rows: list[tuple[int, int, int]]) -> None:
    start, extent, offset = (tuple(column) for column in zip(*rows, strict=True))
    moved = Box(start, extent).shifted(offset)

    assert moved.extent == extent
    assert moved.start == tuple(s + o for s, o in zip(start, offset, strict=True))
    assert moved.element_count == Box(start, extent).element_count


def test_a_scalars_box_holds_one_element() -> None:
    assert Box((), ()).element_count == 1


def test_a_box_needs_a_start_and_an_extent_per_dimension() -> None:
    with pytest.raises(ValueError, match=r"start \(1, 2\) and extent \(3,\)"):
        Box((1, 2), (3,))
