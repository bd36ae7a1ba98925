"""The distributed session: a `tf.compat.v1.Session` on the original graph that runs the transformed one.

Feeds, fetches, errors about them, nested structures and names are TensorFlow's own: only the last step, running
a list of tensors and ops, is replaced. There each original tensor and op is exchanged for what stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import tf_internals
from autodist.errors import ArgumentError, GraphStateError
from autodist.graph.lowering import Transformer
from autodist.runtime.resource_spec import ResourceSpec


class DistributedSession(tf.compat.v1.Session):
    """Runs a distributed graph in terms of the original one.

    `graph` is the original graph; everything that `run` takes and returns is meant in it. Made by
    `AutoDist.create_distributed_session`.
    """

    def __init__(self, transformer: Transformer, spec: ResourceSpec, config: Any = None) -> None:
        super().__init__(graph=transformer.original, config=_original_config())
        self._transformer = transformer
        self._inner = tf.compat.v1.Session(
            graph=transformer.graph, config=_session_config(spec, config)
        )

    @property
    def transformed_graph(self) -> Any:
        """The graph that runs."""
        return self._transformer.graph

    def layout_table(self) -> list[tuple[str, str, str]]:
        """Per variable: name, how it lies (shards, replicas, cuts), and why."""
        self._transformer.extend()
        return self._transformer.layout_table()

    def list_devices(self) -> Any:
        """The devices of the session that runs the transformed graph."""
        return self._inner.list_devices()

    def close(self) -> None:
        """Closes the session and frees its variables."""
        self._inner.close()
        super().close()

    def partial_run_setup(self, fetches: Any, feeds: Any = None) -> Any:  # noqa: ARG002
        """Not supported.

        Raises:
          GraphStateError: always.
        """
        raise GraphStateError(
            "partial_run is not supported by a distributed session: a batch is split when it is fed. "
            "Call run with all feeds."
        )

    def make_callable(
        self, fetches: Any, feed_list: list[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """As `tf.compat.v1.Session.make_callable`."""
        feeds = list(feed_list or [])
        self._transformer.extend()

        def call(*args: Any, options: Any = None, run_metadata: Any = None) -> Any:
            if len(args) != len(feeds):
                raise ArgumentError(f"the callable takes {len(feeds)} feed values, got {len(args)}")
            return self.run(fetches, dict(zip(feeds, args, strict=True)), options, run_metadata)

        def call_without_options(*args: Any) -> Any:
            return call(*args)

        return call if accept_options else call_without_options

    def _do_run(  # noqa: PLR0917 - the signature of the method it replaces
        self,
        handle: Any,
        target_list: list[Any],
        fetch_list: list[Any],
        feed_dict: dict[Any, Any],
        options: Any,
        run_metadata: Any,
    ) -> Any:
        """Runs original ops and tensors; the one step of `tf.compat.v1.Session` that is replaced."""
        self._transformer.extend()
        fed = [(tensor.deref(), array) for tensor, array in feed_dict.items()]
        feeds = {new.ref(): np.asarray(part) for new, part in self._transformer.feeds(fed)}
        fetches = [self._transformer.fetch(t) for t in fetch_list]
        targets = [new for op in target_list for new in self._transformer.targets(op)]
        return tf_internals.run_tensors(
            self._inner, handle, targets, fetches, feeds, options, run_metadata
        )


def _original_config() -> Any:
    """The session on the original graph only translates; it never runs and needs no devices."""
    return tf.compat.v1.ConfigProto(
        device_count={"GPU": 0}, use_per_session_threads=False, allow_soft_placement=True
    )


def _session_config(spec: ResourceSpec, config: Any) -> Any:
    made = tf.compat.v1.ConfigProto()
    if config is not None:
        made.CopyFrom(config)
    made.device_count["CPU"] = max(spec.cpu_device_count, made.device_count.get("CPU", 0))
    made.allow_soft_placement = True
    return made
