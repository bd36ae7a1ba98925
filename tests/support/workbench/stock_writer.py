"""Stock TensorFlow writes the checkpoint that the workbench should have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

# A name, `shape_and_slice` as SaveV2 takes it, and a value.
Entry = tuple[str, str, object]


def save(prefix: str | Path, entries: Sequence[Entry]) -> str:
    """Writes entries with SaveV2; returns the prefix."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[name for name, _, _ in entries],
        shape_and_slices=[place for _, place, _ in entries],
        tensors=[tf.convert_to_tensor(value) for _, _, value in entries],
    )
    return str(prefix)


def save_sharded(prefix: str | Path, parts: Sequence[Sequence[Entry]]) -> str:
    """Writes each part and merges them, as a sharded `Saver` does; returns the prefix."""
    written = [
        save(f"{prefix}_temp/part-{number:05d}-of-{len(parts):05d}", part)
        for number, part in enumerate(parts)
    ]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=written, destination_prefix=str(prefix))
    return str(prefix)


def whole(name: str, value: object) -> Entry:
    return (name, "", value)


def slices(name: str, value: np.ndarray, axis: int, lengths: Sequence[int]) -> list[Entry]:
    """The slices of a value along an axis, spelled as TensorFlow's partitioned variables do."""
    entries = []
    start = 0
    for length in lengths:
        starts = [0] * value.ndim
        extents = list(value.shape)
        starts[axis], extents[axis] = start, length
        place = ":".join(f"{first},{size}" for first, size in zip(starts, extents, strict=True))
        part = np.take(value, range(start, start + length), axis)
        entries.append((name, f"{' '.join(map(str, value.shape))} {place}", part))
        start += length
    return entries


def files_of(prefix: str | Path) -> dict[str, bytes]:
    """The bytes of all files of a checkpoint, by what follows its prefix."""
    path = Path(prefix)
    return {
        other.name[len(path.name) :]: other.read_bytes()
        for other in path.parent.iterdir()
        if other.name.startswith(path.name + ".")
    }


def assert_same_files(ours: str | Path, stock: str | Path) -> None:
    """Asserts that two checkpoints have the same files with the same bytes."""
    found, expected = files_of(ours), files_of(stock)
    assert sorted(found) == sorted(expected)
    for suffix, contents in expected.items():
        assert found[suffix] == contents, f"{suffix} differs"
