"""What programs are fed: placeholders, and the numbers of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from support.programs.parts import f64, tf1

ROWS = (5, 7, 4, 1)
"""The sizes of the batches: none is a multiple of both 2 and 3. The last is not trained on, only fetched."""


def draw(step: int, salt: int = 0) -> np.random.RandomState:
    """The numbers of a step."""
    return np.random.RandomState(1000 * salt + step)


def fed(shape: Sequence[int | None], dtype: Any = f64, name: str | None = None) -> Any:
    """A placeholder; `None` in the first place is the batch."""
    return tf1.placeholder(dtype, list(shape), name)


def lengths_of(step: int, longest: int, salt: int = 7) -> np.ndarray:
    """Lengths of the rows of a step: uneven, and the longest row is in the last part."""
    found = draw(step, salt).randint(1, longest, ROWS[step])
    found[-1] = longest
    return found
