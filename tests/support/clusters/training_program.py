"""Saves while four workers, processes of their own, train between graphs without pause.

`python -m support.clusters.training_program DIRECTORY [SAVES]` saves so often by each way (50 times if it is not said).

Each update adds one to all elements of a shard, so that a shard as it was at one instant has equal elements. Under
`ResourceScatterAdd` each worker has rows of its own, which are equal: TensorFlow lets several such updates run at once,
and two of the same row would lose one. How many shards stock TensorFlow tears is told beside. Ref variables are
promised no more than that stock TensorFlow reads the checkpoint.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

WORKERS = 4
SERVERS = 2
SHARDS = 4
ROWS, COLUMNS = 1024, 256
NAMES = ("dense", "rows", "locked")


def update(name: str, shard: Any, worker: int) -> Any:
    """An update of a shard by a worker; rows are written in place."""
    if name == "dense":
        return shard.assign_add(tf.ones(shard.shape), read_value=False)
    if name == "rows":
        own = tf.range((worker - 1) * ROWS // WORKERS, worker * ROWS // WORKERS)
        ones = tf.ones([ROWS // WORKERS, COLUMNS])
        return tf.raw_ops.ResourceScatterAdd(resource=shard.handle, indices=own, updates=ones)
    return tf.raw_ops.ResourceScatterNdAdd(
        ref=shard.handle,
        indices=tf.range(ROWS)[:, tf.newaxis],
        updates=tf.ones(shard.shape),
        use_locking=True,
    )


def build(worker: int) -> list[Any]:
    """The variables on the servers; returns the updates of a worker, in no order."""
    updates = []
    setter = tf1.train.replica_device_setter(ps_tasks=SERVERS, worker_device="/job:worker/task:0")
    with tf1.device(setter):
        for name in NAMES:
            for shard in tf1.get_variable(
                name,
                [SHARDS * ROWS, COLUMNS],
                initializer=tf1.zeros_initializer(),
                partitioner=tf1.fixed_size_partitioner(SHARDS),
                use_resource=True,
            ):
                # All of it beside the variable: updates shall take little but the time that they are in the variable.
                with tf1.device(shard.device):
                    updates.append(update(name, shard, worker))
        ref = tf1.get_variable(
            "ref", [ROWS, COLUMNS], initializer=tf1.zeros_initializer(), use_resource=False
        )
        with tf1.device(ref.device):
            updates.append(tf1.assign_add(ref, tf.ones(ref.shape)).op)
    return updates


def work(cluster: dict[str, list[str]], number: int) -> None:
    """Trains until it is killed."""
    server = tf.distribute.Server(
        tf.train.ClusterSpec(cluster), job_name="worker", task_index=number
    )
    with tf.Graph().as_default():
        updates = build(number)
        config = tf1.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{number}"])
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf1.Session(server.target, config=config) as session:
            session.run(updates)
            print("trains", flush=True)
            while True:
                session.run(updates)


def check(prefix: Path, former: dict[str, float]) -> int:
    """Has stock TensorFlow read a checkpoint; returns how many shards of resource variables are torn."""
    reader = tf.train.load_checkpoint(str(prefix))
    assert set(reader.get_variable_to_shape_map()) == {*NAMES, "ref"}
    assert reader.get_tensor("ref").shape == (ROWS, COLUMNS)
    torn = 0
    for name in NAMES:
        for number, shard in enumerate(np.split(reader.get_tensor(name), SHARDS)):
            parts = np.split(shard, WORKERS if name == "rows" else 1)
            torn += any(len(np.unique(part)) > 1 for part in parts)
            key = f"{name}/{number}"
            assert shard.sum(dtype=np.float64) > former.get(key, 0), (
                f"{prefix}: {key} was not trained meanwhile"
            )
            former[key] = float(shard.sum(dtype=np.float64))
    return torn


def main(directory: Path, saves: int) -> None:
    from autodist import load_ops
    from autodist.checkpoint.saver import Saver
    from support.clusters.ps_job import SERVER
    from support.ports import free_ports
    from support.python_programs import environment
    from support.warm_python import start_program

    load_ops()
    ports = iter(free_ports(1 + WORKERS + SERVERS))
    cluster = {
        "worker": [f"127.0.0.1:{next(ports)}" for _ in range(1 + WORKERS)],
        "ps": [f"127.0.0.1:{next(ports)}" for _ in range(SERVERS)],
    }
    told = json.dumps(cluster)
    processes = []

    def start(*command: str) -> None:
        processes.append(
            start_program(command, environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )

    def wait(first: int, word: bytes) -> None:
        for process in processes[first:]:
            assert process.stdout is not None
            assert process.stdout.readline() == word

    try:
        for number in range(SERVERS):
            start("-c", SERVER, told, str(number), "library", "", "shared")
        own = tf.distribute.Server(tf.train.ClusterSpec(cluster), job_name="worker", task_index=0)
        wait(0, b"ready\n")
        config = tf1.ConfigProto(device_filters=["/job:ps", "/job:worker/task:0"])
        with tf.Graph().as_default(), tf1.Session(own.target, config=config) as session:
            build(1)
            savers = {way: Saver(transport=way, max_to_keep=2) for way in ("shared", "stream")}
            savers["stock"] = tf1.train.Saver(sharded=True, max_to_keep=2)
            session.run(tf1.global_variables_initializer())
            for number in range(1, 1 + WORKERS):
                start("-m", "support.clusters.training_program", "worker", told, str(number))
            wait(SERVERS, b"trains\n")
            for way, saver in savers.items():
                former: dict[str, float] = {}
                torn = 0
                for step in range(saves):
                    prefix = saver.save(session, str(directory / way), step, write_meta_graph=False)
                    torn += check(Path(prefix), former)
                updates = min(former.values()) / (ROWS * COLUMNS)
                print(
                    f"{way}: {saves} saves, {torn} of {saves * len(NAMES) * SHARDS} shards torn, "
                    f"at least {updates:.0f} updates of each",
                    flush=True,
                )
                assert way == "stock" or torn == 0
            assert all(process.poll() is None for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


if sys.argv[1] == "worker":
    work(json.loads(sys.argv[2]), int(sys.argv[3]))
elif __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50)
