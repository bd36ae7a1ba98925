"""Whether a checkpoint holds what it should: its bytes beside stock TensorFlow's, and its values."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import numpy as np

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


def check_values(directory: Path, name: str, expected: np.ndarray) -> None:
    """A variable, as stock TensorFlow reads it, has the expected values bit for bit.

    Args:
        directory: What was written.
        name: The variable's name in the checkpoint.
        expected: Its values.

    Raises:
        AssertionError: It has others.
    """
    found = tf.train.load_variable(str(directory / PREFIX), name)
    if found.dtype != expected.dtype or found.shape != expected.shape:
        raise AssertionError(f"{name}: read {found.dtype} of shape {found.shape}")
    if found.tobytes() != expected.tobytes():
        raise AssertionError(f"{name}: values differ from those of the variable")
