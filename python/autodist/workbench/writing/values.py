"""Values that are computed from stored tensors, block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.writing.stored import Box, StoredTensor

if TYPE_CHECKING:
    import numpy as np


FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e5m2", "float8_e4m3fn")
"""The float dtypes that tf.cast makes of each other (TensorFlow 2.21)."""


class Values(Protocol):
    """The values of a tensor that is to be written."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def sources(self) -> Sequence[StoredTensor]:
        """The tensors that they are made of, whose bytes are checked first."""

    def read(self, box: Box, begin: int, end: int) -> np.ndarray[Any, Any]:
        """The elements [begin, end) of a box in row-major order, of the NumPy dtype of `dtype`."""


def read_elements(tensor: StoredTensor, box: Box, begin: int, end: int) -> np.ndarray[Any, Any]:
    """The elements [begin, end) of a box of a stored tensor, counted in row-major order."""
    import numpy as np

    array = np.empty(end - begin, dtypes.numpy_dtype(tensor.dtype))
    if end > begin:
        with named(tensor):
            tables.module().read_box(
                stored_boxes(tensor),
                box.start,
                box.extent,
                array.itemsize,
                begin,
                end,
                array.view(np.uint8).data,
            )
    return array


@contextlib.contextmanager
def named(tensor: StoredTensor) -> Iterator[None]:
    """Turns what `_tables` says of the pieces of a tensor into an error that names it."""
    try:
        yield
    except (tables.module().DamagedError, tables.module().UnsupportedError) as error:
        raise errors.DamagedError(
            f"tensor {printable(tensor.name)!r} cannot be read: {error}. --drop leaves it out"
        ) from error


def stored_boxes(tensor: StoredTensor) -> list[tuple[Any, ...]]:
    """The pieces of a tensor as `_tables` takes them."""
    return [
        (tuple(piece.file), piece.offset, piece.box.start, piece.box.extent)
        for piece in tensor.pieces
    ]


class CastValues:
    """A tensor of floats in another float dtype; see `cast`."""

    def __init__(self, tensor: StoredTensor, dtype: str) -> None:
        self._tensor = tensor
        self.dtype = dtype
        self.shape = tensor.shape

    @property
    def sources(self) -> Sequence[StoredTensor]:
        """As `Values` has them."""
        return (self._tensor,)

    def read(self, box: Box, begin: int, end: int) -> np.ndarray[Any, Any]:
        """As `Values` reads."""
        return cast(read_elements(self._tensor, box, begin, end), self.dtype)


def cast(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Converts floats as tf.cast does on a CPU (TensorFlow 2.21).

    Eigen makes a type of 16 or 8 bits from float32: of a float64, the nearest float32 is rounded
    again. Unlike TensorFlow's threads, this keeps denormal numbers. A NaN stays one, but its sign
    may differ.
    """
    import numpy as np

    target = dtypes.numpy_dtype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.itemsize == 8 and target.itemsize < 4:
            values = values.astype(np.float32)
        return values.astype(target)


class AverageValues:
    """The weighted mean of one tensor in several checkpoints.

    The sum is taken in float64 (complex128), in the order of the checkpoints, divided by the sum of
    the weights, and rounded once to the tensor's dtype.
    """

    def __init__(self, tensors: Sequence[StoredTensor], weights: Sequence[float]) -> None:
        self._tensors = tensors
        self._weights = weights
        self.dtype = tensors[0].dtype
        self.shape = tensors[0].shape

    @property
    def sources(self) -> Sequence[StoredTensor]:
        """As `Values` has them."""
        return self._tensors

    def read(self, box: Box, begin: int, end: int) -> np.ndarray[Any, Any]:
        """As `Values` reads."""
        import numpy as np

        target = dtypes.numpy_dtype(self.dtype)
        wide = np.complex128 if target.kind == "c" else np.float64
        total = np.zeros(end - begin, wide)
        with np.errstate(over="ignore", invalid="ignore"):
            for tensor, weight in zip(self._tensors, self._weights, strict=True):
                total += read_elements(tensor, box, begin, end).astype(wide) * weight
            total /= sum(self._weights)
            too_large = ~np.isfinite(total)
            if too_large.any():
                # The sum of large numbers may be infinite, and their mean is not.
                total[too_large] = self._sum_of_shares(box, begin, end, wide)[too_large]
            return total.astype(target)

    def _sum_of_shares(self, box: Box, begin: int, end: int, wide: type) -> Any:
        most = max(self._weights)
        weights = [weight / most for weight in self._weights]
        shares = [weight / sum(weights) for weight in weights]
        return sum(
            read_elements(tensor, box, begin, end).astype(wide) * share
            for tensor, share in zip(self._tensors, shares, strict=True)
        )
