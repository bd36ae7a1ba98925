"""A parameter-server job as users write them; one import is ours.

It answers each file `mark_...` with a line, after a step that began later, and trains until there is a file `stop`.

`python -m support.clusters.monitored_job JOB TASK CLUSTER DIRECTORY`
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
tf1.disable_eager_execution()

JOB, TASK, CLUSTER = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
DIRECTORY = Path(sys.argv[4])


def say(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def build() -> tuple[Any, Any]:
    """A partitioned table that rows are gathered from, and a kernel; Adam."""
    numbers = tf.random.uniform([8], 0, 10, tf.int32)
    table = tf1.get_variable(
        "table", [10, 4], partitioner=tf1.fixed_size_partitioner(2), use_resource=True
    )
    kernel = tf1.get_variable("kernel", [4, 3])
    y = tf.tanh(tf.nn.embedding_lookup(table, numbers) @ kernel)
    loss = tf.reduce_mean(tf.square(y - 0.5))
    step = tf1.train.get_or_create_global_step()
    return step, tf1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)


def main() -> None:
    cluster = tf.train.ClusterSpec(CLUSTER)
    server = tf.distribute.Server(cluster, job_name=JOB, task_index=TASK)
    say("ready")
    if JOB == "ps":
        server.join()
    setter = tf1.train.replica_device_setter(
        cluster=cluster, worker_device=f"/job:worker/task:{TASK}"
    )
    with tf1.device(setter):
        step, train = build()
        scaffold = tf1.train.Scaffold(saver=Saver())
    answered: set[str] = set()
    with tf1.train.MonitoredTrainingSession(
        master=server.target,
        is_chief=TASK == 0,
        checkpoint_dir=str(DIRECTORY / "train"),
        scaffold=scaffold,
        save_checkpoint_secs=None,
        save_checkpoint_steps=25,
        log_step_count_steps=None,
        # A worker that has died does not answer; sessions need the others only.
        config=tf1.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{TASK}"]),
    ) as session:
        while not (DIRECTORY / "stop").exists():
            marks = {path.name for path in DIRECTORY.glob("mark_*")} - answered
            session.run([train, step])
            # A step that began after the mark was made.
            for mark in sorted(marks):
                say(mark)
            answered |= marks
            time.sleep(0.01)
    say("done")


main()
