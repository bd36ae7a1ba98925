"""`AutoDist.function`: a Python function builds a graph once, and runs it at every call.

Arrays among the arguments become placeholders, whose first dimension is the batch. Any other
argument is passed to the function as it is, and becomes part of the graph. Arguments of another
kind, of other dtypes or of other shapes behind the first dimension build another graph, as
`tf.function` would.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from autodist.errors import ArgumentTypeError


class Owner(Protocol):
    """The part of `AutoDist` that a function needs."""

    def building(self) -> AbstractContextManager[Any]:
        """The scope, entered if it is not."""

    def create_distributed_session(self) -> Any:
        """The distributed session, in which all variables have a value."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """The graph that one kind of arguments built.

    Attributes:
      session: the session that runs it.
      feeds: names of the placeholders, in the order of the arrays among the arguments.
      result: what the function returned.
      fetches: the tensors and ops in it.
      arguments: the arguments it was built with, kept alive since `_kind_of` knows some by their
        id.
    """

    session: Any
    feeds: list[str]
    result: Any
    fetches: list[Any]
    arguments: Any

    def run(self, arrays: list[Any]) -> Any:
        """Runs it.

        Returns what the function returned, with values in place of tensors and None in place of
        ops.
        """
        values = iter(self.session.run(self.fetches, dict(zip(self.feeds, arrays, strict=True))))
        leaves = [next(values) if _is_run(leaf) else leaf for leaf in _flatten(self.result)]
        return tf.nest.pack_sequence_as(self.result, leaves)


def step_function(owner: Owner, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `function` so that a call runs what it builds in the distributed session of `owner`."""
    steps: dict[Hashable, _Step] = {}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = (args, kwargs)
        kind = _kind_of(arguments)
        if kind not in steps:
            steps[kind] = _build(owner, function, arguments)
        return steps[kind].run([a for a in _flatten(arguments) if isinstance(a, np.ndarray)])

    return call


def _build(owner: Owner, function: Callable[..., Any], arguments: Any) -> _Step:
    feeds: list[str] = []

    def replace(argument: Any) -> Any:
        if not isinstance(argument, np.ndarray):
            return argument
        shape = [None, *argument.shape[1:]] if argument.ndim else []
        placeholder = tf.compat.v1.placeholder(tf.as_dtype(argument.dtype), shape)
        feeds.append(placeholder.name)
        return placeholder

    with owner.building():
        args, kwargs = tf.nest.pack_sequence_as(
            arguments, [replace(a) for a in _flatten(arguments)]
        )
        result = function(*args, **kwargs)
        fetches = [leaf for leaf in _flatten(result) if _is_run(leaf)]
        if not fetches:
            raise ArgumentTypeError(
                f"{function.__name__} returned {result!r}, in which there is nothing to run. "
                "Return the tensors to compute and the op that trains."
            )
        session = owner.create_distributed_session()
    return _Step(session, feeds, result, fetches, arguments)


def _flatten(structure: Any) -> list[Any]:
    return list(tf.nest.flatten(structure))


def _is_run(leaf: Any) -> bool:
    """Whether a session can fetch `leaf`."""
    kinds = (
        tf.Tensor,
        tf.Operation,
        tf.Variable,
        tf.SparseTensor,
        tf.IndexedSlices,
        tf.RaggedTensor,
    )
    return isinstance(leaf, kinds)


def _kind_of(arguments: Any) -> Hashable:
    """A key that is equal for arguments that can share a graph."""
    structure = repr(tf.nest.map_structure(lambda _: 0, arguments))
    return structure, tuple(_kind_of_leaf(leaf) for leaf in _flatten(arguments))


def _kind_of_leaf(leaf: Any) -> Hashable:
    if isinstance(leaf, np.ndarray):
        return "array", leaf.dtype.str, leaf.ndim, leaf.shape[1:]
    if isinstance(leaf, (bool, int, float, complex, str, bytes, np.generic, type(None))):
        return type(leaf), leaf
    return "object", id(leaf)
