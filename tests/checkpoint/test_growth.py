"""The work and the graphs of a save or restore grow with variables, shards and tasks, and not with their square."""

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.restoring.restore_graph import RestoreGraph
from autodist.checkpoint.distributed.sharded_save import sharded_graph, sharded_plan
from autodist.checkpoint.distributed.shared_save import save_graph, save_steps, shared_blocks
from autodist.checkpoint.distributed.tasks import user_runs
from autodist.checkpoint.distributed.variables import own_graph_handles, restore_targets, sources
from autodist.checkpoint.graph import object_checkpoint
from autodist.checkpoint.saver import Saver
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.layout import RequestEntry, RestoreRequest, SaveRequest
from autodist.private_apis import tf_variables
from autodist.strategy import GraphItem, PartitionedPS, PSLoadBalancing, VariableGroup, VariableInfo
from autodist.tf_nodes import restore_nodes, save_nodes

tf1 = tf.compat.v1
CHIEF = "/job:worker/replica:0/task:0"


def edges(graph: Any) -> int:
    return sum(len(op.inputs) + len(op.control_inputs) for op in graph.get_operations())


def assert_linear(measure: Callable[[int], float], sizes: Sequence[int]) -> None:
    """The second doubling may add twice what the first adds; a square adds four times as much."""
    small, middle, large = (measure(size) for size in sizes)
    assert large - middle <= 2.5 * (middle - small), (small, middle, large)


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of the fastest of some runs."""
    found = []
    for _ in range(3):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def assert_no_square(prepare: Callable[[int], Callable[[], Any]], small: int) -> None:
    """32 times the size may take 200 times as long; a square takes a thousand times as long."""
    factor = 32
    short, long = (seconds(prepare(size)) for size in (small, small * factor))
    assert long <= max(short, 1e-4) * factor * 6, (short, long)


def node_of(shards: int, tasks: int) -> tuple[sources.PlacedSave, list[str]]:
    homes = [f"/job:ps/replica:0/task:{number % tasks}" for number in range(shards)]
    found = []
    for number, home in enumerate(homes):
        with tf.device(f"{home}/device:CPU:0"):
            handle = tf.raw_ops.VarHandleOp(
                dtype=tf.float32, shape=[4], shared_name=f"v{number}", name=f"v{number}"
            )
        variable = own_graph_handles.PlacedVariable(handle.op, handle.device)
        entry = RequestEntry.of_variable(f"v{number}".encode(), "", handle, tf.float32)
        found.append(sources.Source(entry, handle, variable))
    entries = tuple(source.entry for source in found)
    request = SaveRequest(entries, "original", "block", 0, durable=True)
    return sources.PlacedSave(request, tuple(found), device="", name="save", names=None), homes


def shared_edges(tasks: int) -> int:
    graph = tf.Graph()
    with tf.Graph().as_default():
        node, homes = node_of(3 * tasks, tasks)
        built = save_graph.SaveGraph(
            graph,
            node,
            homes,
            by_value=(),
            chief=CHIEF,
            without_ops=(),
            label="test",
            is_instant=True,
            has_figures=True,
        )
        blocks = shared_blocks.SharedBlocks(SimpleNamespace(graph=graph), built)  # type: ignore[arg-type]
        for task in range(len(built.tasks)):
            built.write(task, [], [], {})
            blocks._op(("sum written", task), blocks._sum_written)
            blocks._op(("sum file", task), blocks._sum_file)
    return edges(graph)


def sharded_edges(tasks: int) -> int:
    graph = tf.Graph()
    with tf.Graph().as_default():
        node, homes = node_of(3 * tasks, tasks)
        data_files = sharded_plan.plan(node, homes, CHIEF)
        sharded_graph.ShardedGraph(
            graph,
            node,
            data_files,
            homes=homes,
            chief=CHIEF,
            unsized=(),
            is_instant=True,
            has_figures=True,
        )
    return edges(graph)


def restore_edges(tasks: int) -> int:
    graph = tf.Graph()
    with tf.Graph().as_default():
        node, homes = node_of(3 * tasks, tasks)
        targets = tuple(
            restore_targets.RestoreTarget(source.entry, source.variable) for source in node.sources
        )
        wanted = restore_targets.PlacedRestore(
            RestoreRequest(node.request.entries, "before", 0), targets, (), "", None
        )
        built = RestoreGraph(graph, wanted, homes, CHIEF)
        for task in range(len(built.tasks)):
            built.sum(task)
            for is_sent in (False, True):
                built.fill(task, live=True, sent=is_sent)
    return edges(graph)


@pytest.mark.parametrize("measure", [shared_edges, sharded_edges, restore_edges])
def test_graphs_of_cluster_saves_and_restores(measure: Callable[[int], int]) -> None:
    _native.ops()
    assert_linear(measure, (8, 16, 32))


def rows_of(prefix: str, names: Sequence[str], slices: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Returns the rows of the index of a checkpoint that holds `slices` of tensors of the rank 2."""
    values = [tf.zeros([2, 4])] * len(names)
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=values)
    opened = _native.ops().autodist_open_restore(prefix, prefix, 600)
    _native.ops().autodist_drop_restore(prefix, withdraw=False)
    return list(zip(opened.keys.numpy(), opened.rows.numpy(), strict=True))


