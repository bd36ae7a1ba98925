"""Any stored layout into any wanted one, in plan only: a dict is the storage, NumPy the judge."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from autodist.layout import Box, Grid
from autodist.planning import StoredVariable, WantedVariable, plan_restore

DEVICES = 3
# Every size of an element that a checkpoint can have.
DTYPES = [np.int8, np.float16, np.float32, np.float64, np.complex128]


def part_of(box: Box) -> tuple[slice, ...]:
    return tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))


@st.composite
def tilings(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Box]:
    """Boxes found by cutting, one after another, along any axis: grids and what no grid is."""
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 5)) if shape else 0):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, box.extent[axis]))
        first, second = list(box.extent), list(box.extent)
        first[axis], second[axis] = at, box.extent[axis] - at
        start = list(box.start)
        start[axis] += at
        boxes += [Box(box.start, tuple(first)), Box(tuple(start), tuple(second))]
    return draw(st.permutations(boxes))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[Box], list[int], list[Box]]:
    """A value, the boxes it is stored in and the file of each, and those that are wanted, some more than once."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 7]), max_size=4)))
    count = int(np.prod(shape))
    dtype = draw(st.sampled_from(DTYPES))
    value = np.frombuffer(
        np.random.default_rng(draw(st.integers(0, 99))).bytes(count * np.dtype(dtype).itemsize),
        dtype,
    ).reshape(shape)
    stored = draw(tilings(shape))
    files = draw(st.lists(st.integers(0, 2), min_size=len(stored), max_size=len(stored)))
    wanted = draw(tilings(shape))
    wanted += draw(st.lists(st.sampled_from(wanted), max_size=3))
    wanted = draw(st.lists(st.sampled_from(wanted), min_size=1)) if draw(st.booleans()) else wanted
    return value, stored, files, wanted


class Storage:
    """Data files in memory, and what was read of them."""

    def __init__(self) -> None:
        self.files = {number: bytearray(b"gap") for number in range(3)}

    def store(self, name: str, value: Any, boxes: list[Box], files: list[int]) -> StoredVariable:
        offsets = []
        for box, number in zip(boxes, files, strict=True):
            offsets.append(len(self.files[number]))
            self.files[number] += value[part_of(box)].tobytes()
        return StoredVariable.of_boxes(name, value.itemsize, value.shape, boxes, offsets, files)


def carry_out(plan: Any, storage: Storage, sizes: dict[tuple[int, int], int]) -> dict:
    """Copies the runs of a plan. Returns each target's bytes; every one must have been written once."""
    memory = {place: bytearray(size) for place, size in sizes.items()}
    written = {place: np.zeros(size, int) for place, size in sizes.items()}
    for number in range(len(plan)):
        place = (int(plan.variable[number]), int(plan.target[number]))
        runs = plan.runs(number)
        assert runs[0, 0] == plan.begin[number]
        assert runs[-1, 0] + runs[-1, 2] == plan.end[number]
        assert runs[:, 2].sum() == plan.size_bytes[number]
        for file_begin, begin, size in runs.tolist():
            content = storage.files[int(plan.file[number])][file_begin : file_begin + size]
            assert len(content) == size
            memory[place][begin : begin + size] = content
            written[place][begin : begin + size] += 1
    assert all((count == 1).all() for count in written.values())
    return memory


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.lists(cases(), min_size=1, max_size=3))
def test_any_layout_is_restored_from_any_other(drawn: list[Any]) -> None:
    storage = Storage()
    stored = [
        storage.store(f"v{number}", value, boxes, files)
        for number, (value, boxes, files, _) in enumerate(drawn)
    ]
    wanted = [
        WantedVariable.of_boxes(
            f"v{number}", value.shape, boxes, [i % DEVICES for i in range(len(boxes))]
        )
        for number, (value, _, _, boxes) in enumerate(drawn)
    ]
    plan = plan_restore(stored[::-1], wanted)
    expected = {
        (number, target): value[part_of(box)].tobytes()
        for number, (value, _, _, boxes) in enumerate(drawn)
        for target, box in enumerate(boxes)
    }
    memory = carry_out(plan, storage, {place: len(part) for place, part in expected.items()})
    assert memory == expected
    check_reads(plan, storage)


