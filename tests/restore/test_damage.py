"""Damaged, truncated and lying checkpoints, and those that do not fit: an error each, and no variable changed."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support import layouts

tf1 = tf.compat.v1

INDEX, DATA = ".index", ".data-00000-of-00001"

# Of each file. `make torture` tries many more.
IS_FULL = os.environ.get("AUTODIST_TORTURE") == "full"
FLIPS, TRUNCATIONS, RUNS = (5000, 500, 1000) if IS_FULL else (120, 40, 15)


class Checkpoint:
    """A checkpoint of several kinds of entries, and a session whose variables take it in other layouts."""

    def __init__(self, directory: Path, verify: str = "before") -> None:
        self.values = {
            "rows": layouts.random_values(tf.float32, (8, 5), 1),
            "whole": layouts.random_values(tf.float16, (4, 9), 2),
            "number": layouts.random_values(tf.int64, (), 3),
            "texts": layouts.random_values(tf.string, (6,), 4),
        }
        stored = {
            "rows": [[0, 3, 8], [0, 5]],
            "whole": layouts.whole([4, 9]),
            "number": [],
            "texts": layouts.whole([6]),
        }
        self.wanted: dict[str, layouts.Cuts] = {
            "rows": [[0, 8], [0, 2, 5]],
            "whole": [[0, 2, 4], [0, 9]],
            "number": [],
            "texts": [[0, 4, 6]],
        }
        self.prefix = layouts.WRITERS["our slices"](str(directory / "m"), self.values, stored)
        self.files = {suffix: Path(self.prefix + suffix) for suffix in (INDEX, DATA)}
        self.bytes = {suffix: path.read_bytes() for suffix, path in self.files.items()}
        self.variables = {
            name: layouts.make_variables(name, layouts.blank(value), self.wanted[name])
            for name, value in self.values.items()
        }
        self.saver = Saver(verify=verify)
        self.initialize = tf1.global_variables_initializer()

    def set_bytes(self, suffix: str, content: bytes) -> None:
        # In place: a file that is replaced would be another one.
        self.files[suffix].write_bytes(content)

    def mend(self) -> None:
        for suffix, content in self.bytes.items():
            self.files[suffix].write_bytes(content)

    def restore_damaged(self, session: Any, suffix: str, content: bytearray) -> Any:
        """Damages a file and restores; returns the error, which must name the file.

        None if the restore did not fail: then all values must be right, and are made blank again.
        """
        self.set_bytes(suffix, bytes(content))
        error = None
        try:
            self.saver.restore(session, self.prefix)
        except tf.errors.OpError as raised:
            error = raised
        if error is None:
            self.expect(session, restored=True)
            session.run(self.initialize)
        else:
            assert str(self.files[suffix]) in str(error)
        self.expect(session, restored=False)
        return error

    def expect(self, session: Any, restored: bool) -> None:
        for name, parts in session.run(self.variables).items():
            value = self.values[name] if restored else layouts.blank(self.values[name])
            for part, expected in zip(
                parts, layouts.boxes_of(value, self.wanted[name]), strict=True
            ):
                layouts.assert_same(part, expected)


@pytest.fixture(params=["before", "swap"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path, verify=request.param)


@pytest.fixture
def session(checkpoint: Checkpoint) -> Iterator[Any]:
    with tf1.Session() as session:
        session.run(checkpoint.initialize)
        yield session


@pytest.mark.parametrize("suffix", [INDEX, DATA])
def test_a_flipped_bit_is_found_before_anything_changes(
    checkpoint: Checkpoint, session: Any, suffix: str
) -> None:
    content = checkpoint.bytes[suffix]
    generator = np.random.default_rng(5)
    for at in generator.integers(len(content), size=FLIPS):
        damaged = bytearray(content)
        damaged[at] ^= 1 << generator.integers(8)
        error = checkpoint.restore_damaged(session, suffix, damaged)
        if error is None:
            # The index has padding, and a meta index that nobody reads.
            assert suffix == INDEX
            continue
        assert isinstance(error, tf.errors.DataLossError)
        if suffix == DATA:
            named = re.search(r"tensor '(\w+)'.*bytes \[(\d+), (\d+)\)", str(error))
            assert named is not None, error
            assert named[1] in checkpoint.values
            assert int(named[2]) <= at < int(named[3])
    checkpoint.mend()
    checkpoint.saver.restore(session, checkpoint.prefix)
    checkpoint.expect(session, restored=True)


@pytest.mark.parametrize("suffix", [INDEX, DATA])
def test_a_file_that_ends_early_is_refused(
    checkpoint: Checkpoint, session: Any, suffix: str
) -> None:
    content = checkpoint.bytes[suffix]
    for size in [0, 1, *range(3, len(content), 1 + len(content) // TRUNCATIONS), len(content) - 1]:
        checkpoint.set_bytes(suffix, content[:size])
        with pytest.raises(tf.errors.DataLossError, match=re.escape(str(checkpoint.files[suffix]))):
            checkpoint.saver.restore(session, checkpoint.prefix)
        checkpoint.expect(session, restored=False)


def swap(content: bytearray, a: slice, b: slice) -> None:
    content[a], content[b] = content[b], content[a]


def overwrite(byte: int) -> Callable:
    def damage(content: bytearray, a: slice, _: slice) -> None:
        content[a] = bytes([byte]) * (a.stop - a.start)

    return damage


def repeat(content: bytearray, a: slice, b: slice) -> None:
    content[b] = content[a]


def cut_out(content: bytearray, a: slice, _: slice) -> None:
    del content[a]


def double(content: bytearray, a: slice, _: slice) -> None:
    content[a.start : a.start] = content[a]


def reverse(content: bytearray, a: slice, _: slice) -> None:
    content[a] = content[a][::-1]


@pytest.mark.parametrize("suffix", [INDEX, DATA])
@pytest.mark.parametrize(
    "damage",
    [swap, overwrite(0), overwrite(255), repeat, cut_out, double, reverse],
    ids=["swapped", "zeros", "ones", "repeated", "cut out", "doubled", "reversed"],
)
def test_runs_of_damaged_bytes_change_nothing(
    checkpoint: Checkpoint, session: Any, suffix: str, damage: Callable
) -> None:
    content = checkpoint.bytes[suffix]
    generator = np.random.default_rng(6)
    for _ in range(RUNS):
        size = int(generator.integers(1, 40))
        first, second = sorted(
            int(at) for at in generator.integers(len(content) - 2 * size, size=2)
        )
        damaged = bytearray(content)
        damage(damaged, slice(first, first + size), slice(second + size, second + 2 * size))
        # Where it fails to raise, what was damaged was not read, or has become what it was.
        checkpoint.restore_damaged(session, suffix, damaged)


def test_a_missing_data_file_is_named(checkpoint: Checkpoint, session: Any) -> None:
    checkpoint.files[DATA].unlink()
    with pytest.raises(tf.errors.NotFoundError, match=re.escape(str(checkpoint.files[DATA]))):
        checkpoint.saver.restore(session, checkpoint.prefix)
    checkpoint.expect(session, restored=False)


def test_a_data_file_that_is_a_directory_is_an_error(checkpoint: Checkpoint, session: Any) -> None:
    checkpoint.files[DATA].unlink()
    checkpoint.files[DATA].mkdir()
    with pytest.raises(tf.errors.OpError):
        checkpoint.saver.restore(session, checkpoint.prefix)
    checkpoint.expect(session, restored=False)


def test_during_leaves_what_is_damaged_uninitialized(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, verify="during")
    content = bytearray(checkpoint.bytes[DATA])
    content[-1] ^= 1
    with tf1.Session() as session:
        for at in range(0, len(content), 7):
            session.run(checkpoint.initialize)
            content = bytearray(checkpoint.bytes[DATA])
            content[at] ^= 1
            checkpoint.set_bytes(DATA, bytes(content))
            with pytest.raises(tf.errors.DataLossError):
                checkpoint.saver.restore(session, checkpoint.prefix)
            for name, parts in checkpoint.variables.items():
                value = checkpoint.values[name]
                for index, part in enumerate(parts):
                    try:
                        read = session.run(part)
                    except tf.errors.FailedPreconditionError:
                        continue
                    allowed = [
                        layouts.boxes_of(v, checkpoint.wanted[name])[index].tolist()
                        for v in (value, layouts.blank(value))
                    ]
                    assert read.tolist() in allowed
        checkpoint.mend()
        checkpoint.saver.restore(session, checkpoint.prefix)
        checkpoint.expect(session, restored=True)


def raised_by(saver: Any, session: Any, prefix: str) -> BaseException:
    with pytest.raises(tf.errors.OpError) as raised:
        saver.restore(session, prefix)
    return raised.value


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize(
    "wanted",
    [
        {"none": np.zeros([2], np.float32), "nothing": np.zeros([2], np.float32)},
        {"v": np.zeros([4, 3], np.int32)},
        {"v": np.zeros([4, 4], np.float32)},
    ],
    ids=["missing", "dtype", "slice"],
)
def test_what_does_not_fit_is_told_as_stock_tells_it(
    wanted: dict[str, Any], use_resource: bool, tmp_path: Path
) -> None:
    value = np.ones([4, 3], np.float32)
    prefix = layouts.WRITERS["stock"](str(tmp_path / "m"), {"v": value}, {"v": [[0, 2, 4], [0, 3]]})
    for name, array in wanted.items():
        rows = [0, 3, len(array)] if array.ndim == 2 else [0, 1, 2]
        layouts.make_variables(
            name, array, [rows, *layouts.whole(array.shape[1:])], use_resource=use_resource
        )
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        stock = raised_by(tf1.train.Saver(), session, prefix)
        ours = raised_by(Saver(), session, prefix)
        assert type(ours) is type(stock)
        for name in wanted:
            assert name in str(ours)
        for array in session.run(tf1.global_variables()):
            assert not np.any(array)


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
def test_another_shape_is_refused(use_resource: bool, tmp_path: Path) -> None:
    prefix = layouts.WRITERS["stock"](
        str(tmp_path / "m"), {"v": np.ones([4], np.float32)}, {"v": layouts.whole([4])}
    )
    layouts.make_variables("v", np.zeros([5], np.float32), [[0, 5]], use_resource=use_resource)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        error = raised_by(Saver(), session, prefix)
        assert isinstance(error, tf.errors.InvalidArgumentError)
        assert "Assign requires shapes of both tensors to match" in str(error)
        assert not np.any(session.run(tf1.global_variables()))


def test_no_checkpoint_at_all_is_told_as_stock_tells_it(tmp_path: Path) -> None:
    layouts.make_variables("v", np.zeros([5], np.float32), [[0, 5]])
    with tf1.Session() as session:
        for saver in (Saver(), tf1.train.Saver()):
            with pytest.raises(ValueError, match="not a valid checkpoint"):
                saver.restore(session, str(tmp_path / "none"))


def test_a_data_file_of_another_checkpoint_is_refused(
    checkpoint: Checkpoint, session: Any, tmp_path: Path
) -> None:
    others = {name: layouts.blank(value) for name, value in checkpoint.values.items()}
    stored = {name: layouts.whole(np.shape(value)) for name, value in others.items()}
    other = layouts.WRITERS["ours"](str(tmp_path / "other"), others, stored)
    shutil.copy(other + DATA, checkpoint.files[DATA])
    with pytest.raises(tf.errors.DataLossError):
        checkpoint.saver.restore(session, checkpoint.prefix)
    checkpoint.expect(session, restored=False)