def parts(rows: Any, entries: Sequence[tuple[str, str, int, int]], tasks: int) -> int:
    """Plans a restore of (name, slice, task, number there), and returns the bytes of its parts."""
    dtype = tf.float32.as_datatype_enum
    entries = [(name, spec, dtype, *place) for name, spec, *place in entries]  # type: ignore[misc]
    plan = _native.bundle().ClusterRestorePlan("m", rows, entries, tasks)
    found = [plan.part(task) for task in range(tasks)]
    return sum(numbers.nbytes + sum(map(len, names)) for numbers, names in found)


def test_tasks_are_sent_their_part_of_a_restore_only(tmp_path: Any) -> None:
    def size_bytes(tasks: int) -> int:
        specs = [f"{2 * tasks} 4 {2 * number},2:-" for number in range(tasks)]
        rows = rows_of(str(tmp_path / f"m{tasks}"), ["v"] * tasks, specs)
        return parts(rows, [("v", spec, task, 0) for task, spec in enumerate(specs)], tasks)

    assert_linear(size_bytes, (32, 64, 128))


def test_parts_of_restores_of_many_variables(tmp_path: Any) -> None:
    def prepare(count: int) -> Callable[[], Any]:
        names = [f"v{number}" for number in range(count)]
        rows = rows_of(str(tmp_path / f"m{count}"), names, [""] * count)
        entries = [(name, "", 0, number) for number, name in enumerate(names)]
        return lambda: parts(rows, entries, 2)

    assert_no_square(prepare, 100)


def test_what_tasks_tell_of_their_variables_is_read_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepare(count: int) -> Callable[[], Any]:
        save: Any = object.__new__(save_steps.SharedSave)
        output = SimpleNamespace(can_open=False, shapes=np.tile([2, 3, 4, 0], count))
        save._graph = SimpleNamespace(
            values=[], path=None, joins={0: (range(count), None)}, joint=None
        )
        save._stock = SimpleNamespace(
            check_values=lambda feeds: None, begin=lambda: None, shapes=lambda begun: {}
        )
        save._control = SimpleNamespace(run=lambda fetches, feeds: ({0: output}, None, ()))
        save._transport = SimpleNamespace(way=None)
        _, _, shapes = save._join({}, b"", [], None)
        assert shapes == dict.fromkeys(range(count), ((3, 4), 0))
        return lambda: save._join({}, b"", [], None)

    assert_no_square(prepare, 2000)


def test_tasks_behind_device_strings() -> None:
    def prepare(count: int) -> Callable[[], Any]:
        wanted = {("ps", number) for number in range(count)} | {("worker", None)}
        listed = [("ps", number) for number in range(2 * count)] + [("worker", 7), ("chief", 0)]

        def choose() -> list[Any]:
            return [t for t in listed if not wanted.isdisjoint(user_runs._ways_to_say(*t))]

        assert choose() == [*(("ps", number) for number in range(count)), ("worker", 7)]
        return choose

    assert_no_square(prepare, 500)


