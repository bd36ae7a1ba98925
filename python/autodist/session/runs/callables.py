"""Callables by names of the original graph, with which Keras runs its steps.

A `tf.compat.v1.Session` makes a callable from a `CallableOptions`: names of feeds, fetches,
targets, and tensors that take the place of fed ones. `MappedCallable` translates the names to the
transformed graph once. A call only splits the arrays that it gets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodist.errors import ArgumentError, UnsupportedGraphError
from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_sessions
from autodist.session.runner.runners import Runner


class MappedCallable:
    """Runs a step of the transformed graph that was described by names of the original one.

    Args:
      session: the distributed session; the callable keeps it open, as TensorFlow's own does.
      transformer: the transformer.
      runner: has the session that runs the transformed graph.
      options: a `CallableOptions` in terms of the original graph.

    Raises:
      UnsupportedGraphError: if a tensor is connected to one that is not a placeholder's.
    """

    def __init__(
        self, session: Any, transformer: Transformer, runner: Runner, options: Any
    ) -> None:
        self._session = session
        graph = transformer.original
        fed = [_tensor(graph, name) for name in options.feed]
        fetches = [transformer.fetch(_tensor(graph, name)).name for name in options.fetch]
        run = [getattr(e, "op", e) for e in map(graph.as_graph_element, options.target)]
        targets = [op.name for element in run for op in transformer.targets(element)]
        self._plan = transformer.feed_plan(fed)
        names = list(dict.fromkeys(fetches))
        self._order = [names.index(name) for name in fetches]
        translated = type(options)()
        translated.run_options.CopyFrom(options.run_options)
        translated.feed.extend(t.name for t in self._plan.targets)
        translated.fetch.extend(names)
        translated.target.extend(targets)
        for connection in options.tensor_connection:
            (target,) = _single_target(transformer, _tensor(graph, connection.to_tensor))
            source = transformer.fetch(_tensor(graph, connection.from_tensor))
            translated.tensor_connection.add(from_tensor=source.name, to_tensor=target.name)
        self._feed_count = len(fed)
        self._options = translated
        self._runner = runner
        self._has_collectives = transformer.has_collectives(
            transformer.graph.as_graph_element(name)
            for name in (*translated.fetch, *translated.target)
        )
        self._made_by: tuple[Any, Any] = (None, None)

    def __call__(self, *args: Any, run_metadata: Any = None) -> list[Any]:
        """Runs one step with one array per feed; returns one value per fetch.

        Raises:
          ArgumentError: if the number of arrays is wrong, or batches that are split have different
            lengths.
        """
        if len(args) != self._feed_count:
            raise ArgumentError(
                f"the callable takes {self._feed_count} feed values, got {len(args)}"
            )
        fed = [np.asarray(a) for a in self._plan.spread([np.asarray(a) for a in args])]

        def call(session: Any) -> Any:
            if self._made_by[0] is not session:
                made = tf_sessions.make_callable_from_options(session, self._options)
                self._made_by = (session, made)
            return self._made_by[1](*fed, run_metadata=run_metadata)

        values = self._runner.run(call, has_collectives=self._has_collectives)
        return [values[i] for i in self._order]


def _tensor(graph: Any, name: str) -> Any:
    return graph.as_graph_element(name, allow_tensor=True, allow_operation=False)


def _single_target(transformer: Transformer, tensor: Any) -> list[Any]:
    """The one transformed tensor that another can be connected to in place of `tensor`."""
    targets = transformer.feed_plan([tensor]).targets
    if len(targets) != 1:
        raise UnsupportedGraphError(
            f"a tensor cannot be connected to {tensor.name!r}: {len(targets)} tensors stand for "
            "it, one per replica or shard. Connect it to a placeholder, or feed an array."
        )
    return targets
