"""Saves in the background while the disk is slow, and says what is there at each time.

background_save.py DIRECTORY METHOD
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import SaveHandle, SaveOptions, Saver

tf1 = tf.compat.v1
ROWS, COLUMNS = 4000, 512  # 8 MB


def latest(directory: str) -> str | None:
    """Returns the name of the checkpoint that the state file names."""
    path = tf.train.latest_checkpoint(directory)
    return None if path is None else Path(path).name


def main(directory: str, method: str) -> None:
    """Saves steps 1 and 2, and prints what happened as JSON."""
    table, dense = (
        tf1.get_variable(n, [ROWS, COLUMNS], use_resource=True, initializer=tf1.zeros_initializer())
        for n in ("table", "dense")
    )
    rows = tf.raw_ops.ResourceScatterAdd(
        resource=table.handle, indices=tf.range(ROWS), updates=tf.ones([ROWS, COLUMNS])
    )
    step = tf.group(rows, tf1.assign_add(dense, tf.ones([ROWS, COLUMNS])).op)
    saver = Saver(max_to_keep=1, options=SaveOptions(snapshot_method=method))
    told: dict[str, Any] = {}
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        session.run(step)
        saver.save(session, f"{directory}/m", 1)
        called = threading.Event()

        def call(handle: SaveHandle) -> None:
            told["at the callback"] = [handle.global_step, latest(directory)]
            called.set()

        handle = saver.save_async(session, f"{directory}/m", 2)
        told["done at once"] = handle.done()
        handle.add_done_callback(call)
        steps = 0
        while not handle.done() and steps < 2:
            session.run(step)
            steps += 1
        told["done after steps"] = handle.done()
        told["latest meanwhile"] = latest(directory)
        told["former is there"] = tf1.train.checkpoint_exists(f"{directory}/m-1")
        try:
            handle.result(timeout=0)
        except TimeoutError:
            told["result in no time"] = "TimeoutError"
        # The next one waits for it.
        start = time.monotonic()
        second = saver.save_async(session, f"{directory}/n", 3)
        told["first is done"] = handle.done()
        told["first"] = handle.result()
        told["method"] = handle.report.ops.instant_method
        called.wait(60)
        told["second"] = second.result()
        told["seconds"] = time.monotonic() - start
    print(json.dumps(told))


if __name__ == "__main__":
    with tf.Graph().as_default():
        main(*sys.argv[1:])