def test_nodes_of_a_saver_are_read_in_one_pass() -> None:
    def prepare(count: int) -> Callable[[], Any]:
        graph = tf.Graph()
        with graph.as_default():
            variables = [
                tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[4], name=f"v{number}")
                for number in range(count)
            ]
            reads = [tf.raw_ops.ReadVariableOp(resource=v, dtype=tf.float32) for v in variables]
            names = [f"v{number}" for number in range(count)]
            save = tf.raw_ops.SaveV2(
                prefix="", tensor_names=names, shape_and_slices=[""] * count, tensors=reads
            )
            restored = tf.raw_ops.RestoreV2(
                prefix="",
                tensor_names=names,
                shape_and_slices=[""] * count,
                dtypes=[tf.float32] * count,
            )
            assigns = [
                tf.raw_ops.AssignVariableOp(resource=variable, value=value)
                for variable, value in zip(variables, restored, strict=True)
            ]
        node = restored[0].op

        def read() -> None:
            found = sources.read(save)
            assert found is not None
            assert len(found.sources) == count
            assert save_nodes.awaited_operation(save) is None
            assert len(restore_nodes.read_entries(node)) == count
            assert all(restore_nodes.assignment_by(op, {node}) for op in assigns)

        return read

    assert_no_square(prepare, 60)


def test_strategies_share_shards_out_by_the_load_of_servers() -> None:
    def info(number: int) -> VariableInfo:
        return VariableInfo(
            f"v{number}", (4096 + number, 4), "float32", 4, is_trainable=True, is_sparse=False
        )

    def prepare(count: int) -> Callable[[], Any]:
        item = GraphItem(tuple(VariableGroup((info(number),)) for number in range(8)))
        devices = SimpleNamespace(
            replica_devices=("/device:CPU:0",),
            server_devices=tuple(f"/job:ps/task:{number}/device:CPU:0" for number in range(count)),
        )

        def build() -> None:
            PartitionedPS().build(item, devices)
            PSLoadBalancing().build(item, devices)

        return build

    assert_no_square(prepare, 60)


def test_servers_of_one_host_get_ports() -> None:
    def prepare(count: int) -> Callable[[], Any]:
        nodes: list[Any] = [{"address": "localhost"} for _ in range(count)]
        nodes[0]["chief"] = True

        def parse() -> None:
            spec = ResourceSpec.from_mapping({"nodes": nodes})
            assert len({node.address for node in spec.nodes}) == count

        return parse

    assert_no_square(prepare, 50)


def test_objects_of_one_name_in_an_object_based_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepare(count: int) -> Callable[[], Any]:
        graph = tf_variables.TrackableObjectGraph()
        node = graph.nodes.add()
        for number in range(count):
            node.attributes.add(full_name="", checkpoint_key=f"key{number}")
        reader = SimpleNamespace(
            has_tensor=lambda key: True, get_tensor=lambda key: graph.SerializeToString()
        )
        monkeypatch.setattr(tf1.train, "NewCheckpointReader", lambda prefix: reader)
        return lambda: object_checkpoint.keys_by_name("m")

    assert_no_square(prepare, 300)


def test_a_save_and_a_restore_of_many_variables(tmp_path: Any) -> None:
    def prepare(count: int) -> Callable[[], Any]:
        with tf.Graph().as_default():
            variables = [
                tf1.get_variable(f"v{number}", [2], use_resource=True) for number in range(count)
            ]
            saver = Saver(variables)
            session = tf1.Session()
            session.run(tf1.global_variables_initializer())

        def save_and_restore() -> None:
            path = saver.save(session, tmp_path / f"m{count}", write_meta_graph=False)
            saver.restore(session, path)

        return save_and_restore

    assert_no_square(prepare, 12)
