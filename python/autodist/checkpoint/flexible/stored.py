"""What a checkpoint has: shapes and dtypes by name, from its index."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from autodist import _native, errors
from autodist.checkpoint.files import bundle


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint.

    Attributes:
        shape: Its shape; of one that is stored in slices, that of all.
        dtype: Its `tf.DType`.
    """

    shape: tuple[int, ...]
    dtype: tf.DType


def read(prefix: str) -> dict[str, StoredTensor]:
    """Returns the tensors of a checkpoint by name.

    Args:
        prefix: The checkpoint's prefix.

    Raises:
        ArgumentError: There is no checkpoint under the prefix.
        tf.errors.DataLossError: Its index is damaged.
    """
    if not bundle.exists(prefix):
        return _read_v1(prefix)
    try:
        entries = _native.bundle().list_entries(prefix)
    except FileNotFoundError as error:
        raise tf.errors.NotFoundError(None, None, str(error)) from error
    except _native.bundle().DataLossError as error:
        raise tf.errors.DataLossError(None, None, str(error)) from error
    return {
        entry.name: StoredTensor(tuple(entry.shape), tf.as_dtype(entry.dtype))
        for entry in entries
        if not entry.slice
    }


def _read_v1(prefix: str) -> dict[str, StoredTensor]:
    try:
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    except tf.errors.NotFoundError as error:
        raise errors.ArgumentError(
            f"The passed save_path is not a valid checkpoint: {prefix}"
        ) from error
    dtypes = reader.get_variable_to_dtype_map()
    return {
        name: StoredTensor(tuple(shape), dtypes[name])
        for name, shape in reader.get_variable_to_shape_map().items()
    }
