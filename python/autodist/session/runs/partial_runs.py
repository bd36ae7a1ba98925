"""Keeps the state of a partial run, whose feeds and fetches come in several calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodist.graph.feeds import FeedPlan, check_lengths
from autodist.graph.original.variables.roles import key_of
from autodist.graph.transformer import Transformer


class PartialRun:
    """A partial run: which of its feeds and fetches are still open, and the sizes of its batches.

    Args:
      feeds: the original tensors that are fed in the course of the run.
      fetches: the original tensors that are fetched in the course of the run.
    """

    def __init__(self, feeds: Sequence[Any], fetches: Sequence[Any]) -> None:
        self._feeds = list(feeds)
        self._lengths: dict[str, int] = {}
        self._open = {key_of(t) for t in (*feeds, *fetches)}

    def feed_plan(
        self, transformer: Transformer, tensors: Sequence[Any], arrays: Sequence[Any]
    ) -> FeedPlan:
        """Where the arrays of one call go.

        Raises:
          ArgumentError: if batches that are split have other lengths than those of earlier calls.
        """
        plan = transformer.feed_plan(tensors, self._feeds)
        lengths = {**self._lengths, **plan.lengths(arrays)}
        check_lengths(lengths)
        self._lengths = lengths
        return plan

    def is_done(self, tensors: Sequence[Any], fetches: Sequence[Any]) -> bool:
        """Records what one call fed and fetched; returns whether nothing is left."""
        self._open -= {key_of(t) for t in (*tensors, *fetches)}
        return not self._open
