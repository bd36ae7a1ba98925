"""What the transformation costs is counted, not timed: ops made, ops run in a step, and work done again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.private_apis import tf_graphs
from autodist.strategy import PS, AllReduce, PartitionedAR, PartitionedPS

tf1 = tf.compat.v1


def build_mlp(layers: int) -> tuple[Any, Any, Any]:
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    hidden = x
    for i in range(layers):
        w = tf1.get_variable(f"w{i}", [4, 4], use_resource=True)
        hidden = tf.tanh(hidden @ w)
    loss = tf.reduce_mean(hidden)
    return x, loss, tf1.train.AdamOptimizer(0.1).minimize(loss)


def build_keras_mlp(layers: int) -> tuple[Any, Any, Any]:
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    variables = [tf.Variable(np.eye(4, dtype=np.float32)) for _ in range(layers)]
    hidden = x
    for w in variables:
        hidden = tf.tanh(hidden @ w)
    loss = tf.reduce_mean(hidden)
    gradients = tf.gradients(loss, variables)
    optimizer = tf.optimizers.Adam(0.1)
    return x, loss, optimizer.apply_gradients(zip(gradients, variables, strict=True))


def count_ops_and_edges(make_autodist: Any, build: Any, layers: int) -> tuple[int, int, int]:
    """Ops of the original graph; ops and edges of the transformed one."""
    with tf.Graph().as_default() as graph:
        autodist = make_autodist(AllReduce(), replicas=4)
        with autodist.scope():
            x, loss, train = build(layers)
            with autodist.create_distributed_session() as session:
                session.run([loss, train], {x: np.ones((8, 4))})
                ops = session.transformed_graph.get_operations()
        edges = sum(len(op.inputs) + len(op.control_inputs) for op in ops)
        return len(graph.get_operations()), len(ops), edges


@pytest.mark.parametrize("build", [build_mlp, build_keras_mlp])
def test_ops_and_edges_grow_linearly_with_the_graph(
    build: Callable[[int], Any], make_autodist: Any
) -> None:
    sizes = [count_ops_and_edges(make_autodist, build, layers) for layers in (10, 20, 40)]
    for small, middle, large in zip(*sizes, strict=True):
        assert large - middle <= 2.1 * (middle - small)


def test_no_more_than_four_ops_are_made_of_one_on_four_replicas(make_autodist: Any) -> None:
    original, made, _ = count_ops_and_edges(make_autodist, build_mlp, 20)
    assert made <= 4 * original


def test_a_second_run_of_the_same_fetches_makes_no_op(
    distribute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, (x, loss, train) = distribute(lambda: build_mlp(3), PartitionedPS())
    session.run([loss, train], {x: np.ones((8, 4))})
    version = session.transformed_graph.version

    def refuse(*args: Any) -> None:
        raise AssertionError(args)

    monkeypatch.setattr(tf_graphs.OpTemplate, "__init__", refuse)
    session.run([loss, train], {x: np.ones((6, 4))})
    assert session.transformed_graph.version == version


def run_partitions(session: Any, fetches: Any, feeds: Any) -> list[Any]:
    """The graphs that TensorFlow runs, one per device."""
    metadata = tf1.RunMetadata()
    session.run(fetches, feeds, tf1.RunOptions(output_partition_graphs=True), metadata)
    return [graph for graph in metadata.partition_graphs if graph.node]


def count_sends(graphs: list[Any]) -> int:
    return sum(node.op == "_Send" for graph in graphs for node in graph.node)


def test_a_gradient_crosses_between_replicas_once_each_way(distribute: Any) -> None:
    layers = 6
    session, (x, loss, train) = distribute(lambda: build_mlp(layers), AllReduce())
    graphs = run_partitions(session, [loss, train], {x: np.ones((8, 4))})
    assert len(graphs) == 2
    # Gradients there, means back; part of the batch, sizes, loss, Adam's rate and the ends of the updates.
    assert count_sends(graphs) <= 2 * layers + 12


def test_a_loop_of_a_replica_stays_on_its_device(distribute: Any) -> None:
    def build() -> tuple[Any, Any, Any]:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        w = tf1.get_variable("w", [4, 4], use_resource=True)
        _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y @ w)), [0, x])
        loss = tf.reduce_mean(y)
        return x, loss, tf1.train.GradientDescentOptimizer(0.1).minimize(loss)

    tf1.enable_control_flow_v2()
    session, (x, loss, train) = distribute(build, AllReduce())
    for graph in run_partitions(session, [loss, train], {x: np.ones((8, 4))}):
        loops = {node.name.startswith("replica_1/") for node in graph.node if node.op == "Merge"}
        assert len(loops) == 1


def test_a_constant_that_replicas_have_copies_of_can_be_fed(distribute: Any) -> None:
    def build() -> tuple[Any, Any, Any]:
        x = tf1.placeholder(tf.float32, [None], "x")
        scale = tf.constant(2.0, name="scale")
        return x, scale, x * scale

    session, (x, scale, y) = distribute(build, PS())
    assert session.run(y, {x: [1.0, 2.0, 3.0]}).tolist() == [2.0, 4.0, 6.0]
    assert session.run(y, {x: [1.0, 2.0, 3.0], scale: 5.0}).tolist() == [5.0, 10.0, 15.0]
    assert session.run(scale) == 2.0


def build_cut(layers: int) -> tuple[Any, Any, Any]:
    """Variables that are cut into three shards of even or of different sizes."""
    x = tf1.placeholder(tf.float32, [None, 6], "x")
    hidden = x
    for i in range(layers):
        size = 6 if i % 2 else 7
        w = tf1.get_variable(f"w{i}", [hidden.shape[1], size], use_resource=True)
        hidden = tf.tanh(hidden @ w)
    loss = tf.reduce_mean(hidden)
    return x, loss, tf1.train.AdamOptimizer(0.1).minimize(loss)


def test_a_gradient_is_cut_by_one_op_on_each_replica(distribute: Any) -> None:
    layers, replicas = 6, 3
    strategy = PartitionedAR(min_variable_bytes=0)
    session, (x, loss, train) = distribute(lambda: build_cut(layers), strategy, replicas)
    graphs = run_partitions(session, [loss, train], {x: np.ones((9, 6))})
    types = [node.op for graph in graphs for node in graph.node]
    assert sum(op in ("Split", "SplitV") for op in types) == layers * replicas
    assert "Slice" not in types
    # Gradients there, whole means back; as where nothing is cut.
    assert count_sends(graphs) <= 2 * (replicas - 1) * layers + 12 * (replicas - 1)


def test_constants_of_splits_are_shared(distribute: Any) -> None:
    counts = []
    for layers in (4, 8):
        strategy = PartitionedAR(min_variable_bytes=0)
        with tf.Graph().as_default():
            session, _ = distribute(lambda n=layers: build_cut(n), strategy, 3)
            names = [op.name for op in session.transformed_graph.get_operations()]
        counts.append(sum(name.startswith(("split/axis", "split/sizes")) for name in names))
    assert counts[0] == counts[1] <= 4 * 3


def test_initializers_run_before_the_graph_of_the_step_is_there(
    make_autodist: Any, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    extended = []
    stock = tf1.Session._extend_graph

    def extend(session: Any) -> None:
        extended.append({op.type for op in session.graph.get_operations()})
        stock(session)

    monkeypatch.setattr(tf1.Session, "_extend_graph", extend)
    autodist = make_autodist(PartitionedAR(min_variable_bytes=0), 3)
    with autodist.scope():
        build_cut(2)
        with autodist.create_distributed_session() as session:
            assert "ResourceApplyAdam" not in extended[0]
            # What cannot be distributed is refused all the same before the session is returned.
            types = {op.type for op in session.transformed_graph.get_operations()}
            assert "ResourceApplyAdam" in types


def test_a_save_adds_no_op_to_the_graph_of_a_session(
    make_autodist: Any, graph: Any, tmp_path: Any
) -> None:
    autodist = make_autodist(PartitionedPS(min_variable_bytes=0), 3)
    with autodist.scope():
        x, loss, train = build_cut(3)
        saver = Saver()
        with autodist.create_distributed_session() as session:
            session.run([loss, train], {x: np.ones((9, 6))})
            version = session.transformed_graph.version
            saver.save(session, str(tmp_path / "m"), write_meta_graph=False)
            assert session.transformed_graph.version == version