def check_reads(plan: Any, storage: Storage) -> None:
    """What a device reads are the bytes its targets get, each once, and no other."""
    for devices in [None, *[[device] for device in range(DEVICES)], [0, 2]]:
        wanted = {number: np.zeros(len(content), bool) for number, content in storage.files.items()}
        for number in range(len(plan)):
            if devices is None or plan.device[number] in devices:
                for begin, _, size in plan.runs(number).tolist():
                    wanted[int(plan.file[number])][begin : begin + size] = True
        read = {number: np.zeros(len(content), int) for number, content in storage.files.items()}
        for file, begin, end in plan.reads(devices).tolist():
            read[file][begin:end] += 1
        for number, counts in read.items():
            np.testing.assert_array_equal(counts, wanted[number])


def stored_in(boxes: list[Box], shape: tuple[int, ...] = (4, 3)) -> StoredVariable:
    return StoredVariable.of_boxes("v", 4, shape, boxes, [0] * len(boxes))


def wanted_in(boxes: list[Box], shape: tuple[int, ...] = (4, 3), name: str = "v") -> WantedVariable:
    return WantedVariable.of_boxes(name, shape, boxes, [0] * len(boxes))


WHOLE = [Box((0, 0), (4, 3))]


@pytest.mark.parametrize(
    ("stored", "wanted", "message"),
    [
        (
            stored_in([Box((0, 0), (2, 3)), Box((1, 0), (3, 3))]),
            wanted_in(WHOLE),
            r"variable 'v': stored shards .* overlap in \[1, 2\) x \[0, 3\)",
        ),
        (
            stored_in([Box((0, 0), (2, 3))]),
            wanted_in(WHOLE),
            r"variable 'v': within the slice \[0, 4\) x \[0, 3\), stored shards cover rows \[0, 2\) of 4",
        ),
        (
            stored_in(WHOLE),
            wanted_in([Box((2, 0), (3, 3))]),
            "variable 'v': wanted: .* does not fit",
        ),
        (
            stored_in([Box((2, 0), (3, 3))]),
            wanted_in(WHOLE),
            "variable 'v': stored .* does not fit",
        ),
        (
            stored_in(WHOLE),
            wanted_in([Box((0, 0), (3, 4))], (3, 4)),
            r"variable 'v' has the shape \[4, 3\], wanted \[3, 4\]",
        ),
        (stored_in(WHOLE), wanted_in(WHOLE, name="w"), "variable 'w' is not stored"),
    ],
    ids=["overlap", "hole", "wanted outside", "stored outside", "shape", "name"],
)
def test_what_cannot_be_restored_is_refused(
    stored: StoredVariable, wanted: WantedVariable, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_restore([stored], [wanted])


def test_all_that_is_not_stored_is_named() -> None:
    with pytest.raises(ValueError, match="'a' is not stored\nvariable 'b' is not stored"):
        plan_restore([], [wanted_in(WHOLE, name="a"), wanted_in(WHOLE, name="b")])


def test_nothing_is_planned_for_nothing() -> None:
    plan = plan_restore([stored_in(WHOLE)], [])
    assert len(plan) == 0
    assert plan.reads().shape == (0, 3)


def test_a_whole_tensor_is_read_once_by_a_machine_of_many_shards() -> None:
    shape = (1000, 64)
    stored = StoredVariable.of_boxes("v", 4, shape, Grid.whole(shape).boxes(), [4096])
    columns = Grid.along(shape, 1, 32)
    wanted = WantedVariable.of_boxes("v", shape, columns.boxes(), range(32))
    plan = plan_restore([stored], [wanted])
    assert plan.reads().tolist() == [[0, 4096, 4096 + 256_000]]
    assert len(plan.reads([5])) == 1000
    assert (plan.size_bytes == 8000).all()
