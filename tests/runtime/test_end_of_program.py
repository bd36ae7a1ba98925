"""The program ends while its threads are still inside of a session: its exit code is its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.specs import write_local_spec

# Threads of every kind run until the interpreter ends them; what is destroyed last leaves them time to meet the end.
PROGRAM = """
import atexit, contextlib, os, sys, threading, time
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from autodist import AutoDist
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
tf1.disable_eager_execution()
sort, end, directory = sys.argv[1:]
os.chdir(directory)


class Last:
    def __del__(self, sleep=time.sleep, write=os.write):
        sleep(1.0)
        write(1, b"ended")


def main():
    autodist = AutoDist("2_replicas.yml")
    scope = contextlib.nullcontext() if sort == "stock" else autodist.scope()
    with tf.Graph().as_default() as graph, scope:
        w = tf1.get_variable("w", initializer=1.0, use_resource=True)
        x = tf1.placeholder(tf.float32, [])
        y = w * x
        queue = tf1.FIFOQueue(1, tf.float32, shapes=[()])
        put = queue.enqueue(w)
        tf1.train.add_queue_runner(tf1.train.QueueRunner(queue, [put] * 2))
        saver = Saver()
        if sort == "stock":
            session = tf1.Session()
            session.run(w.initializer)
        else:
            session = autodist.create_distributed_session()
        coordinator = tf1.train.Coordinator()
        tf1.train.start_queue_runners(session, coordinator)
    options = config_pb2.CallableOptions(feed=[x.name], fetch=[y.name])
    given = session._make_callable_from_options(options)
    made = session.make_callable(y, [x])
    os.makedirs("checkpoints", exist_ok=True)

    def run():
        session.run(y, {x: 1.0})

    def call():
        made(1.0)

    def call_given():
        given(np.float32(1.0))

    def partial():
        session.partial_run(session.partial_run_setup([y], [x]), y, {x: 1.0})

    def grow():
        with graph.as_default():
            more = y + 1.0
        session.run(more, {x: 1.0})

    def save():
        saver.save(session, "checkpoints/m", write_meta_graph=False)

    works = [call_given, grow, grow, grow] if sort == "growing" else [run, call, call_given, partial, save]
    counts = [0] * len(works)

    def loop(number):
        while True:
            works[number]()
            counts[number] += 1

    for number in range(len(works)):
        works[number]()
        threading.Thread(target=loop, args=(number,), daemon=True).start()
    while min(counts) < 3:
        time.sleep(0.01)
    if end == "atexit":
        atexit.register(session.close)
    if end == "error":
        threading.Thread(target=session.close, daemon=True).start()
    coordinator.request_stop()
    sys.last = Last()
    if end == "error":
        raise ValueError("the program's own")


main()
"""


@pytest.mark.parametrize(
    ("sort", "end", "code"),
    [
        ("growing", "return", 0),  # The session is never closed.
        ("growing", "error", 1),  # Another thread closes it.
        ("distributed", "atexit", 0),  # It is closed at the end.
        ("stock", "return", 0),
    ],
)
def test_threads_inside_of_a_session_do_not_abort_the_program(
    tmp_path: Path, sort: str, end: str, code: int
) -> None:
    write_local_spec(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, sort, end, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "ended"), done.stderr[-3000:]
