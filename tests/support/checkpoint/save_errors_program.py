"""Trains in monitored sessions whose saves and restores meet errors that `file_systems.c`, preloaded, makes of calls.

    python -m support.checkpoint.save_errors_program DIRECTORY

Reads cases from standard input, a list in JSON, and prints for each a list of what is wrong. A case is a dict:

    call, errno  as `FS_CALL` and `FS_ERRNO`
    sharded      whether TensorFlow's own nodes write the files
    cluster      whether the variables lie on two servers
    transport    as of `Saver`
    at           `hook`: the save of a hook after a step; `end`: the one at the end of training; `thread`: that of a
                 `Supervisor`'s thread; `restore`: the restore of the next session
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.checkpoint.file_system_program import make_servers

tf1 = tf.compat.v1
tf1.disable_eager_execution()
tf1.logging.set_verbosity(tf1.logging.FATAL)

# How often a session is made, or a step run, before a program is taken for one that never ends.
MOST = 10


class Failing:
    """Makes calls fail from some step on, and counts sessions and steps."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._case = case
        self.sessions = 0

    def begin(self) -> None:
        os.environ.update(FS_CALL=self._case["call"], FS_ERRNO=str(self._case["errno"]))

    def end(self) -> None:
        os.environ.pop("FS_CALL", None)


class Watch(tf1.train.SessionRunHook):
    """Begins to fail after the first step."""

    def __init__(self, failing: Failing) -> None:
        self._failing = failing

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._failing.sessions += 1
        if self._failing.sessions == MOST:
            raise AssertionError("the save is tried again and again")

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self._failing.begin()


def train_monitored(case: dict[str, Any], directory: Path, failing: Failing) -> None:
    with tf.Graph().as_default():
        step = tf1.train.create_global_step()
        train_op = tf1.assign_add(step, 1)
        for task in range(2 if case["cluster"] else 0):
            with tf.device(f"/job:worker/task:{task}/cpu:0"):
                tf1.get_variable(f"v{task}", [10], use_resource=True)
        saver = Saver(sharded=case["sharded"], transport=case.get("transport"))
        hooks = [Watch(failing), tf1.train.StopAtStepHook(last_step=MOST // 2)]
        with tf1.train.MonitoredTrainingSession(
            make_servers()[0].target if case["cluster"] else "",
            scaffold=tf1.train.Scaffold(saver=saver),
            checkpoint_dir=str(directory),
            save_checkpoint_steps=1 if case["at"] == "hook" else 1000,
            save_checkpoint_secs=None,
            save_summaries_steps=None,
            save_summaries_secs=None,
            log_step_count_steps=None,
            hooks=hooks,
        ) as session:
            while not session.should_stop():
                session.run(train_op)


def train_supervised(case: dict[str, Any], directory: Path, failing: Failing) -> None:
    with tf.Graph().as_default():
        step = tf1.train.create_global_step()
        train_op = tf1.assign_add(step, 1)
        supervisor = tf1.train.Supervisor(
            logdir=str(directory),
            saver=Saver(sharded=case["sharded"]),
            summary_op=None,
            summary_writer=None,
            save_model_secs=1,
            global_step=step,
        )
        with supervisor.managed_session() as session:
            failing.begin()
            while not supervisor.should_stop():
                session.run(train_op)


def run(case: dict[str, Any], directory: Path) -> list[str]:
    """Trains; returns what is wrong with how that ended."""
    failing = Failing(case)
    train = train_supervised if case["at"] == "thread" else train_monitored
    try:
        if case["at"] == "restore":
            train_monitored({**case, "call": "none"}, directory, Failing({**case, "call": "none"}))
            failing.begin()
        train(case, directory, failing)
    except Exception as error:  # noqa: BLE001 judged below
        wrong = []
        quiet = (
            tf.errors.OutOfRangeError,
            tf.errors.AbortedError,
            tf.errors.UnavailableError,
            StopIteration,
        )
        if isinstance(error, quiet):
            wrong.append(f"of type {type(error).__name__}")
        if str(directory) not in str(error) or os.strerror(case["errno"]) not in str(error):
            wrong.append(f"does not name the checkpoint: {error}")
        if not isinstance(error, (tf.errors.OpError, OSError)):
            wrong.append(f"of type {type(error).__name__}: {error}")
        return wrong
    finally:
        failing.end()
    return ["training ended as if nothing was wrong"]


def main(root: Path) -> None:
    os.environ["FS_DIR"] = str(root)
    for number, case in enumerate(json.load(sys.stdin)):
        directory = root / str(number)
        directory.mkdir()
        print("wrong:", json.dumps(run(case, directory)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
