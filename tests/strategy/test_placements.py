"""What each strategy decides for graphs made by hand."""

import pytest

from autodist.cluster.spec.nodes import Node
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.layout import Grid
from autodist.strategy import (
    PS,
    AllReduce,
    GraphItem,
    PartitionedPS,
    PSLoadBalancing,
    StrategyBuilder,
    VariableGroup,
    VariableInfo,
)

CPUS = ("/device:CPU:0", "/device:CPU:1", "/device:CPU:2")


def describe(name: str, shape: tuple[int, ...] | None, blocker: str = "") -> VariableInfo:
    return VariableInfo(
        name=name,
        shape=shape,
        dtype="float32",
        itemsize=4,
        is_trainable=True,
        is_sparse=False,
        cannot_be_partitioned=blocker,
    )


def group(*shapes: tuple[int, ...] | None, blocker: str = "") -> VariableGroup:
    return VariableGroup(tuple(describe(f"v{i}", s, blocker) for i, s in enumerate(shapes)))


def build(strategy: StrategyBuilder, *groups: VariableGroup, cpus: int = 2) -> list:
    spec = ResourceSpec((Node("localhost", 0, tuple(range(cpus))),))
    return list(strategy.build(GraphItem(groups), spec).placements)


def test_ps_puts_every_variable_whole_on_the_first_device() -> None:
    placements = build(PS(), group((4, 4)), group(()))
    assert [p.grid for p in placements] == [None, None]
    assert [p.devices for p in placements] == [((CPUS[0],),)] * 2


def test_load_balancing_gives_the_next_group_to_the_emptiest_device() -> None:
    placements = build(PSLoadBalancing(), group((9, 9)), group((4,)), group((4,)), group((99,)))
    assert [p.devices for p in placements] == [((CPUS[i],),) for i in (0, 1, 1, 1)]


def test_load_balancing_counts_the_slots() -> None:
    placements = build(PSLoadBalancing(), group((6,), (6,), (6,)), group((10,)), group((1,)))
    assert [p.devices for p in placements] == [((CPUS[i],),) for i in (0, 1, 1)]


def test_all_reduce_puts_a_whole_copy_on_each_replica() -> None:
    (placement,) = build(AllReduce(), group((5, 2)), cpus=3)
    assert placement.grid is None
    assert placement.devices == ((CPUS[0],), (CPUS[1],), (CPUS[2],))


def test_all_reduce_uses_the_gpus_where_there_are_some() -> None:
    spec = ResourceSpec((Node("localhost", 0, (0,), (0, 1)),))
    (placement,) = AllReduce().build(GraphItem((group((5,)),)), spec).placements
    assert placement.devices == (("/device:GPU:0",), ("/device:GPU:1",))


def test_partitioned_ps_cuts_into_as_many_shards_as_there_are_devices() -> None:
    (placement,) = build(PartitionedPS(min_variable_bytes=0), group((7, 2)), cpus=3)
    assert placement.grid == Grid(((3, 2, 2), (2,)))
    assert placement.devices == (CPUS,)


def test_partitioned_ps_cuts_in_two_on_one_device() -> None:
    (placement,) = build(PartitionedPS(min_variable_bytes=0), group((7,)), cpus=1)
    assert placement.grid == Grid(((4, 3),))
    assert placement.devices == ((CPUS[0], CPUS[0]),)


def test_partitioned_ps_spreads_the_shards_by_bytes() -> None:
    placements = build(PartitionedPS(2, min_variable_bytes=0), group((3,)), group((2,)))
    loads = dict.fromkeys(CPUS[:2], 0)
    for placement in placements:
        for device, box in zip(placement.devices[0], placement.grid.boxes(), strict=True):
            loads[device] += box.element_count
    assert loads == {CPUS[0]: 3, CPUS[1]: 2} or loads == {CPUS[0]: 2, CPUS[1]: 3}


@pytest.mark.parametrize(
    ("wanted", "rows", "counts"), [(7, 11, 7), (13, 11, 11), (2, 1, 1), (1, 5, 1)]
)
def test_partitioned_ps_makes_no_more_shards_than_rows(wanted: int, rows: int, counts: int) -> None:
    (placement,) = build(PartitionedPS(wanted, axis=0, min_variable_bytes=0), group((rows, 3)))
    made = 1 if placement.grid is None else placement.grid.shard_count
    assert made == counts
    assert len(placement.devices[0]) == made


def test_partitioned_ps_cuts_the_first_axis_that_is_longer_than_one() -> None:
    (placement,) = build(PartitionedPS(2, min_variable_bytes=0), group((1, 5)))
    assert placement.grid == Grid(((1,), (3, 2)))


def test_partitioned_ps_counts_a_negative_axis_from_the_end() -> None:
    (placement,) = build(PartitionedPS(2, axis=-1, min_variable_bytes=0), group((4, 5)))
    assert placement.grid == Grid(((4,), (3, 2)))


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (group(()), "scalar"),
        (group(None), "unknown shape"),
        (group((2,)), "8 bytes, below 1024"),
        (group((1, 1, 512)), "no axis to cut"),
        (group((512, 512), blocker="op 'f' (While) needs it"), "whole: op 'f' (While) needs it"),
    ],
)
def test_partitioned_ps_says_why_a_variable_stays_whole(
    variables: VariableGroup, reason: str
) -> None:
    strategy = PartitionedPS(2, axis=7) if "axis" in reason else PartitionedPS(2)
    (placement,) = build(strategy, variables)
    assert placement.grid is None
    assert reason in placement.reason


def test_a_group_must_stay_whole_when_one_of_its_slots_must() -> None:
    blocked = describe("slot", (9, 9), "it is read by a function")
    both = VariableGroup((describe("v", (9, 9)), blocked))
    (placement,) = build(PartitionedPS(2, min_variable_bytes=0), both)
    assert placement.grid is None
    assert "of 'slot': it is read by a function" in placement.reason


@pytest.mark.parametrize("arguments", [{"num_shards": 0}, {"min_variable_bytes": -1}])
def test_partitioned_ps_refuses_numbers_without_a_meaning(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PartitionedPS(**arguments)


def test_every_strategy_says_why() -> None:
    for strategy in (PS(), PSLoadBalancing(), AllReduce(), PartitionedPS()):
        assert all(p.reason for p in build(strategy, group((512, 4)), group(())))


def test_bytes_of_a_group_are_those_of_all_its_variables() -> None:
    assert group((2, 3), (2, 3), None, ()).size_bytes == 2 * 24 + 0 + 4
