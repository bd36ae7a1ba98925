"""`AutoDist`: makes a single-node graph distributed.

autodist = AutoDist("resource_spec.yml", PartitionedPS())
with tf.Graph().as_default(), autodist.scope():
    ...                                          # an ordinary single-node model
    sess = autodist.create_distributed_session()
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import tensorflow as tf

from autodist import _log, tf_internals
from autodist.errors import ArgumentTypeError, GraphStateError
from autodist.graph import op_kinds
from autodist.graph.batch_dims import BatchDims
from autodist.graph.builder import Builder
from autodist.graph.lowering import Transformer
from autodist.graph.observe import Observer
from autodist.runtime.initializers import initializer_stages
from autodist.runtime.keras_bridge import KerasBridge
from autodist.runtime.resource_spec import ResourceSpec
from autodist.runtime.session import DistributedSession
from autodist.runtime.session_setup import check_gpus, make_runner, new_container
from autodist.runtime.step_function import step_function
from autodist.strategy import PSLoadBalancing, StrategyBuilder

_logger = _log.get_logger()
# So many variables are logged one by one that the graph keeps from lying as the strategy would have them.
_MOST_REASONS = 10


class AutoDist:
    """Distributes the graph that is built in its scope.

    Args:
      resource_spec_file: path of a YAML resource spec; see `autodist.runtime.resource_spec`. None: the cluster that the
        environment variable `TF_CONFIG` describes.
      strategy_builder: decides which layout each variable gets; None: `PSLoadBalancing()`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is not a resource spec.
      TypeError: if `strategy_builder` is not a `StrategyBuilder`.
    """

    def __init__(
        self,
        resource_spec_file: str | None = None,
        strategy_builder: StrategyBuilder | None = None,
    ) -> None:
        if strategy_builder is None:
            strategy_builder = PSLoadBalancing()
        if not isinstance(strategy_builder, StrategyBuilder):
            raise ArgumentTypeError(
                "strategy_builder must be an instance of autodist.strategy.StrategyBuilder, such as "
                f"PartitionedPS(); found {strategy_builder!r}"
            )
        self._spec = (
            ResourceSpec.from_environment()
            if resource_spec_file is None
            else ResourceSpec.from_file(resource_spec_file)
        )
        self._strategy_builder = strategy_builder
        self._graph: Any = None
        self._observer: Observer | None = None
        self._bridge: KerasBridge | None = None
        self._is_in_scope = False
        self._session: DistributedSession | None = None
        self._implicit_session: DistributedSession | None = None

    @property
    def resource_spec(self) -> ResourceSpec:
        """The machines and their devices."""
        return self._spec

    @contextlib.contextmanager
    def scope(self) -> Iterator[AutoDist]:
        """The context in which the single-node graph is built.

        The graph is the default graph, or, where TensorFlow executes eagerly, one made here that is the default
        inside the scope. Variables are resource variables in it, also after `tf.compat.v1.disable_v2_behavior()`.
        The scope may be entered again for the same graph.

        Raises:
          GraphStateError: if it was entered before with another graph.
        """
        with contextlib.ExitStack() as stack:
            if self._graph is None:
                eager = tf.executing_eagerly()
                self._graph = tf.Graph() if eager else tf.compat.v1.get_default_graph()
                self._observer = Observer(self._graph)
                self._bridge = KerasBridge(self._graph, self.session_on_demand)
            if tf.executing_eagerly():
                stack.enter_context(self._graph.as_default())
            elif tf.compat.v1.get_default_graph() is not self._graph:
                raise GraphStateError(
                    "this AutoDist already has a graph, and the default graph is another one. "
                    "Make one AutoDist per graph."
                )
            if self._observer is not None and self._bridge is not None and not self._is_in_scope:
                stack.enter_context(self._observer.observing())
                stack.enter_context(self._bridge.connected())
                stack.enter_context(mock.patch.object(self, "_is_in_scope", new=True))
            stack.enter_context(tf_internals.resource_variables_by_default())
            yield self

    def building(self) -> contextlib.AbstractContextManager[AutoDist]:
        """The scope, entered if it is not."""
        return contextlib.nullcontext(self) if self._is_in_scope else self.scope()

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A decorator: `function` builds a graph at its first call, and every call runs it in the distributed session.

        NumPy arrays among the arguments, also inside of tuples, lists and dicts, are fed; their first dimension is
        the batch, which is split over the replicas. Anything else (tensors, numbers, objects) becomes part of the
        graph. As with `tf.function`, arguments of another kind, dtype or shape behind the first dimension build
        another graph.

        Args:
          function: returns a structure of tensors, variables and ops.

        Returns:
          A function with the same arguments that returns the same structure of values, with None for each op.
          `create_distributed_session()` returns the session that it runs in.
        """
        return step_function(self, function)

    def create_distributed_session(
        self, config: Any = None, batch_dims: Mapping[Any, int | None] | None = None
    ) -> DistributedSession:
        """Transforms the graph, starts a session on the result and initialises its variables and tables.

        Where Keras, in `model.fit` for one, or a function needed a session before this call, that one is returned.

        Args:
          config: a `tf.compat.v1.ConfigProto` for the session; its CPU device count is raised to what the
            resource spec lists, and soft placement is switched on.
          batch_dims: where the batch lies in a tensor (given as itself, as `tensor.ref()` or by name), where that is
            not the first dimension: the dimension along which it is split over the replicas, or None to give each
            replica all of it.

        Returns:
          A session whose `graph` is the original graph; it is also Keras's session from now on.

        Raises:
          GraphStateError: if no graph was built in the scope, or `config` or
            `batch_dims` comes too late.
          ArgumentError: if `batch_dims` names no tensor or dimension.
          UnsupportedGraphError: if the graph holds something that cannot be distributed.
          NodeUnavailableError: if a node of the cluster is not there in time.
        """
        if self._implicit_session is not None and not self._implicit_session.is_closed:
            if config is not None or batch_dims is not None:
                raise GraphStateError(
                    "Keras or a function already made the distributed session of this graph, without config and "
                    "batch_dims. Call create_distributed_session before model.fit, get_weights or a function."
                )
            return self._implicit_session
        return self._new_session(config, batch_dims)

    def open_session(self) -> DistributedSession | None:
        """The last session made, if it is open."""
        return None if self._session is None or self._session.is_closed else self._session

    def session_on_demand(self) -> DistributedSession:
        """The open session, or a new one: for Keras and functions, which cannot say how they want it."""
        session = self.open_session()
        if session is None:
            session = self._implicit_session = self._new_session()
        return session

    def _new_session(
        self, config: Any = None, batch_dims: Mapping[Any, int | None] | None = None
    ) -> DistributedSession:
        if self._graph is None or self._observer is None:
            raise GraphStateError(
                "there is no graph to distribute: build the model inside `with autodist.scope():` first"
            )
        check_gpus(self._spec)
        dims = BatchDims(self._graph, batch_dims)
        transformer = Transformer(
            self._graph,
            self._observer,
            self._spec,
            self._strategy_builder,
            dims,
            Builder(self._spec.replica_devices, self._spec.host_device, new_container(self._spec)),
        )
        transformer.extend()
        transformer.lower_updates()
        session = DistributedSession(transformer, make_runner(transformer, self._spec, config))
        _report(session, transformer)
        for stage in initializer_stages(self._graph):
            session.run(stage)
        session.run(self._graph.get_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS))
        self._session = session
        if self._bridge is not None:
            self._bridge.set_session(session)
        return session


