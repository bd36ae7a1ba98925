"""A job of parameter servers and workers, whose first worker saves whole steps when it is asked to.

A step of a worker adds one to its rows of two tables, to a dense variable and to `global_step`; with `sync`, a step of
all workers does. The first worker says when the variables are there. Then each line on its standard input is a prefix
to save to; it answers with a line, the path or the error. Other workers write a line for each line they read, after a
step that began later.

`python -m support.clusters.step_job JOB TASK CLUSTER MODE GATE`, with a `MODE` of `async` or `sync`, and a `GATE` of
`hook`, `import` or `none`.
"""

import json
import queue
import sys
import threading
from typing import Any

import tensorflow as tf

JOB, TASK, CLUSTER = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
MODE, GATE = sys.argv[4:6]

if GATE != "none":
    import autodist

    autodist.load_ops()

tf1 = tf.compat.v1
tf1.disable_eager_execution()
WORKERS, ROWS, COLUMNS = len(CLUSTER["worker"]), 50, 8


def say(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def zeros(name: str) -> Any:
    shape = [WORKERS * ROWS, COLUMNS]
    return tf1.get_variable(name, shape, tf.float64, tf1.zeros_initializer(), use_resource=True)


def build() -> tuple[Any, list[Any]]:
    """The op of a step, and hooks that it needs."""
    step = tf1.train.get_or_create_global_step()
    table = zeros("table")
    if MODE == "sync":
        optimizer = tf1.train.SyncReplicasOptimizer(
            tf1.train.MomentumOptimizer(1.0, 1.0), WORKERS, WORKERS
        )
        loss = tf.reduce_sum(table) * -1.0
        train = optimizer.minimize(loss, global_step=step)
        return train, [optimizer.make_session_run_hook(TASK == 0)]
    slot, dense = zeros("slot"), zeros("dense")
    rows, ones = tf.range(TASK * ROWS, (TASK + 1) * ROWS), tf.ones([ROWS, COLUMNS], tf.float64)
    with tf.control_dependencies([tf1.scatter_add(table, rows, ones)]):
        first = tf1.assign_add(dense, tf.ones(dense.shape, tf.float64)).op
    with tf.control_dependencies([tf1.scatter_add(slot, rows, ones)]):
        second = tf1.assign_add(step, 1).op
    return tf.group(first, second), []


class Answers(tf1.train.SessionRunHook):
    """Answers the lines of standard input between steps."""

    def __init__(self, saver: Any) -> None:
        self._saver = saver
        self._lines: queue.Queue[str] = queue.Queue()
        self._asked: list[str] = []

    def begin(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def after_create_session(self, session: Any, coord: Any) -> None:
        del session, coord
        if TASK == 0:
            say("created")

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line.strip())

    def before_run(self, run_context: Any) -> None:
        while not self._lines.empty():
            self._asked.append(self._lines.get())

    def after_run(self, run_context: Any, run_values: Any) -> None:
        asked, self._asked = self._asked, []
        for line in asked:
            if line == "stop":
                run_context.request_stop()
            elif self._saver is None:
                say(line)
            elif MODE == "sync":
                # The step of another worker ends only after the next one of this thread.
                threading.Thread(target=self._save, args=[run_context.session, line]).start()
            else:
                self._save(run_context.session, line)

    def _save(self, session: Any, prefix: str) -> None:
        try:
            step = tf1.train.get_global_step(session.graph)
            say(self._saver.save(session, prefix, step, consistency="step"))
        except (tf.errors.OpError, RuntimeError) as error:
            text = str(error).replace("\n", " ")
            say(f"{type(error).__name__}: {text}")


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
        train, hooks = build()
        saver = None
        if GATE != "none":
            from autodist import Saver, StepGateHook

            saver = Saver(timeout_seconds=15) if TASK == 0 else None
            hooks += [StepGateHook()] if GATE == "hook" else []
    with tf1.train.MonitoredTrainingSession(
        master=server.target,
        is_chief=TASK == 0,
        hooks=[*hooks, Answers(saver)],
        scaffold=tf1.train.Scaffold(saver=saver) if saver else None,
        log_step_count_steps=None,
        # A worker that has died does not answer; sessions need the others only.
        config=tf1.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{TASK}"]),
    ) as session:
        while not session.should_stop():
            session.run(train)
    say("done")


main()
