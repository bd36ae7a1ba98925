"""TensorFlow's dtypes: their numbers in files, their names, and NumPy's dtypes of them."""

from __future__ import annotations

import functools
from typing import Any

from autodist.workbench import errors
from autodist.workbench.reading import tables

_MOST = 64
# Those that NumPy has no name for: quantised ones are their integers.
_STORED_AS = {
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "qint16": "int16",
    "quint16": "uint16",
}
_OF_ML_DTYPES = (
    "bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz",
    "float8_e5m2fnuz", "int4", "uint4", "int2", "uint2", "float4_e2m1fn",
)  # fmt: skip
# Dtypes whose elements vary in size.
VARYING = ("string", "variant")


@functools.cache
def names() -> tuple[str, ...]:
    """The name of each dtype at its number; those without one are 'unknown'."""
    return tuple(tables.module().dtype_info(number)[0] for number in range(_MOST))


def name_of(number: int) -> str:
    """Returns the name of a dtype, as `tf.as_dtype` takes it.

    Args:
        number: In `types.proto`. References to variables (`DT_FLOAT_REF`) count as their dtype.
    """
    number = number - 100 if number > 100 else number
    return names()[number] if 0 <= number < _MOST else "unknown"


@functools.cache
def number_of(name: str) -> int:
    """Returns the number of a dtype; 0 for a name that is none."""
    return names().index(name) if name in names() else 0


@functools.cache
def element_bytes(name: str) -> int:
    """Returns the bytes of an element in files; 0 where elements vary in size."""
    return int(tables.module().dtype_info(number_of(name))[1])


@functools.cache
def numpy_dtype(name: str) -> Any:
    """Returns NumPy's dtype for one with elements of one size.

    Raises:
        UnsupportedError: There is none.
    """
    import numpy as np

    if name in _OF_ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError as error:
            raise errors.MissingPackageError(
                f"values of {name} need ml_dtypes. Run: pip install ml_dtypes"
            ) from error
        if not hasattr(ml_dtypes, name):
            raise errors.UnsupportedError(f"ml_dtypes {ml_dtypes.__version__} has no {name}")
        return np.dtype(getattr(ml_dtypes, name))
    if not element_bytes(name):
        raise errors.UnsupportedError(f"values of {name} cannot be shown")
    return np.dtype(_STORED_AS.get(name, name))