def _report(session: DistributedSession, transformer: Transformer) -> None:
    split = [t.name for t in transformer.batch.roots]
    if transformer.replica_count > 1:
        if split:
            _logger.debug("split over %d replicas: %s", transformer.replica_count, ", ".join(split))
        else:
            _logger.warning(
                "nothing is split over the %d replicas: the graph has no placeholder or iterator output whose "
                "first dimension is unknown, or it is fed sparse tensors; each step computes the whole batch once",
                transformer.replica_count,
            )
    rows = session.layout_table()
    for tensor, taker in transformer.batch.fed_whole:
        _logger.log(
            logging.DEBUG if taker.type in op_kinds.ASSIGNS else logging.INFO,
            "%s is not split over the replicas: %s (%s) needs all of it",
            tensor.name,
            taker.name,
            taker.type,
        )
    for name, layout, reason in rows:
        _logger.debug("%s: %s (%s)", name, layout, reason)
    kept = [v for v in transformer.variables if v.kept]
    for variable in kept[:_MOST_REASONS]:
        _logger.info("variable %r stays %s", variable.logical.name, variable.kept)
    if len(kept) > _MOST_REASONS:
        _logger.info("and %d more variables; see session.layout_table()", len(kept) - _MOST_REASONS)
    _logger.info(
        "%d replicas, %d variables, %d of them cut into shards (session.layout_table() lists them)",
        transformer.replica_count,
        len(rows),
        sum(v.grid is not None for v in transformer.variables),
    )
