"""One op assigns a whole value to all shards of a copy: the same values as one node, and no other shape."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native
from autodist.layout import Grid
from autodist.strategy import PartitionedAR, PartitionedPS

tf1 = tf.compat.v1


def assigned(grid: Grid, value: Any, dtype: Any = None) -> list[np.ndarray]:
    """What the variables of the shards hold after the op."""
    value = np.asarray(value, dtype)
    boxes = list(grid.boxes())
    with tf.Graph().as_default(), tf1.Session() as session:
        handles = [
            tf.raw_ops.VarHandleOp(dtype=value.dtype, shape=box.extent, shared_name=f"v{i}")
            for i, box in enumerate(boxes)
        ]
        fed = tf1.placeholder(value.dtype)
        op = _native.ops().autodist_assign_shards(
            value=fed,
            container="",
            shared_names=[f"v{i}" for i in range(len(boxes))],
            shape=grid.shape,
            starts=[first for box in boxes for first in box.start],
            shapes=[box.extent for box in boxes],
        )
        session.run(op, {fed: value})
        return session.run(
            [tf.raw_ops.ReadVariableOp(resource=h, dtype=value.dtype) for h in handles]
        )


@pytest.mark.parametrize(
    "grid",
    [Grid(((2, 3), (4,))), Grid(((5,), (1, 2, 1))), Grid(((2, 0, 3), (3, 1))), Grid(((7,),))],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool", "complex128", "float16"])
def test_each_shard_has_its_part(grid: Grid, dtype: str) -> None:
    value = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(dtype)
    for box, found in zip(grid.boxes(), assigned(grid, value), strict=True):
        wanted = value[tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (20,), ()])
def test_a_value_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected a value of shape"):
        assigned(Grid(((2, 3), (4,))), np.zeros(shape, np.float32))


@pytest.mark.parametrize("builder", [PartitionedAR(), PartitionedPS()], ids=["AR", "PS"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.int32, tf.string])
def test_an_assignment_is_that_of_one_node(make_autodist: Any, builder: Any, dtype: Any) -> None:
    first = (
        np.arange(700).reshape(100, 7).astype(str if dtype == tf.string else dtype.as_numpy_dtype)
    )
    second = first[::-1]
    with tf.Graph().as_default():
        autodist = make_autodist(builder, replicas=3)
        with autodist.scope():
            variable = tf1.get_variable("v", initializer=tf.constant(first, dtype))
            fed = tf1.placeholder(dtype, [100, 7])
            assign = variable.assign(fed)
            with autodist.create_distributed_session() as session:
                types = [op.type for op in session.transformed_graph.get_operations()]
                one_op = isinstance(builder, PartitionedAR) and dtype != tf.string
                assert ("AutodistAssignShards" in types) == one_op
                np.testing.assert_array_equal(session.run(variable).astype(first.dtype), first)
                session.run(assign, {fed: second})
                np.testing.assert_array_equal(session.run(variable).astype(first.dtype), second)
