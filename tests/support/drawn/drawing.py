"""A chain of ops drawn at random: placeholders, variables, and ops that take any of what is there.

An op is drawn with values at hand (eagerly), so that what is drawn is valid for the batch at hand. The chain is built
again from what was drawn, in any graph.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
MOST_ELEMENTS = 3000
LARGEST = 1e4
_SINGLE = frozenset({
    "FakeQuantWithMinMaxArgs", "LRN", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea",
    "RGBToHSV", "HSVToRGB", "AdjustHue", "AdjustSaturation", "AdjustContrastv2", "InTopK", "InTopKV2",
})  # fmt: skip


class CannotDrawError(Exception):
    """Nothing is there that such an op could take."""


@dataclasses.dataclass
class Root:
    """A placeholder that holds a batch.

    Attributes:
      shape: its static shape, None where the batch lies.
      value: what is fed.
      axis: the dimension of the batch.
    """

    shape: list[int | None]
    value: np.ndarray
    axis: int = 0


@dataclasses.dataclass
class Step:
    """An op, or a few, that a drawer drew.

    Attributes:
      drawer: the name of the drawer.
      inputs: numbers of tensors of the chain, or constants.
      make: makes the outputs of the inputs.
      outputs: the numbers of the first output, and of the one behind the last.
    """

    drawer: str
    inputs: Sequence[Any]
    make: Callable[..., Any]
    outputs: range


class Chain:
    """Roots, variables and steps; grows by `draw`.

    Attributes:
      rows: the size of the batch.
      rng: what is drawn from.
    """

    def __init__(self, seed: int, rows: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.rows = rows
        self.roots: list[Root] = []
        self.variables: list[np.ndarray] = []
        self.steps: list[Step] = []
        self.values: list[Any] = []
        # By number of a tensor: the number of the root or variable that it is.
        self.given: list[tuple[str, int]] = []
        # Numbers of tensors in the order in which they are to be chosen from, the last first.
        self.pool: list[int] = []

    @property
    def is_single(self) -> bool:
        """Whether an op of the chain knows float32 alone."""
        return any(step.drawer in _SINGLE for step in self.steps)

    # Beginnings.

    def add_root(self, dtype: Any, others: Sequence[int], axis: int = 0) -> int:
        """A placeholder with other dimensions beside that of the batch."""
        shape = [*others[:axis], self.rows, *others[axis:]]
        static: list[int | None] = [*others[:axis], None, *others[axis:]]
        self.roots.append(Root(static, self.array(shape, dtype), axis))
        return self._give("root", len(self.roots) - 1, self.roots[-1].value)

    def add_variable(self, shape: Sequence[int]) -> int:
        """A variable of float64."""
        self.variables.append(self.array(shape, tf.float64) * 0.7 + 0.1)
        return self._give("variable", len(self.variables) - 1, self.variables[-1])

    def _give(self, what: str, number: int, value: Any) -> int:
        assert not self.steps
        self.values.append(tf.constant(value))
        self.given.append((what, number))
        self.pool.append(len(self.values) - 1)
        return len(self.values) - 1

    def array(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Numbers, some of them equal and some 0."""
        dtype = tf.as_dtype(dtype)
        if dtype == tf.string:
            words = np.array([b"a", b"Bc", b" d e", b"12", b"-3.5", b""], object)
            return words[self.numbers.integers(0, len(words), shape)]
        if dtype == tf.bool:
            return np.asarray(self.numbers.uniform(size=shape) < 0.6)
        if dtype.is_integer:
            return np.asarray(self.numbers.integers(0, 4, shape), dtype.as_numpy_dtype)
        found = self.numbers.normal(size=shape)
        if self.rng.random() < 0.25:
            found = np.round(found)
        if dtype.is_complex:
            found = found + 1j * self.numbers.normal(size=shape)
        return np.asarray(found, dtype.as_numpy_dtype)

    # Choices.

    def pick(
        self,
        *dtypes: Any,
        fits: Callable[[list[int]], bool] = lambda _: True,
        near: bool = True,
    ) -> int:
        """The number of a tensor of one of the dtypes (any) whose shape fits."""
        found = [
            i
            for i in self.pool
            if (not dtypes or self.values[i].dtype in dtypes) and fits(self.shape(i))
        ]
        if not found:
            raise CannotDrawError
        if near and self.rng.random() < 0.6:
            return found[-1]
        return self.rng.choice(found)

    def shape(self, number: int) -> list[int]:
        """The shape of a tensor, with this batch."""
        return list(self.values[number].shape)

    def dtype(self, number: int) -> Any:
        """The dtype of a tensor."""
        return self.values[number].dtype

    def rank(self, number: int) -> int:
        """The rank of a tensor."""
        return len(self.shape(number))

    def axis(self, number: int, *, signed: bool = True) -> int:
        """A dimension of a tensor, at times counted from the last."""
        rank = self.rank(number)
        if not rank:
            raise CannotDrawError
        at = self.rng.randrange(rank)
        return at - rank if signed and self.rng.random() < 0.4 else at

    def flip(self, chance: float = 0.5) -> bool:
        """Whether a coin falls so."""
        return self.rng.random() < chance

    def partner(self, number: int, dtype: Any = None) -> Any:
        """A tensor or constant that can be broadcast with a tensor."""
        dtype, shape = dtype or self.dtype(number), self.shape(number)

        def fits(other: list[int]) -> bool:
            pairs = zip(reversed(shape), reversed(other), strict=False)
            return all(a in (b, 1) or b == 1 for a, b in pairs)

        if self.flip(0.6):
            return self.pick(dtype, fits=fits, near=False)
        return self.array(self._shrunk(shape), dtype)

    def _shrunk(self, shape: list[int]) -> list[int]:
        """A shape that can be broadcast to another; seldom with as many rows as the batch has."""
        known = self.flip(0.12)
        sizes = [1 if (n == self.rows and not known) or self.flip(0.3) else n for n in shape]
        return sizes[self.rng.randrange(len(sizes) + 1) if self.flip(0.4) else 0 :]

    def size(self, number: int, axis: int, *, known: float = 0.3) -> Callable[[Any], Any]:
        """A function that gives, of the tensor in its place, the size of a dimension: a number, or an op's output."""
        size = self.shape(number)[axis]
        if size == self.rows:
            known = 0.1
        return (lambda _: size) if self.flip(known) else (lambda t: tf.shape(t)[axis])

    # Growing.

    def add(self, drawer: str, inputs: Sequence[Any], make: Callable[..., Any]) -> None:
        """Adds a step, if one node can run it and its values are of moderate size.

        Raises:
          CannotDrawError: if not.
        """
        try:
            made = make(*[self.values[i] if isinstance(i, int) else tf.constant(i) for i in inputs])
        except (ValueError, TypeError, IndexError, tf.errors.OpError) as error:
            raise CannotDrawError(str(error)) from error
        outputs = as_list(made)
        if not all(map(_is_moderate, outputs)):
            raise CannotDrawError("too large")
        first = len(self.values)
        self.values.extend(outputs)
        self.steps.append(Step(drawer, inputs, make, range(first, len(self.values))))
        fresh = [i for i in range(first, len(self.values)) if self.values[i].dtype != tf.resource]
        self.rng.shuffle(fresh)
        self.pool.extend(fresh)

    def build(self, given: Sequence[Any], steps: int | None = None) -> list[Any]:
        """The tensors of the chain, made of those that are given in place of roots and variables."""
        made = list(given)
        for step in self.steps[:steps]:
            inputs = [made[i] if isinstance(i, int) else tf.constant(i) for i in step.inputs]
            if not step.drawer.startswith("ResourceGather"):
                inputs = [tf.convert_to_tensor(t) for t in inputs]
            made.extend(as_list(step.make(*inputs)))
        return made


def as_list(made: Any) -> list[Any]:
    """The outputs of a raw op, as a list."""
    return list(made) if isinstance(made, (list, tuple)) else [made]


def _is_moderate(value: Any) -> bool:
    if value.dtype in (tf.resource, tf.variant):
        return False
    if value.shape.num_elements() > MOST_ELEMENTS:
        return False
    if value.dtype.is_floating or value.dtype.is_complex:
        found = np.abs(value.numpy())
        return not found.size or bool(np.isfinite(found).all() and found.max() < LARGEST)
    return True


Drawer = Callable[[Chain], None]
DRAWERS: dict[str, Drawer] = {}


def draws(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a drawer for ops of the types `names`; it takes the chain, and the name where there are several."""

    def register(drawer: Callable[..., None]) -> Callable[..., None]:
        for name in names:
            DRAWERS[name] = (
                drawer if len(names) == 1 else lambda chain, name=name: drawer(chain, name)
            )
        return drawer

    return register
