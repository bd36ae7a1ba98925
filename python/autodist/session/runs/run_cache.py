"""Caches runs of the session, so that a repeated `session.run` call needs little Python.

Most of the Python in `tf.compat.v1.Session.run` analyses fetches and feeds, again at each run. A
training loop makes the same few runs. So the cache keeps the plan of a run that TensorFlow accepted
once: what to run, where the fed values go, and how the results are put together.

Only simple runs are cached: tensors, ops, variables and names in lists, tuples and dicts, fed with
arrays, numbers and lists that fit. TensorFlow handles all other runs, with its checks and errors.
The cache survives growth of the graph: new ops do not change the runs of older ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_sessions
from autodist.session.runner.runners import Runner
from autodist.session.runs.late_reads import LateReads

_MOST_RUNS = 1000
_FETCHES = (tf.Tensor, tf.Operation, tf.Variable)
_VALUES = (np.ndarray, np.generic, float, int, list, tuple)


class RunCache:
    """The runs that one session keeps.

    Args:
      transformer: the transformer.
      late_reads: of the same session.
      runner: has the session that runs the transformed graph.
    """

    def __init__(self, transformer: Transformer, late_reads: LateReads, runner: Runner) -> None:
        self._transformer = transformer
        self._late_reads = late_reads
        self._runner = runner
        self._runs: dict[Hashable, CachedRun | None] = {}

    def find(self, fetches: Any, feed_dict: Any) -> CachedRun | None:
        """The cached run for these fetches and feeds; None where there is none.

        Args:
          fetches: as for `tf.compat.v1.Session.run`.
          feed_dict: as for `tf.compat.v1.Session.run`.

        Raises:
          UnsupportedGraphError: if an op was added to the graph that cannot be distributed.
        """
        self._transformer.extend()
        return self._runs.get(_key_of_run(fetches, feed_dict, []))

    def note(self, fetches: Any, feed_dict: Any) -> None:
        """Keeps a run that TensorFlow accepted."""
        met: list[Any] = []
        key = _key_of_run(fetches, feed_dict, met)
        if key is None or key in self._runs:
            return
        if len(self._runs) >= _MOST_RUNS:
            self._runs = {}
        run = _taken_apart(self._transformer.original, fetches, feed_dict)
        self._runs[key] = run and CachedRun(
            self._transformer, self._late_reads, self._runner, *run, met=met
        )


class CachedRun:
    """A run that was prepared; `arrays` converts its feeds, and `run` runs it.

    Args:
      transformer: the transformer.
      late_reads: of the same session.
      runner: has the session that runs the transformed graph.
      handler: TensorFlow's object that knows the fetches and puts results together.
      fed: the original tensors that are fed, by the keys of the `feed_dict`.
      met: the objects that identify the run; kept alive, so that no other object gets the id of
        one.
    """

    def __init__(
        self,
        transformer: Transformer,
        late_reads: LateReads,
        runner: Runner,
        handler: Any,
        fed: Mapping[Any, Any],
        *,
        met: list[Any],
    ) -> None:
        self._handler = handler
        self._met = met
        self._fed = [
            (t.dtype.as_numpy_dtype, None if t.shape.rank is None else t.shape.as_list())
            for t in fed.values()
        ]
        self._runner = runner
        # Fetches and targets come before feeds: making an update may replace a tensor that is fed.
        targets = [new for op in handler.targets() for new in transformer.targets(op)]
        fetches = late_reads.fetch(handler.fetches(), handler.targets(), fed.values())
        self._feed_plan = transformer.feed_plan(list(fed.values()))
        self._has_collectives = transformer.has_collectives([*targets, *fetches])
        self._prepared = tf_sessions.PreparedRun(targets, fetches, self._feed_plan.targets)

    def arrays(self, feed_dict: Any) -> list[Any] | None:
        """The fed values as arrays; None where TensorFlow must check them."""
        arrays = []
        values = (feed_dict or {}).values()
        for value, (dtype, dims) in zip(values, self._fed, strict=True):
            array = _as_array(value, dtype, dims)
            if array is None:
                return None
            arrays.append(array)
        return arrays

    def run(self, session: Any, arrays: list[Any], options: Any, run_metadata: Any) -> Any:
        """Runs it; returns what `session.run` returns.

        Args:
          session: the distributed session.
          arrays: from `arrays`.
          options: serialized `tf.compat.v1.RunOptions`, as TensorFlow hands them on; or None.
          run_metadata: where metadata go; or None.

        Raises:
          ArgumentError: if batches that are split have different lengths.
        """
        parts = [np.asarray(part) for part in self._feed_plan.spread(arrays)]
        values = self._runner.run(
            lambda inner: self._prepared(inner, parts, options, run_metadata),
            has_collectives=self._has_collectives,
        )
        return self._handler.build_results(session, values)


def _taken_apart(graph: Any, fetches: Any, feed_dict: Any) -> tuple[Any, dict[Any, Any]] | None:
    """The fetches of a run and its fed tensors by key.

    None where TensorFlow must take it apart each time.
    """
    fed = {key: graph.as_graph_element(key, allow_operation=False) for key in feed_dict or {}}
    handler = tf_sessions.fetch_handler(graph, fetches)
    refs = {tensor.ref() for tensor in fed.values()}
    is_simple = len(refs) == len(fed) and all(graph.is_feedable(t) for t in fed.values())
    if not is_simple or any(tensor.ref() in refs for tensor in handler.fetches()):
        return None
    if not handler.fetches() and not handler.targets():
        return None
    return handler, fed


def _key_of_run(fetches: Any, feed_dict: Any, met: list[Any]) -> Hashable:
    """The key of a run in the cache; None where it is not kept.

    Adds the objects that make up the key to `met`.
    """
    fed: list[Any] = []
    for key in feed_dict or ():
        if not isinstance(key, (tf.Tensor, str)):
            return None
        fed.append(_key_of(key, met))
    found = _key_of(fetches, met)
    return None if found is None else (found, tuple(fed))


def _key_of(fetches: Any, met: list[Any]) -> Hashable:
    kind = type(fetches)
    if isinstance(fetches, str):
        return fetches
    if isinstance(fetches, _FETCHES):
        met.append(fetches)
        return id(fetches)
    if kind is dict:
        # Numbers of different types may be equal, and are different keys.
        names, parts = tuple([(type(name), name) for name in fetches]), fetches.values()
    elif kind in (list, tuple):
        names, parts = (), fetches
    else:
        return None
    keys = tuple([_key_of(part, met) for part in parts])
    return None if None in keys else (kind, names, keys)


def _as_array(value: Any, dtype: Any, dims: list[int | None] | None) -> Any:
    """A fed value as an array of the placeholder's dtype; None where it may not fit."""
    if not isinstance(value, _VALUES):
        return None
    try:
        array = np.asarray(value, dtype)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if isinstance(value, int) and array != value:
        return None
    if dims is not None:
        if array.ndim != len(dims):
            return None
        if any(dim not in (None, size) for dim, size in zip(dims, array.shape, strict=True)):
            return None
    return array
