"""The first save of a step awaits the runs that had begun before anybody counted runs."""

from support.python_programs import run_python

PROGRAM = """
import threading, time
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from autodist.checkpoint.distributed.tasks import step_gates

tf1 = tf.compat.v1
tf1.disable_eager_execution()
variables = [
    [tf1.get_variable(f"{name}{i}", [], tf.int64, tf1.zeros_initializer(), use_resource=True) for name in "ab"]
    for i in range(3)
]

def make_step(first, last):
    with tf.control_dependencies([tf1.assign_add(first, 1)]):
        waited = tf1.py_func(lambda: time.sleep(0.2), [], [])
    with tf.control_dependencies([waited]):
        ended = tf1.assign_add(last, 1)
    with tf.control_dependencies([ended]):
        return last.read_value()

steps = [make_step(*pair) for pair in variables]
config = tf1.ConfigProto(inter_op_parallelism_threads=8, use_per_session_threads=True)
session = tf1.Session(config=config)
session.run(tf1.global_variables_initializer())
run = session.run
by_names = session._make_callable_from_options(config_pb2.CallableOptions(fetch=[steps[2].name]))
works = [lambda: run(steps[0]), session.make_callable(steps[1]), by_names]
has_begun, is_over = threading.Barrier(4), threading.Event()

def train(work):
    has_begun.wait()
    while not is_over.is_set():
        work()

threads = [threading.Thread(target=train, args=[work]) for work in works]
for thread in threads:
    thread.start()
has_begun.wait()
while min(session.run([first for first, _ in variables])) == 0:
    pass
for _ in range(5):
    with step_gates.at_rest(session, 60):
        values = session.run(variables)
        assert all(first == last for first, last in values), values
        assert values == session.run(variables)
is_over.set()
for thread in threads:
    thread.join()
print("whole steps")
"""


def test_runs_that_had_begun_before_are_awaited() -> None:
    assert run_python("-c", PROGRAM).stdout == "whole steps\n"
