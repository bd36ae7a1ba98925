"""Logs how a graph was distributed: what is split, and how the variables lie."""

from __future__ import annotations

import logging

from autodist import _log
from autodist.graph.original.ops import op_types
from autodist.graph.transformer import Transformer

_logger = _log.get_logger()
# Up to so many variables are logged one by one for which the graph overrides the strategy.
_MOST_REASONS = 10


def write(transformer: Transformer) -> None:
    """Logs what is split, how the variables lie, and where the graph overrides the strategy."""
    split = [t.name for t in transformer.batch.roots]
    if transformer.replica_count > 1:
        if split:
            _logger.debug("split over %d replicas: %s", transformer.replica_count, ", ".join(split))
        else:
            _logger.warning(
                "nothing is split over the %d replicas, each step computes the whole batch once: "
                "%s",
                transformer.replica_count,
                "an op needs all rows (session.explain() names it)"
                if transformer.batch.fed_whole
                else "the graph has no placeholder or iterator output whose first dimension is "
                "unknown, or it is fed sparse tensors",
            )
    rows = transformer.layout_table()
    obstacles = transformer.batch.updates.obstacles
    culprits = transformer.batch.culprits
    for tensor, taker in transformer.batch.fed_whole:
        if taker in obstacles:
            continue
        is_told = taker.type in op_types.SCATTERS or taker in culprits
        level = logging.WARNING if is_told else logging.INFO
        culprit = culprits.get(taker, taker)
        _logger.log(
            logging.DEBUG if taker.type in op_types.ASSIGNS else level,
            "%s is not split over the replicas: %s (%s) needs all of it%s",
            tensor.name,
            taker.name,
            taker.type,
            "" if culprit is taker else f", because of {culprit.name} ({culprit.type})",
        )
    for name, layout, reason in rows:
        _logger.debug("%s: %s (%s)", name, layout, reason)
    kept = [v for v in transformer.variables if v.constraint is not None]
    for variable in kept[:_MOST_REASONS]:
        _logger.info("variable %r stays %s", variable.logical.name, variable.constraint)
    if len(kept) > _MOST_REASONS:
        _logger.info("and %d more variables; see session.layout_table()", len(kept) - _MOST_REASONS)
    _logger.info(
        "%s, %s, %d of them cut into shards (session.layout_table() lists them)",
        _log.count(transformer.replica_count, "replica"),
        _log.count(len(rows), "variable"),
        sum(v.grid is not None for v in transformer.variables),
    )
