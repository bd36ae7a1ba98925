"""Tagged saves in sessions over gRPC: each process replaces its own, and one without the library runs stock."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from support.ports import free_ports
from support.python_programs import read_line, starting

tf1 = tf.compat.v1

SERVER = """
import sys
import tensorflow as tf
job, task, has_library = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
if has_library:
    from autodist import _native
    _native.ops()
jobs = {"with": sys.argv[4].split(","), "without": sys.argv[5].split(",")}
server = tf.distribute.Server(tf.train.ClusterSpec(jobs), job_name=job, task_index=task)
print("ready", flush=True)
server.join()
"""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Addresses of two tasks that loaded the library and of one that did not."""

    with_library: str
    without_library: str


@pytest.fixture(scope="module")
def cluster(ops: ModuleType) -> Iterator[Cluster]:
    del ops  # of the client, which a session over gRPC does not need
    first, second, third = (f"localhost:{port}" for port in free_ports(3))
    tasks = [("with", 0), ("with", 1), ("without", 0)]
    with starting() as start:
        servers = [
            start("-c", SERVER, job, task, job == "with", f"{first},{second}", third)
            for job, task in tasks
        ]
        assert [read_line(server) for server in servers] == ["ready"] * len(tasks)
        yield Cluster(f"grpc://{first}", f"grpc://{third}")


# The session's master, where the node runs, whether it is replaced, and how many ops pin variables:
# one, for those of its own task.
CASES = {
    "on the master, which has the library": ("with_library", "/job:with/task:0", True, 1),
    "on another task, which has the library": ("with_library", "/job:with/task:1", True, 1),
    "on another task, which has it not": ("with_library", "/job:without/task:0", False, 0),
    "with a master that has it not, on a task that has": (
        "without_library",
        "/job:with/task:0",
        True,
        1,
    ),
    "where nobody has it": ("without_library", "/job:without/task:0", False, 0),
}


@pytest.mark.parametrize("where", CASES)
def test_a_save_over_grpc(where: str, cluster: Cluster, tmp_path: Path) -> None:
    master, device, is_replaced, pins = CASES[where]
    with tf.Graph().as_default() as graph:
        for task in ("with/task:0", "with/task:1", "without/task:0"):
            with tf.device(f"/job:{task}/cpu:0"):
                tf1.get_variable(
                    f"v_{task.replace('/task:', '_')}", use_resource=True, shape=[10, 4],
                    initializer=tf1.zeros_initializer(), partitioner=tf1.fixed_size_partitioner(2),
                )  # fmt: skip
        with tf.device(f"{device}/cpu:0"):
            saver = tf1.train.Saver(tf1.global_variables())
            steps = [
                variable.assign_add(tf.ones_like(variable)) for variable in tf1.global_variables()
            ]
        for op in graph.get_operations():
            if op.type == "SaveV2":
                op._set_attr("_autodist_save", tf1.AttrValue(b=True))
        init = tf1.global_variables_initializer()
        metadata = tf1.RunMetadata()
        with tf1.Session(getattr(cluster, master)) as session:
            session.run(init)
            session.run(steps)
            saver_def = saver.saver_def
            session.run(
                saver_def.save_tensor_name,
                {saver_def.filename_tensor_name: str(tmp_path / "ckpt")},
                options=tf1.RunOptions(output_partition_graphs=True),
                run_metadata=metadata,
            )
            session.run(steps)
            trained = session.run(tf1.global_variables())
    ran = [node.op for partition in metadata.partition_graphs for node in partition.node]
    assert ("AutodistSave" in ran, "SaveV2" in ran) == (is_replaced, not is_replaced)
    assert ran.count("AutodistPinNamedVariables") == pins
    np.testing.assert_array_equal(trained, np.full([6, 5, 4], 2))
    for name, shape in tf.train.list_variables(str(tmp_path / "ckpt")):
        assert shape == [10, 4]
        np.testing.assert_array_equal(
            tf.train.load_variable(str(tmp_path / "ckpt"), name), np.ones([10, 4])
        )
