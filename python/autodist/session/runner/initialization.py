"""Initialises variables, tables and iterators without a value, also those added later."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from autodist import _log
from autodist.graph.original.observed.declared_variables import variables_of
from autodist.graph.original.variables.initial_values import plan_initialization
from autodist.graph.original.variables.roles import Key, key_of
from autodist.graph.transformer import Transformer
from autodist.session.runner.runners import Runner

_logger = _log.get_logger()


class Initialization:
    """Initialises the variables, tables and iterators of one session.

    Args:
      transformer: has the graphs.
      runner: runs the transformed one.
      run: runs ops of the original graph, with a dict of feeds.
    """

    def __init__(
        self, transformer: Transformer, runner: Runner, run: Callable[[list[Any], Any], Any]
    ) -> None:
        self._transformer = transformer
        self._runner = runner
        self._run = run
        self._made: set[Any] = set()
        self._questions: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def complete(self, feed_dict: Mapping[Any, Any] | None, *, is_fresh: bool) -> None:
        """Runs the initializers of all that has no value; see `DistributedSession.initialize`.

        Args:
          feed_dict: values by tensor.
          is_fresh: whether the session has run nothing, so that nothing has a value.
        """
        feeds = _feeds(self._transformer.original, feed_dict or {})
        with self._lock:
            with_value = set() if is_fresh else self._handles_with_value()
            fed = {key for feed in feeds for key in feed.tensors}
            stages, unready = plan_initialization(
                self._transformer.original, fed, with_value, self._made
            )
            for stage in stages:
                needed = {f.key: f.value for f in feeds if f.tensors & stage.fed}
                self._run(stage.ops, needed)
                self._made.update(stage.ops)
        for item in unready:
            _logger.warning(
                "%s is left to you: it %s. Run it in the session, or give "
                "create_distributed_session an init_feed_dict",
                item.name,
                item.reason,
            )

    def _handles_with_value(self) -> set[Any]:
        """The original `VarHandleOp`s of the variables whose shards and copies all have values."""
        variables = variables_of(self._transformer.original)
        placed = [p for v in variables if (p := self._transformer.placed(v.handle)) is not None]
        handles = [handle for p in placed for row in p.handles for handle in row]
        asked = [self._question(handle) for handle in handles]
        answers = self._runner.run(lambda inner: inner.run(asked))
        lacking = {h.op for h, answer in zip(handles, answers, strict=True) if not answer}
        return {
            p.logical.handle_op
            for p in placed
            if lacking.isdisjoint(handle.op for row in p.handles for handle in row)
        }

    def _question(self, handle: Any) -> Any:
        """Whether the transformed variable of `handle` has a value, as a tensor."""
        if handle.op not in self._questions:
            with self._transformer.builder.adding(f"{handle.op.name}/asked", handle.device):
                self._questions[handle.op] = tf.raw_ops.VarIsInitializedOp(resource=handle)
        return self._questions[handle.op]


@dataclasses.dataclass(frozen=True)
class _Feed:
    """One item of a feed dict, with the tensors that it feeds."""

    key: Any
    value: Any
    tensors: frozenset[Key]


def _feeds(graph: Any, feed_dict: Mapping[Any, Any]) -> list[_Feed]:
    feeds = []
    for key, value in feed_dict.items():
        parts = tf.nest.flatten(key, expand_composites=True)
        tensors = [graph.as_graph_element(part, allow_operation=False) for part in parts]
        feeds.append(_Feed(key, value, frozenset(map(key_of, tensors))))
    return feeds
