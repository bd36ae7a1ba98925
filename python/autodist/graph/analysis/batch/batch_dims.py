"""Finds the batch dimension of a tensor.

It is what `batch_dims` says, otherwise the first dimension if its size is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autodist.errors import ArgumentError, ArgumentTypeError
from autodist.graph.original.variables.roles import Key, has_batch_dimension, key_of


class BatchDims:
    """The batch dimensions of an original graph's tensors.

    Args:
      graph: the original graph.
      asked: by tensor, `tensor.ref()` or name: the dimension along which the tensor is split and
        joined, or None where each replica gets all of it.

    Raises:
      ArgumentError: if there is no such tensor or dimension.
      ArgumentTypeError: if a dimension is neither an int nor None.
    """

    def __init__(self, graph: Any, asked: Mapping[Any, int | None] | None = None) -> None:
        self._asked: dict[Key, int | None] = {}
        for name, axis in (asked or {}).items():
            tensor = _find(graph, name)
            self._asked[key_of(tensor)] = _check_axis(tensor, axis)

    def is_asked(self, tensor: Any) -> bool:
        """Whether the user said where the batch lies in `tensor`."""
        return key_of(tensor) in self._asked

    def axis(self, tensor: Any) -> int | None:
        """The dimension of `tensor` that is the batch, as far as the tensor itself shows.

        None where there is none.
        """
        if self.is_asked(tensor):
            return self._asked[key_of(tensor)]
        return 0 if has_batch_dimension(tensor) else None


def _find(graph: Any, name: Any) -> Any:
    try:
        tensor = name.deref() if hasattr(name, "deref") else name
        return graph.as_graph_element(tensor, allow_operation=False)
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"batch_dims names {name!r}, no tensor of the graph: {error}"
        ) from error


def _check_axis(tensor: Any, axis: Any) -> int | None:
    if axis is None:
        return None
    if not isinstance(axis, int) or isinstance(axis, bool):
        raise ArgumentTypeError(
            f"batch_dims[{tensor.name!r}] is {axis!r}; expected the number of a dimension, or None"
        )
    rank = tensor.shape.rank
    if rank is None and axis >= 0:
        return int(axis)
    if rank is None or not -rank <= axis < rank:
        raise ArgumentError(
            f"batch_dims[{tensor.name!r}] is {axis}; the tensor has shape {tensor.shape} and no "
            "such dimension"
        )
    return int(axis % rank)
