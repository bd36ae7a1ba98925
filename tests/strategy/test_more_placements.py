"""What the strategies decide that cut copies, cut unevenly or treat sparse variables apart."""

import dataclasses

import pytest

from autodist.cluster.spec.nodes import Node
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.strategy import (
    GraphItem,
    Parallax,
    PartitionedAR,
    Placement,
    RandomAxisPartitionAR,
    StrategyBuilder,
    UnevenPartitionedPS,
    VariableGroup,
    VariableInfo,
)

CPUS = ("/device:CPU:0", "/device:CPU:1")


def group(name: str, *shape: int, is_sparse: bool = False) -> VariableGroup:
    info = VariableInfo(name, shape, "float32", 4, is_trainable=True, is_sparse=is_sparse)
    return VariableGroup((info, dataclasses.replace(info, name=f"{name}/slot", is_sparse=False)))


def build(strategy: StrategyBuilder, *groups: VariableGroup) -> tuple[Placement, ...]:
    return strategy.build(
        GraphItem(groups), ResourceSpec((Node("localhost", 0, (0, 1)),))
    ).placements


def test_partitioned_all_reduce_cuts_the_copy_of_each_replica() -> None:
    (placement,) = build(PartitionedAR(3, min_variable_bytes=0), group("v", 7, 2))
    assert placement.grid is not None
    assert placement.grid.sizes == ((3, 2, 2), (2,))
    assert placement.devices == ((CPUS[0],) * 3, (CPUS[1],) * 3)


def test_partitioned_all_reduce_leaves_small_variables_whole() -> None:
    (placement,) = build(PartitionedAR(), group("v", 7))
    assert placement.grid is None
    assert placement.devices == ((CPUS[0],), (CPUS[1],))


@pytest.mark.parametrize(
    ("dim", "sizes"), [(6, (2, 2, 1, 1)), (7, (4, 3)), (9, (5, 4)), (2, (1, 1))]
)
def test_uneven_shards_do_not_divide_the_dimension(dim: int, sizes: tuple[int, ...]) -> None:
    (placement,) = build(UnevenPartitionedPS(min_variable_bytes=0), group("v", dim, 3))
    assert placement.grid is not None
    assert placement.grid.sizes == (sizes, (3,))


def test_a_random_axis_is_the_same_for_the_same_seed_and_differs_over_variables() -> None:
    groups = [group(f"v{i}", 4, 5, 6) for i in range(20)]
    strategy = RandomAxisPartitionAR(seed=7, min_variable_bytes=0)
    axes = [p.grid.cut_axes for p in build(strategy, *groups) if p.grid]
    assert axes == [p.grid.cut_axes for p in build(strategy, *reversed(groups)) if p.grid][::-1]
    assert set(axes) == {(0,), (1,), (2,)}


def test_parallax_shares_sparse_variables_and_copies_dense_ones() -> None:
    sparse, dense = build(Parallax(), group("emb", 9, 2, is_sparse=True), group("w", 2, 2))
    assert sparse.devices == ((CPUS[0],),)
    assert dense.devices == ((CPUS[0],), (CPUS[1],))
