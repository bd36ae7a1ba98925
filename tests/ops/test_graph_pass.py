"""Tagged SaveV2 nodes run as AutodistSave; the user's graph keeps its SaveV2."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native

tf1 = tf.compat.v1


@pytest.fixture(autouse=True)
def graph(ops: ModuleType) -> Iterator[tf.Graph]:
    del ops  # loaded for its pass
    with tf.Graph().as_default() as graph:
        yield graph


def tag_saves(graph: tf.Graph, **attrs: tf1.AttrValue) -> list[tf.Operation]:
    saves = [op for op in graph.get_operations() if op.type == "SaveV2"]
    for op in saves:
        op._set_attr("_autodist_save", tf1.AttrValue(b=True))
        for name, value in attrs.items():
            op._set_attr(f"_autodist_{name}", value)
    return saves


def ops_run(session: tf1.Session, fetch: Any, feeds: dict[Any, Any]) -> list[str]:
    """Runs `fetch`; the types of the ops that the runtime ran for it."""
    metadata = tf1.RunMetadata()
    session.run(
        fetch, feeds, options=tf1.RunOptions(output_partition_graphs=True), run_metadata=metadata
    )
    return [node.op for partition in metadata.partition_graphs for node in partition.node]


def save_with(session: tf1.Session, saver: tf1.train.Saver, prefix: Path) -> list[str]:
    saver_def = saver.saver_def
    return ops_run(
        session, saver_def.save_tensor_name, {saver_def.filename_tensor_name: str(prefix)}
    )


def train_partitioned(axis: int, use_resource: bool) -> tf.Operation:
    variable = tf1.get_variable(
        "w", shape=[20, 30], partitioner=tf1.fixed_size_partitioner(3, axis), use_resource=use_resource,
        initializer=tf1.random_normal_initializer(seed=1),
    )  # fmt: skip
    loss = tf.reduce_sum(tf.square(tf.convert_to_tensor(variable)))
    return tf1.train.AdamOptimizer(0.1).minimize(loss)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("use_resource", [True, False])
def test_partitioned_variables_and_slots_are_saved_whole(
    axis: int, use_resource: bool, graph: tf.Graph, tmp_path: Path
) -> None:
    train = train_partitioned(axis, use_resource)
    saver = tf1.train.Saver()
    tag_saves(graph)
    init = tf1.global_variables_initializer()
    whole = {
        name: tf.concat([v for v in tf1.global_variables() if v.op.name in parts], axis)
        for name in ("w", "w/Adam", "w/Adam_1")
        for parts in [[f"w/part_{i}{name.removeprefix('w')}" for i in range(3)]]
    }
    graph.finalize()
    with tf1.Session() as session:
        session.run(init)
        session.run(train)
        ran = save_with(session, saver, tmp_path / "ckpt")
        expected = session.run(whole)
    assert "SaveV2" not in ran
    assert "AutodistSave" in ran
    assert ("AutodistPinNamedVariables" in ran) == use_resource
    assert not {"ReadVariableOp", "DisableCopyOnRead"} & set(ran)
    stored = dict(tf.train.list_variables(str(tmp_path / "ckpt")))
    assert stored == {**{name: [20, 30] for name in whole}, "beta1_power": [], "beta2_power": []}
    for name, value in expected.items():
        np.testing.assert_array_equal(tf.train.load_variable(str(tmp_path / "ckpt"), name), value)


def test_the_users_graph_is_left_alone(graph: tf.Graph, tmp_path: Path) -> None:
    train_partitioned(0, use_resource=True)
    saver = tf1.train.Saver()
    tag_saves(graph)
    init = tf1.global_variables_initializer()
    before = graph.as_graph_def()
    with tf1.Session() as session:
        session.run(init)
        save_with(session, saver, tmp_path / "ckpt")
    assert graph.as_graph_def() == before
    assert not [node.op for node in before.node if node.op.startswith("Autodist")]


def test_an_untagged_save_stays_stock(tmp_path: Path) -> None:
    train_partitioned(0, use_resource=True)
    saver = tf1.train.Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        ran = save_with(session, saver, tmp_path / "ckpt")
    assert "SaveV2" in ran
    assert not [op for op in ran if op.startswith("Autodist")]


def test_a_grid_of_slice_variables_is_saved_whole(graph: tf.Graph, tmp_path: Path) -> None:
    whole = np.arange(8 * 12, dtype=np.float32).reshape(8, 12)
    variables = []
    for row in range(2):
        for column in range(4):
            part = whole[row * 4 : row * 4 + 4, column * 3 : column * 3 + 3]
            variable = tf1.get_variable(f"part_{row}_{column}", initializer=part, use_resource=True)
            variable._set_save_slice_info(
                tf.Variable.SaveSliceInfo("grid", [8, 12], [row * 4, column * 3], [4, 3])
            )
            variables.append(variable)
    saver = tf1.train.Saver(variables)
    tag_saves(graph)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        assert "AutodistSave" in save_with(session, saver, tmp_path / "ckpt")
    np.testing.assert_array_equal(tf.train.load_variable(str(tmp_path / "ckpt"), "grid"), whole)


def test_variables_of_several_local_devices_are_read_in_place(
    graph: tf.Graph, tmp_path: Path
) -> None:
    for device in range(2):
        with tf.device(f"/cpu:{device}"):
            tf1.get_variable(
                f"v{device}", initializer=tf.fill([3], float(device)), use_resource=True
            )
    saver = tf1.train.Saver()
    tag_saves(graph)
    with tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(tf1.global_variables_initializer())
        ran = save_with(session, saver, tmp_path / "ckpt")
    assert ran.count("AutodistPinNamedVariables") == 2
    np.testing.assert_array_equal(tf.train.load_variable(str(tmp_path / "ckpt"), "v1"), [1, 1, 1])


def handle_of(name: str, **where: str) -> Any:
    return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], name=name, **where)


def save_of_handles(handles: dict[str, Any], prefix: Path) -> Any:
    return tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[*handles],
        shape_and_slices=[""] * len(handles),
        tensors=[
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
            for handle in handles.values()
        ],
    )


def test_handles_are_not_run_for_variables_that_have_names(graph: tf.Graph, tmp_path: Path) -> None:
    handles = {
        # TensorFlow does not name it after its node.
        "unnamed": handle_of("plain"),
        "shared": handle_of("a", shared_name="b"),
        "other": handle_of("b", shared_name="b"),
        "contained": handle_of("d", container="c", shared_name="b"),
        "not contained": handle_of("e", shared_name="d"),
    }
    numbers = {name: float(number) for number, name in enumerate(handles)}
    fill = [
        tf.raw_ops.AssignVariableOp(resource=handle, value=[numbers[name]])
        for name, handle in handles.items()
    ]
    save = save_of_handles(handles, tmp_path / "ckpt")
    has_value = tf.raw_ops.VarIsInitializedOp(resource=handles["unnamed"])
    tag_saves(graph)
    with tf1.Session() as session:
        # One variable has two handles.
        session.run([op for op in fill if op is not fill[2]])
        ran = ops_run(session, save, {})
        assert "AutodistSave" in ran
        assert not {"VarHandleOp", "ReadVariableOp", "AutodistPinVariables"} & set(ran)
        # A handle that another op takes is run for that.
        ran = ops_run(session, [has_value, save], {})
        assert {"AutodistPinNamedVariables", "VarHandleOp"} <= set(ran)
    expected = {**numbers, "other": numbers["shared"]}
    for name, number in expected.items():
        assert tf.train.load_variable(str(tmp_path / "ckpt"), name) == [number]


def test_a_handle_that_waits_for_an_op_keeps_its_place(graph: tf.Graph, tmp_path: Path) -> None:
    variable = tf1.get_variable("v", initializer=[1.0], use_resource=True)
    with tf.control_dependencies([variable.assign([2.0])]):
        handle = handle_of("late", shared_name="v")
    save = save_of_handles({"v": handle}, tmp_path / "ckpt")
    tag_saves(graph)
    with tf1.Session() as session:
        session.run(variable.initializer)
        ran = ops_run(session, save, {})
        assert {"AutodistPinVariables", "VarHandleOp"} <= set(ran)
    assert tf.train.load_variable(str(tmp_path / "ckpt"), "v") == [2.0]


def test_a_variable_without_a_value_is_named_as_by_stock(graph: tf.Graph, tmp_path: Path) -> None:
    handle = handle_of("h", container="c", shared_name="missing")
    save = save_of_handles({"v": handle}, tmp_path / "ckpt")
    read = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    tag_saves(graph)
    with tf1.Session() as session:
        for op in (save, read):
            with pytest.raises(tf.errors.FailedPreconditionError) as raised:
                session.run(op)
            assert "Could not find variable missing" in raised.value.message
            assert "container=c" in raised.value.message


def test_as_many_containers_as_names_are_needed(graph: tf.Graph) -> None:
    pins = _native.ops().autodist_pin_named_variables(containers=["", ""], names=["v"])
    with (
        tf1.Session() as session,
        pytest.raises(tf.errors.InvalidArgumentError, match="2 containers but 1 names"),
    ):
        session.run(pins.op)


def test_replicas_are_aggregated_as_the_tag_says(graph: tf.Graph, tmp_path: Path) -> None:
    values = [
        tf1.get_variable(f"v{i}", initializer=[float(i)], use_resource=True) for i in range(3)
    ]
    save = tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "ckpt"), tensor_names=["sum", "sum", "mean", "mean"], shape_and_slices=[""] * 4,
        tensors=[values[1], values[2], values[1], values[2]],
    )  # fmt: skip
    aggregations = tf1.AttrValue.ListValue(s=[b"SUM", b"SUM", b"MEAN", b"MEAN"])
    tag_saves(graph, aggregations=tf1.AttrValue(list=aggregations), threads=tf1.AttrValue(i=2))
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        session.run(save)
    assert tf.train.load_variable(str(tmp_path / "ckpt"), "sum") == [3.0]
    assert tf.train.load_variable(str(tmp_path / "ckpt"), "mean") == [1.5]


def test_the_wrong_number_of_aggregations_is_refused(graph: tf.Graph, tmp_path: Path) -> None:
    save = tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "ckpt"),
        tensor_names=["a"],
        shape_and_slices=[""],
        tensors=[tf.constant(1.0)],
    )
    tag_saves(graph, aggregations=tf1.AttrValue(list=tf1.AttrValue.ListValue(s=[b"MEAN"] * 2)))
    with (
        tf1.Session() as session,
        pytest.raises(tf.errors.InvalidArgumentError, match="saves 1 tensors but has 2"),
    ):
        session.run(save)


def test_a_fed_value_is_what_is_saved(graph: tf.Graph, tmp_path: Path) -> None:
    variable = tf1.get_variable("v", initializer=[1.0], use_resource=True)
    saver = tf1.train.Saver()
    [save] = tag_saves(graph)
    with tf1.Session() as session:
        session.run(variable.initializer)
        for feeds, expected in (({}, [1.0]), ({save.inputs[3]: [7.0]}, [7.0]), ({}, [1.0])):
            session.run(
                saver.saver_def.save_tensor_name, {**feeds, "save/Const:0": str(tmp_path / "ckpt")}
            )
            assert tf.train.load_variable(str(tmp_path / "ckpt"), "v") == expected


def test_control_dependencies_are_kept(graph: tf.Graph, tmp_path: Path) -> None:
    variable = tf1.get_variable("v", initializer=[1.0], use_resource=True)
    with tf.control_dependencies([variable.assign([2.0])]):
        value = tf.identity(variable.read_value())
    save = tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "ckpt"), tensor_names=["v"], shape_and_slices=[""], tensors=[value]
    )
    with tf.control_dependencies([save]):
        after = variable.assign([3.0])
    tag_saves(graph)
    with tf1.Session() as session:
        session.run(variable.initializer)
        assert "AutodistPinNamedVariables" in ops_run(session, after, {})
    assert tf.train.load_variable(str(tmp_path / "ckpt"), "v") == [2.0]


def test_a_read_that_others_wait_for_keeps_its_place(graph: tf.Graph, tmp_path: Path) -> None:
    variable = tf1.get_variable("v", initializer=[1.0], use_resource=True)
    value = variable.read_value()
    with tf.control_dependencies([value]):
        update = variable.assign([2.0])
    with tf.control_dependencies([update]):
        save = tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "ckpt"),
            tensor_names=["v"],
            shape_and_slices=[""],
            tensors=[value],
        )
    tag_saves(graph)
    with tf1.Session() as session:
        session.run(variable.initializer)
        session.run(save)
    assert tf.train.load_variable(str(tmp_path / "ckpt"), "v") == [1.0]


def test_an_uninitialized_variable_is_refused_in_tensorflows_words(
    graph: tf.Graph, tmp_path: Path
) -> None:
    tf1.get_variable("v", initializer=[1.0], use_resource=True)
    saver = tf1.train.Saver()
    tag_saves(graph)
    with (
        tf1.Session() as session,
        pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable v"),
    ):
        save_with(session, saver, tmp_path / "ckpt")
    assert list(tmp_path.iterdir()) == []
