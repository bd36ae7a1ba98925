"""A program with an `AsyncCheckpointSaverHook`, which ends in some way while a save in the background runs.

It says `saving` once a listener is told of the first checkpoint; the listener goes on when there is a file `go`.

`python -m support.hooked_program DIRECTORY END SIGTERM_SECONDS`
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

import autodist
from autodist.checkpoint.hooks import running_saves

tf1 = tf.compat.v1
tf1.disable_eager_execution()
DIRECTORY, END, SIGTERM_SECONDS = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Slow(tf1.train.CheckpointSaverListener):
    def after_save(self, session: Any, global_step_value: int) -> None:
        del session
        say("saving")
        while not (DIRECTORY / "go").exists():
            time.sleep(0.01)
        say(f"saved {global_step_value}")
        if END == "failure":
            raise OSError("the listener failed")


def end(session: Any, step: Any) -> None:
    if END == "exit":
        sys.exit(3)
    if END in ("exception", "failure"):
        raise ValueError("the training failed")
    if END == "blocked":
        session.run(tf1.get_default_graph().get_tensor_by_name("blocked:0"))
    if END == "fork":
        child = os.fork()
        if child == 0:
            # The save is the parent's: nothing is to be awaited here.
            os._exit(0 if running_saves.wait_for_all(0) else 1)
        sys.exit(3 + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    while True:
        session.run(step)


def handle(number: int, frame: Any) -> None:
    del number, frame
    say("handled")
    sys.exit(4)


def main() -> None:
    if END == "handler":
        signal.signal(signal.SIGTERM, handle)
    step = tf1.train.get_or_create_global_step()
    train = tf1.assign_add(step, 1)
    tf.identity(tf.queue.FIFOQueue(1, [tf.int64], [[]]).dequeue(), name="blocked")
    hook = autodist.AsyncCheckpointSaverHook(
        str(DIRECTORY / "train"),
        save_steps=1 << 20,
        listeners=[Slow()],
        sigterm_seconds=SIGTERM_SECONDS,
    )
    threading.Thread(target=sys.stdin.read, daemon=True).start()
    with tf1.train.MonitoredTrainingSession(
        hooks=[hook], save_checkpoint_secs=None, log_step_count_steps=None
    ) as session:
        end(session, train)


main()
