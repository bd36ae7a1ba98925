"""The options of AutoDist's own strategies: what is done in any case is taken, all else refused."""

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
MEANINGLESS = {
    "local_proxy_variable": True,
    "sync": False,
    "staleness": 2,
    "chunk_size": 128,
    "all_reduce_spec": "NCCL",
    "compressor": "HorovodCompressor",
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_that_ask_for_what_is_done_are_taken(kind: Any) -> None:
    assert isinstance(kind(**OPTIONS[kind]), strategy.StrategyBuilder)


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_without_a_meaning_are_refused_by_name(kind: Any) -> None:
    known = set(OPTIONS[kind]) | ({"chunk_size"} if "compressor" in OPTIONS[kind] else set())
    for name, value in MEANINGLESS.items():
        error = ValueError if name in known else TypeError
        with pytest.raises(error, match=f"{kind.__name__}.*{name}"):
            kind(**{name: value})


def test_a_number_is_no_answer_to_whether() -> None:
    with pytest.raises(ValueError, match="sync=1"):
        strategy.PS(sync=1)
