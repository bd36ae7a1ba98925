"""Sparse and ragged tensors that are fetched as such.

The row numbers of a sparse tensor and the row splits of a ragged one count within a replica's part of the batch.
Joined as plain tensors they would mean nothing; so where the tensor itself is fetched, the replicas' tensors are
concatenated as sparse or ragged ones, and what is fetched of the components are those of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.batch import LOCAL
from autodist.graph.roles import Key, key_of, size_of

if TYPE_CHECKING:
    from autodist.graph.lowering import Transformer


def find_composites(fetches: Any) -> Iterator[Any]:
    """The sparse and ragged tensors in what `tf.compat.v1.Session.run` is asked for."""
    if isinstance(fetches, (tf.SparseTensor, tf.RaggedTensor)):
        yield fetches
    elif isinstance(fetches, Mapping):
        for value in fetches.values():
            yield from find_composites(value)
    elif isinstance(fetches, (list, tuple)):
        for value in fetches:
            yield from find_composites(value)


def combine(walk: Transformer, composite: Any) -> dict[Key, Any]:
    """What to fetch in place of the components of a sparse or ragged tensor.

    Args:
      walk: the transformer.
      composite: a `tf.SparseTensor` or `tf.RaggedTensor` of the original graph.

    Returns:
      By original component the transformed tensor; empty where each component is fetched like any other tensor.

    Raises:
      UnsupportedGraphError: if it varies and its first dimension is not the batch.
    """
    components = _components(composite)
    walk.require(t.op for t in components)
    values = [walk.value(t) for t in components]
    mask = 0
    for tensor, value in zip(components, values, strict=True):
        mask |= walk.batch.tensor_mask(tensor) if value.varies else 0
    if not mask & ~LOCAL or any(walk.is_gradient(t) for t in components):
        return {}
    content, *structure = values
    if not any(v.varies for v in structure) and size_of(components[0], 0) is not None:
        return {}
    if size_of(composite, 0) is not None or not all(v.varies for v in (content, *structure[:1])):
        raise UnsupportedGraphError(
            f"cannot fetch the {type(composite).__name__} of {components[0].name!r} (shape {composite.shape}): each "
            "replica has its own, computed from its part of the batch, and its first dimension is not the batch "
            "(unknown). Fetch what it was computed from."
        )
    counts = walk.means.part_counts(mask)
    with walk.builder.adding(f"join/{components[0].op.name}", walk.builder.replica_devices[0]):
        parts = [
            _part(composite, [v.whole(replica) for v in values], counts[replica])
            for replica in range(walk.replica_count)
        ]
        if isinstance(composite, tf.SparseTensor):
            joined = tf.sparse.concat(0, parts, expand_nonconcat_dims=True)
        else:
            joined = tf.concat(parts, 0)
        found = _components(joined)
    return {key_of(t): made for t, made in zip(components, found, strict=True)}


def _components(composite: Any) -> list[Any]:
    """The tensors that a session fetches for `composite`: its values, then what says where they lie."""
    if isinstance(composite, tf.SparseTensor):
        return [composite.values, composite.indices, composite.dense_shape]
    return [composite.flat_values, *composite.nested_row_splits]


def _part(composite: Any, components: list[Any], count: Any) -> Any:
    """A replica's tensor; `count` is 0 where it has no part of the batch, and its rows are dropped."""
    values, *structure = components
    if isinstance(composite, tf.RaggedTensor):
        ragged = tf.RaggedTensor.from_nested_row_splits(values, structure, validate=False)
        return ragged[: ragged.nrows(tf.int64) * count]
    sparse = tf.SparseTensor(structure[0], values, structure[1])
    shape = sparse.dense_shape
    size = tf.concat([shape[:1] * count, shape[1:]], 0)
    return tf.sparse.slice(sparse, tf.zeros_like(shape), size)
