"""`AutoDist`: makes a single-node graph distributed.

autodist = AutoDist("resource_spec.yml", PartitionedPS())
with tf.Graph().as_default(), autodist.scope():
    ...                                          # an ordinary single-node model
    sess = autodist.create_distributed_session()
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist.cluster import own_task
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.cluster.upstream_view import ClusterView
from autodist.errors import ArgumentError, ArgumentTypeError, GraphStateError
from autodist.graph.analysis.batch.batch_dims import BatchDims
from autodist.graph.building.ops.builder import Builder
from autodist.graph.original.observed.observer import Observer
from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_variables
from autodist.process.garbage import collection_paused
from autodist.scope.keras_bridge import KerasBridge
from autodist.scope.ref_variables import RefVariables
from autodist.scope.sessions import ScopeSessions
from autodist.scope.step_function import step_function
from autodist.session.distributed_session import DistributedSession
from autodist.session.explain import Explanation, explain_transformer
from autodist.session.runner.runners import Runner
from autodist.session.runner.setup import check_gpus, make_runner, new_container
from autodist.strategy import PSLoadBalancing, StrategyBuilder

IS_AUTODIST_CHIEF = True
"""True wherever the program runs, since only the chief runs it.

Programs written for AutoDist of 2020 import it.
"""


class AutoDist:
    """Distributes the graph that is built in its scope.

    Args:
      resource_spec_file: path of a YAML resource spec; see `autodist.cluster.spec.resource_spec`.
        None: the cluster that the environment variable `TF_CONFIG` describes. In a process that is
        not the chief of that cluster the call serves until the chief ends, and then ends the
        process.
      strategy_builder: decides which layout each variable gets; None: `PSLoadBalancing()`.
      batch_statistics: "replica": batch normalisation in training uses the statistics of each
        replica's rows, which a warning says. "global": it uses those of the whole batch, as one
        node does. Then a step is slower, and a batch that goes through
        `tf.compat.v1.nn.fused_batch_norm` is not split.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file, or `TF_CONFIG`, is not a resource spec, or `batch_statistics` is
        neither of the two.
      TypeError: if `strategy_builder` is not a `StrategyBuilder`.
      GraphStateError: if `TF_CONFIG` says that this process is not the one that runs the program.
    """

    def __init__(
        self,
        resource_spec_file: str | None = None,
        strategy_builder: StrategyBuilder | None = None,
        *,
        batch_statistics: str = "replica",
    ) -> None:
        if strategy_builder is None:
            strategy_builder = PSLoadBalancing()
        if not isinstance(strategy_builder, StrategyBuilder):
            raise ArgumentTypeError(
                "strategy_builder must be an instance of autodist.strategy.StrategyBuilder, such "
                f"as PartitionedPS(); found {strategy_builder!r}"
            )
        if resource_spec_file is None:
            self._spec = ResourceSpec.from_environment()
            own_task.serve_unless_chief(self._spec)
        else:
            self._spec = ResourceSpec.from_file(resource_spec_file)
            own_task.check_given_spec(resource_spec_file)
        self._strategy_builder = strategy_builder
        self._batch_statistics = _check_statistics(batch_statistics)
        self._cluster = ClusterView(self._spec)
        self._graph: Any = None
        self._observer: Observer | None = None
        self._bridge: KerasBridge | None = None
        self._sessions: ScopeSessions | None = None
        self._open_scopes = 0
        self._patches = contextlib.ExitStack()
        self._lock = threading.RLock()
        self._session: DistributedSession | None = None

    @property
    def resource_spec(self) -> ResourceSpec:
        """The machines and their devices."""
        return self._spec

    @contextlib.contextmanager
    def scope(self) -> Iterator[AutoDist]:
        """The context in which the single-node graph is built.

        The graph is the default graph, or, where TensorFlow executes eagerly, one made here that is
        the default inside the scope. Variables are resource variables in it, also after
        `tf.compat.v1.disable_v2_behavior()`. A `tf.compat.v1.Session` on this graph that is made
        inside is a distributed session; see `autodist.scope.sessions`. The scope may be entered
        again for the same graph.

        Raises:
          GraphStateError: if it was entered before with another graph.
        """
        with contextlib.ExitStack() as stack:
            self._take_graph()
            if tf.executing_eagerly():
                stack.enter_context(self._graph.as_default())
            elif tf.compat.v1.get_default_graph() is not self._graph:
                raise GraphStateError(
                    "this AutoDist already has a graph, and the default graph is another one. "
                    "Make one AutoDist per graph."
                )
            stack.enter_context(self._watched())
            yield self

    def _take_graph(self) -> None:
        """Takes the graph of the first scope."""
        with self._lock:
            if self._graph is None:
                eager = tf.executing_eagerly()
                self._graph = tf.Graph() if eager else tf.compat.v1.get_default_graph()
                self._observer = Observer(self._graph)
                _OF_GRAPH[self._graph] = weakref.ref(self)
                self._bridge = KerasBridge(self._graph, self.session_on_demand)
                self._sessions = ScopeSessions(self._graph, self._session_parts)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Observes how the graph is built, while a scope is open in any thread."""
        assert self._observer is not None
        assert self._bridge is not None
        assert self._sessions is not None
        with self._lock:
            if self._open_scopes == 0:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(self._observer.observing())
                    stack.enter_context(self._bridge.connected())
                    stack.enter_context(self._sessions.distributed())
                    stack.enter_context(tf_variables.resource_variables_by_default())
                    stack.enter_context(RefVariables(self._graph).allowed())
                    self._patches = stack.pop_all()
            self._open_scopes += 1
        try:
            yield
        finally:
            with self._lock:
                self._open_scopes -= 1
                if self._open_scopes == 0:
                    self._patches.close()

    def building(self) -> contextlib.AbstractContextManager[AutoDist]:
        """Returns a context manager that enters the scope unless it is open."""
        return contextlib.nullcontext(self) if self._open_scopes else self.scope()

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a function: its first call builds a graph, every call runs it distributed.

        NumPy arrays among the arguments, also inside of tuples, lists and dicts, are fed. Their
        first dimension is the batch, which is split over the replicas. Anything else (tensors,
        numbers, objects) becomes part of the graph. As with `tf.function`, arguments of another
        kind, dtype or shape behind the first dimension build another graph.

        Args:
          function: returns a structure of tensors, variables and ops.

        Returns:
          A function with the same arguments that returns the same structure of values, with None
          for each op. `create_distributed_session()` returns the session that it runs in.
        """
        return step_function(self, function)

    def create_distributed_session(
        self,
        config: Any = None,
        batch_dims: Mapping[Any, int | None] | None = None,
        init_feed_dict: Mapping[Any, Any] | None = None,
        batch_statistics: str | None = None,
    ) -> DistributedSession:
        """Transforms the graph, starts a session on it and initialises its variables and tables.

        If a session of an earlier call, of Keras or of a function is open, this returns it, and
        initialises what was added to the graph since. Variables that have a value keep it.
        Initializers that depend on a placeholder that is not fed are left to the user, with a
        warning.

        Args:
          config: a `tf.compat.v1.ConfigProto` for the session; its CPU device count is raised to
            what the resource spec lists, and soft placement is switched on.
          batch_dims: by tensor, `tensor.ref()` or name, the dimension along which a tensor is split
            over the replicas, if that is not the first. None gives each replica all of the tensor.
          init_feed_dict: values that initializers need, by tensor.
          batch_statistics: "replica" or "global", as for `AutoDist`; default: what was given there.

        Returns:
          A session whose `graph` is the original graph; it is also Keras's session from now on.

        Raises:
          GraphStateError: if no graph was built in the scope, or `config` or
            `batch_dims` comes too late.
          ArgumentError: if `batch_dims` names no tensor or dimension.
          UnsupportedGraphError: if the graph holds something that cannot be distributed.
          NodeUnavailableError: if a node of the cluster is not there in time.
        """
        with self._lock, collection_paused():
            if batch_statistics is not None:
                _check_statistics(batch_statistics)
            session = self.open_session()
            options = (config, batch_dims, batch_statistics)
            if session is not None and any(option is not None for option in options):
                raise GraphStateError(
                    "an earlier create_distributed_session, Keras or a function already made the "
                    "distributed session of this graph, which is open: config, batch_dims and "
                    "batch_statistics come too late for it. Give them to the first call, before "
                    "model.fit, get_weights or a function; or close that session."
                )
            return self._initialized(
                session or self._new_session(config, batch_dims, batch_statistics), init_feed_dict
            )

    def open_session(self) -> DistributedSession | None:
        """The last session made, if it is open."""
        return None if self._session is None or self._session.is_closed else self._session

    def session_on_demand(self) -> DistributedSession:
        """Returns the open session or a new one with defaults, for Keras and functions."""
        with self._lock, collection_paused():
            return self.open_session() or self._initialized(self._new_session())

    def _initialized(
        self, session: DistributedSession, init_feed_dict: Mapping[Any, Any] | None = None
    ) -> DistributedSession:
        """Makes a session the open one, once all variables have their values."""
        session.initialize(init_feed_dict)
        self._session = session
        if self._bridge is not None:
            self._bridge.set_session(session)
        return session

    def _new_session(
        self,
        config: Any = None,
        batch_dims: Mapping[Any, int | None] | None = None,
        batch_statistics: str | None = None,
    ) -> DistributedSession:
        transformer = self._transformer(batch_dims, batch_statistics)
        transformer.extend()
        if self._spec.is_cluster:
            # Refuses what cannot be distributed, before servers are started.
            transformer.make_updates()
        return DistributedSession(transformer, make_runner(transformer, self._spec, config))

    def _session_parts(self, config: Any) -> tuple[Transformer, Runner]:
        """Returns the parts of a session that is made before or while the graph is built."""
        transformer = self._transformer(None)
        return transformer, make_runner(transformer, self._spec, config)

    def explain(self, graph: Any = None) -> Explanation:
        """Explains the graph built so far: which batches are split and why, and how variables lie.

        Nothing is started. Of an open session, use `session.explain()`.

        Args:
          graph: the graph; default: the one of the scope.

        Raises:
          GraphStateError: if no graph was built in the scope, or `graph` is another one.
          UnsupportedGraphError: if the graph holds something that cannot be distributed.
        """
        if graph is not None and graph is not self._graph:
            raise GraphStateError(
                "the graph to explain is not the one that was built in this AutoDist's scope"
            )
        session = self.open_session()
        if session is not None:
            return session.explain()
        transformer = self._transformer(None)
        transformer.extend()
        return explain_transformer(transformer)

    def _transformer(
        self, batch_dims: Mapping[Any, int | None] | None, batch_statistics: str | None = None
    ) -> Transformer:
        if self._graph is None or self._observer is None:
            raise GraphStateError(
                "there is no graph to distribute: build the model inside `with autodist.scope():` "
                "first"
            )
        check_gpus(self._spec)
        dims = BatchDims(self._graph, batch_dims)
        return Transformer(
            self._graph,
            self._observer,
            self._spec,
            self._strategy_builder,
            dims,
            Builder(self._spec.replica_devices, self._spec.host_device, new_container(self._spec)),
            has_own_statistics=(batch_statistics or self._batch_statistics) == "replica",
        )


_OF_GRAPH: weakref.WeakKeyDictionary[Any, weakref.ref[AutoDist]] = weakref.WeakKeyDictionary()


def explain(graph: Any = None) -> Explanation:
    """Explains how a graph that is built in the scope of an `AutoDist` is distributed.

    See `AutoDist.explain`.

    Args:
      graph: the graph; default: the default graph.

    Raises:
      GraphStateError: if the graph was not built in a scope.
      UnsupportedGraphError: if it holds something that cannot be distributed.
    """
    graph = tf.compat.v1.get_default_graph() if graph is None else graph
    found = _OF_GRAPH.get(graph)
    owner = None if found is None else found()
    if owner is None:
        raise GraphStateError(
            "the graph to explain was not built in the scope of an AutoDist: build it inside `with "
            "autodist.scope():`"
        )
    return owner.explain(graph)


def _check_statistics(name: str) -> str:
    if name not in ("replica", "global"):
        raise ArgumentError(f"batch_statistics is {name!r}; expected 'replica' or 'global'")
    return name
