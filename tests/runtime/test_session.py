"""The distributed session is used as any session on the original graph is."""

import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.errors import ArgumentError

tf1 = tf.compat.v1
X = np.arange(12.0).reshape(3, 4)
Y = X @ np.ones([4, 2])


def test_its_graph_is_the_original(program: Any) -> None:
    assert program.session.graph is program.graph
    assert isinstance(program.session, tf1.Session)
    names = [op.name for op in program.graph.get_operations()]
    assert not [n for n in names if "shard" in n or "replica" in n]
    assert "autodist" not in str(program.graph.as_graph_def()).lower()


def test_the_original_graph_gets_no_ops_by_running(program: Any) -> None:
    before = program.graph.as_graph_def().SerializeToString(deterministic=True)
    program.session.run([program.loss, program.train], {program.x: X})
    program.session.run(program.w)
    assert program.graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_a_finalized_graph_still_runs(program: Any) -> None:
    program.graph.finalize()
    program.session.run([program.loss, program.train], {program.x: X})


def test_it_is_the_default_session_in_its_context(program: Any) -> None:
    with program.session.as_default():
        assert tf1.get_default_session() is program.session
        np.testing.assert_array_equal(program.y.eval({program.x: X}), Y)
        program.train.run({program.x: X})
    np.testing.assert_array_equal(program.y.eval({program.x: X}, program.session).shape, Y.shape)


def test_a_closed_session_runs_no_more(spec_file: str, build: Any) -> None:
    autodist = AutoDist(spec_file)
    with tf.Graph().as_default(), autodist.scope():
        built = build()
        with autodist.create_distributed_session() as session:
            session.run(built["w"])
        session.close()
        with pytest.raises(RuntimeError, match="closed"):
            session.run(built["w"])


def test_names_may_be_fetched_and_fed(program: Any) -> None:
    got = program.session.run(["y:0", "loss"], {"x:0": X})
    np.testing.assert_array_equal(got[0], Y)
    assert got[1] is None


@pytest.mark.parametrize(
    ("fetches", "error"),
    [("nothing:0", ValueError), (None, TypeError), (3, TypeError), (["y:0", 2.0], TypeError)],
)
def test_a_wrong_fetch_is_told_as_stock_tells_it(
    fetches: Any, error: type[Exception], program: Any
) -> None:
    with tf1.Session(graph=program.graph) as stock, pytest.raises(error) as expected:
        stock.run(fetches, {"x:0": X})
    with pytest.raises(error) as got:
        program.session.run(fetches, {"x:0": X})
    assert str(got.value) == str(expected.value)


def test_a_tensor_of_another_graph_is_refused(program: Any) -> None:
    with tf.Graph().as_default():
        other = tf.constant(1.0)
    with pytest.raises(ValueError, match="is not an element of this graph"):
        program.session.run(other)


def test_make_callable_gives_what_run_gives(program: Any) -> None:
    call = program.session.make_callable([program.y, program.loss], [program.x])
    expected = program.session.run([program.y, program.loss], {program.x: X})
    for _ in range(2):
        got = call(X)
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1] == expected[1]


def test_make_callable_trains(program: Any) -> None:
    step = program.session.make_callable(program.train, [program.x])
    before = program.session.run(program.w)
    assert step(X) is None
    assert (program.session.run(program.w) != before).all()


def test_a_callable_counts_its_arguments(program: Any) -> None:
    call = program.session.make_callable(program.y, [program.x])
    with pytest.raises(ArgumentError, match="takes 1 feed values, got 2"):
        call(X, X)


def test_options_and_metadata_reach_the_run(program: Any) -> None:
    options = tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE)
    metadata = tf1.RunMetadata()
    program.session.run(program.loss, {program.x: X}, options, metadata)
    devices = {d.device for d in metadata.step_stats.dev_stats}
    assert {"CPU:0", "CPU:1"} <= {d[-5:] for d in devices}


def test_the_graphs_that_ran_come_with_the_metadata(program: Any) -> None:
    options = tf1.RunOptions(output_partition_graphs=True)
    metadata = tf1.RunMetadata()
    program.session.run(program.loss, {program.x: X}, options, metadata)
    nodes = [node for graph in metadata.partition_graphs for node in graph.node]
    assert {"CPU:0", "CPU:1"} <= {node.device[-5:] for node in nodes}


def test_a_value_kept_in_the_session_can_be_fed(program: Any) -> None:
    handle = program.session.run(tf1.get_session_handle(tf.constant(X, tf.float32)))
    np.testing.assert_array_equal(program.session.run(program.y, {program.x: handle}), Y)
    np.testing.assert_array_equal(handle.eval(), X)


def test_a_callable_with_feeds_takes_options_too(program: Any) -> None:
    call = program.session.make_callable(program.loss, [program.x])
    metadata = tf1.RunMetadata()
    call(X, options=tf1.RunOptions(trace_level=1), run_metadata=metadata)
    assert metadata.step_stats.dev_stats
    with pytest.raises(TypeError, match="feed_list must be a list"):
        program.session.make_callable(program.loss, program.x)


def test_a_callable_of_a_closed_session_is_refused(program: Any) -> None:
    call = program.session.make_callable(program.w)
    program.session.close()
    with pytest.raises(RuntimeError, match="closed"):
        call()


def test_a_stock_session_may_be_nested(program: Any) -> None:
    doubled = 2.0 * program.x
    with program.session.as_default():
        with tf1.Session() as stock:
            np.testing.assert_array_equal(stock.run(doubled, {program.x: X}), 2 * X)
        np.testing.assert_array_equal(program.y.eval({program.x: X}), Y)


def test_a_callable_takes_options(program: Any) -> None:
    metadata = tf1.RunMetadata()
    call = program.session.make_callable(program.loss, [program.x], accept_options=True)
    call(X, options=tf1.RunOptions(trace_level=1), run_metadata=metadata)
    assert metadata.step_stats.dev_stats


def test_a_timeout_ends_a_run(spec_file: str) -> None:
    autodist = AutoDist(spec_file)
    with tf.Graph().as_default(), autodist.scope():
        empty = tf1.FIFOQueue(1, tf.float32).dequeue()
        with (
            autodist.create_distributed_session() as session,
            pytest.raises(tf.errors.DeadlineExceededError),
        ):
            session.run(empty, options=tf1.RunOptions(timeout_in_ms=50))


def test_errors_name_the_original_op(program: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="placeholder tensor 'x'"):
        program.session.run(program.y)


def test_the_config_reaches_the_session(spec_file: str, build: Any) -> None:
    autodist = AutoDist(spec_file)
    config = tf1.ConfigProto(inter_op_parallelism_threads=1, device_count={"CPU": 5})
    with tf.Graph().as_default(), autodist.scope():
        build()
        with autodist.create_distributed_session(config) as session:
            cpus = [d for d in session.list_devices() if d.device_type == "CPU"]
    assert len(cpus) == 5


def test_sparse_tensors_and_slices_are_fetched(program: Any) -> None:
    sparse = tf.sparse.from_dense(tf.constant([[0.0, 2.0]]))
    slices = tf.IndexedSlices(program.w[:1], tf.constant([3]))
    got = program.session.run({"sparse": sparse, "slices": slices})
    assert got["sparse"].values.tolist() == [2.0]
    assert got["slices"].indices.tolist() == [3]


def test_threads_may_run_at_once(program: Any) -> None:
    coordinator = tf1.train.Coordinator()
    losses: list[float] = []

    def work() -> None:
        losses.extend(program.session.run(program.loss, {program.x: X}) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    coordinator.join(threads)
    assert losses == [losses[0]] * 20
