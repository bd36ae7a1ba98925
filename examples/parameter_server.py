"""A parameter-server job in one script: chief, workers, parameter servers and evaluator.

`TF_CONFIG` says which task a process is, as `tf.distribute` and most cluster managers write it:

    {"cluster": {"chief": ["host-0:2222"], "worker": ["host-1:2222"], "ps": ["host-2:2222"]},
     "task": {"type": "ps", "index": 0}}

    python parameter_server.py --directory /shared/model --steps 200

Only the import of `Saver` is autodist's. Each parameter server writes its shards into one
checkpoint of whole variables. The evaluator restores it with TensorFlow's own `Saver`.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

ITEM_COUNT = 1_000
BATCH_ROWS = 64


def batch(seed):
    """Returns item numbers and the ratings that the model has to learn."""
    items = np.random.default_rng(seed).integers(0, ITEM_COUNT, size=BATCH_ROWS)
    return items, np.sin(items / 50.0)[:, np.newaxis].astype(np.float32)


def build_model(shard_count=1):
    """Builds an embedding table in `shard_count` shards, and a dense layer."""
    items = tf1.placeholder(tf.int64, [None], name="items")
    ratings = tf1.placeholder(tf.float32, [None, 1], name="ratings")
    partitioner = tf1.fixed_size_partitioner(shard_count) if shard_count > 1 else None
    table = tf1.get_variable("table", [ITEM_COUNT, 16], partitioner=partitioner)
    kernel = tf1.get_variable("kernel", [16, 1])
    predicted = tf.matmul(tf.nn.embedding_lookup(table, items), kernel)
    return items, ratings, tf.reduce_mean(tf.square(predicted - ratings))


def done_queues(cluster):
    """Returns a queue on each parameter server, to which every worker adds a word when it ends."""
    workers = cluster.num_tasks("chief") + cluster.num_tasks("worker")
    queues = []
    for task in cluster.task_indices("ps"):
        with tf1.device(f"/job:ps/task:{task}"):
            queues.append(tf.queue.FIFOQueue(workers, tf.int32, shared_name=f"done_{task}"))
    return workers, queues


def serve(cluster, task):
    """Runs a parameter server until all workers have ended."""
    server = tf.distribute.Server(cluster, job_name="ps", task_index=task)
    with tf.Graph().as_default(), tf1.Session(server.target) as session:
        workers, queues = done_queues(cluster)
        word = queues[task].dequeue()
        for _ in range(workers):
            session.run(word)


def train(cluster, job, task, directory, steps):
    """Runs the chief, which saves and initializes, or a worker."""
    server = tf.distribute.Server(cluster, job_name=job, task_index=task)
    with tf.Graph().as_default():
        worker = f"/job:{job}/task:{task}"
        setter = tf1.train.replica_device_setter(cluster=cluster, worker_device=worker)
        with tf1.device(setter):
            items, ratings, loss = build_model(shard_count=cluster.num_tasks("ps"))
            step = tf1.train.get_or_create_global_step()
            train_op = tf1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
            saver = Saver()
        _, queues = done_queues(cluster)
        ended = [queue.enqueue(1) for queue in queues]
        # A worker that dies must not keep the others from training.
        config = tf1.ConfigProto(device_filters=["/job:ps", worker])
        with tf1.train.MonitoredTrainingSession(
            master=server.target,
            is_chief=job == "chief",
            checkpoint_dir=directory,
            scaffold=tf1.train.Scaffold(saver=saver),
            hooks=[tf1.train.StopAtStepHook(last_step=steps)],
            save_checkpoint_steps=max(1, steps // 4),
            save_summaries_steps=None,
            save_summaries_secs=None,
            config=config,
        ) as session:
            seed = task
            while not session.should_stop():
                x, y = batch(seed)
                session.run(train_op, {items: x, ratings: y})
                seed += 1_000
        print(f"{job} {task}: ended at step {steps}", flush=True)
        with tf1.Session(server.target, config=config) as session:
            session.run(ended)


def evaluate(directory, steps):
    """Restores each new checkpoint in plain TensorFlow, on one node, until the last one."""
    x, y = batch(seed=12_345)
    with tf.Graph().as_default(), tf1.Session() as session:
        items, ratings, loss = build_model()
        saver = tf1.train.Saver()
        for path in tf.train.checkpoints_iterator(directory, min_interval_secs=1, timeout=600):
            saver.restore(session, path)
            value = session.run(loss, {items: x, ratings: y})
            print(f"evaluator: {Path(path).name} loss {value:.4f}", flush=True)
            if int(path.rpartition("-")[2]) >= steps:
                return


def main():
    """Runs the task of this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", required=True, help="checkpoints; all tasks must see it")
    parser.add_argument(
        "--steps", type=int, default=200, help="training steps of all workers together"
    )
    options = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    job, task = config["task"]["type"], int(config["task"]["index"])
    cluster = tf.train.ClusterSpec(config["cluster"])
    if job == "ps":
        serve(cluster, task)
    elif job == "evaluator":
        evaluate(options.directory, options.steps)
    else:
        train(cluster, job, task, options.directory, options.steps)


if __name__ == "__main__":
    main()
