"""The options of AutoDist's own strategies: those that change no value are taken, all else is refused."""

import importlib
from typing import Any

import pytest

from autodist import strategy

SHARED = {"local_proxy_variable": False, "sync": True, "staleness": 0}
COPIED = {"all_reduce_spec": "AUTO", "compressor": "NoneCompressor"}
OPTIONS: dict[Any, dict[str, Any]] = {
    strategy.PS: SHARED,
    strategy.PSLoadBalancing: SHARED,
    strategy.PartitionedPS: SHARED,
    strategy.UnevenPartitionedPS: SHARED,
    strategy.AllReduce: COPIED,
    strategy.PartitionedAR: COPIED,
    strategy.RandomAxisPartitionAR: COPIED,
    strategy.Parallax: SHARED | COPIED,
}
FOR_SPEED = {"local_proxy_variable": True, "chunk_size": 128, "all_reduce_spec": "NCCL"}
OF_VALUES = {"sync": False, "staleness": 2, "compressor": "HorovodCompressor", "chunk_size": 0}
MODULES = {
    "all_reduce_strategy": "AllReduce",
    "parallax_strategy": "Parallax",
    "partitioned_all_reduce_strategy": "PartitionedAR",
    "partitioned_ps_strategy": "PartitionedPS",
    "ps_lb_strategy": "PSLoadBalancing",
    "ps_strategy": "PS",
    "random_axis_partition_all_reduce_strategy": "RandomAxisPartitionAR",
    "uneven_partition_ps_strategy": "UnevenPartitionedPS",
}


def known_of(kind: Any) -> set[str]:
    return set(OPTIONS[kind]) | ({"chunk_size"} if "compressor" in OPTIONS[kind] else set())


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_that_ask_for_what_is_done_are_taken(kind: Any) -> None:
    assert isinstance(kind(**OPTIONS[kind]), strategy.StrategyBuilder)


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_that_change_no_value_are_taken_and_logged(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "autodist")
    for name in FOR_SPEED.keys() & known_of(kind):
        kind(**{name: FOR_SPEED[name]})
        assert f"{kind.__name__}({name}={FOR_SPEED[name]!r}) has no effect" in caplog.text


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_of_other_values_are_refused_by_name(kind: Any) -> None:
    for name, value in OF_VALUES.items():
        error = ValueError if name in known_of(kind) else TypeError
        with pytest.raises(error, match=f"{kind.__name__}.*{name}"):
            kind(**{name: value})


def test_options_are_taken_by_position() -> None:
    strategy.AllReduce(128)
    strategy.AllReduce(1, "NCCL", "NoneCompressor")
    strategy.PS(True)
    strategy.Parallax(128, False, True, 0)
    with pytest.raises(ValueError, match=r"PS\(sync=False\)"):
        strategy.PS(False, False)
    with pytest.raises(TypeError, match=r"'chunk_size'.* given twice"):
        strategy.AllReduce(128, chunk_size=128)
    with pytest.raises(TypeError, match="4 were given"):
        strategy.PS(False, True, 0, 1)


def test_whether_to_copy_is_no_number_of_shards() -> None:
    with pytest.raises(ValueError, match="num_shards must be at least 1, got True"):
        strategy.PartitionedPS(True)


def test_a_number_is_no_answer_to_whether() -> None:
    with pytest.raises(ValueError, match="sync=1"):
        strategy.PS(sync=1)


@pytest.mark.parametrize(("module", "name"), MODULES.items())
def test_each_strategy_lies_where_autodist_has_it(module: str, name: str) -> None:
    found = importlib.import_module(f"autodist.strategy.{module}")
    assert getattr(found, name) is getattr(strategy, name)
