"""Checks a checkpoint: its bytes beside stock TensorFlow's, and its values."""

from __future__ import annotations

import filecmp
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

PREFIX = "model"
DATA = f"{PREFIX}.data-00000-of-00001"
INDEX = f"{PREFIX}.index"


def check_bytes(directory: Path, reference: Path) -> None:
    """Data and index equal those of another checkpoint, byte by byte.

    Args:
        directory: What was written.
        reference: The directory of the other checkpoint.

    Raises:
        AssertionError: They differ.
    """
    for name in (DATA, INDEX):
        if not filecmp.cmp(directory / name, reference / name, shallow=False):
            raise AssertionError(f"{name} differs from stock TensorFlow's single-node save")


def check_data(directory: Path, reference: Path) -> None:
    """As `check_bytes`, for what writes no index."""
    if not filecmp.cmp(directory / DATA, reference / DATA, shallow=False):
        raise AssertionError(f"{DATA} differs from the bytes that were to be written")


def check_values(directory: Path, expected: Mapping[str, np.ndarray]) -> None:
    """Checks that stock TensorFlow reads exactly the expected variables, bit for bit.

    Args:
        directory: What was written.
        expected: The values by the variable's name in the checkpoint.

    Raises:
        AssertionError: They have others.
    """
    reader = tf.train.load_checkpoint(str(directory / PREFIX))
    names = set(reader.get_variable_to_shape_map())
    if names != set(expected):
        raise AssertionError(f"other variables than expected: {sorted(names ^ set(expected))}")
    for name, values in expected.items():
        check_same(name, reader.get_tensor(name), values)


def check_same(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    """An array equals another in dtype, shape and every bit.

    Raises:
        AssertionError: It does not.
    """
    if found.dtype != expected.dtype or found.shape != expected.shape:
        raise AssertionError(f"{name}: found {found.dtype} of shape {found.shape}")
    # Bytes, for a NaN does not equal itself.
    if not np.array_equal(_bytes_of(found), _bytes_of(expected)):
        raise AssertionError(f"{name}: values differ from those of the variable")


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
