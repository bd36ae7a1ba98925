"""Saves under the shim, in children that are killed, failed or recorded on the way.

    python -m support.torture.victim SHIM ROOT

Reads one task a line from standard input (JSON) and answers with one line each. A task runs in a fork, which has
TensorFlow already: every save begins in a process that never saved.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from support.torture import victim_evidence, victim_faults, victim_models

tf1 = tf.compat.v1
tf1.disable_eager_execution()
tf.get_logger().setLevel("ERROR")

MODES = {"off": 0, "count": 1, "kill": 2, "tear": 3, "fail": 4, "record": 5}
BUILDERS = {"ours": SavedModelBuilder, "stock": tf1.saved_model.builder.SavedModelBuilder}


class Shim:
    """The shim of this process, and what it is to do during a save."""

    def __init__(self, path: str, root: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.shim_name.restype = ctypes.c_char_p
        self._root = root.encode()

    def run(self, task: dict[str, Any], save: Any) -> dict[str, Any]:
        """Calls `save` with the shim armed as the task says, and tells what happened."""
        error = self._library.shim_install(self._root)
        if error:
            raise OSError(error, "no seccomp filter")
        log = -1
        if task["mode"] == "record":
            log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        mode = MODES[task["mode"]]
        self._library.shim_arm(
            mode, task.get("at", 0), task.get("errno", 0), log, int(task.get("reads", False))
        )
        answer: dict[str, Any] = {"error": None}
        try:
            save()
        except Exception as failure:  # noqa: BLE001 the report's reader judges it
            answer = {
                "error": str(failure),
                "types": [kind.__name__ for kind in type(failure).__mro__],
            }
        calls = self._library.shim_disarm()
        answer["calls"] = [
            [self._library.shim_name(call).decode(), bool(self._library.shim_is_write(call))]
            for call in range(1, calls + 1)
        ]
        return answer


@contextlib.contextmanager
def prefix_of(task: dict[str, Any]) -> Iterator[str]:
    """The prefix of a task's saves, and inside of it the current directory that it is relative to."""
    directory = Path(task["directory"])
    if task["place"] == "link":
        link = directory.parent / "link"
        if not link.is_symlink():
            link.symlink_to(directory)
        yield f"{link}/{task['prefix']}"
    elif task["place"] == "relative":
        with contextlib.chdir(directory):
            yield task["prefix"]
    else:
        yield f"{directory}/{task['prefix']}"


def run_saver(shim: Shim, task: dict[str, Any]) -> dict[str, Any]:
    """Saves versions 1, 2, ... as the task lists their steps; the last one under the shim."""
    os.environ.update(task["settings"])
    with prefix_of(task) as prefix, MODELS[task["kind"]](task) as model:
        return save_versions(shim, task, model, prefix)


def save_versions(
    shim: Shim, task: dict[str, Any], model: victim_models.Model, prefix: str
) -> dict[str, Any]:
    *before, last = task["steps"]
    if task["prefix"] == "d":
        Path(prefix).mkdir(exist_ok=True)

    def save(step: int | None) -> None:
        if task.get("asynchronous"):
            model.saver.save_async(model.session, prefix, step, task["latest_filename"]).result()
        else:
            model.saver.save(model.session, prefix, step, task["latest_filename"])

    for version, step in enumerate(before, 1):
        model.load(version)
        save(step)
    if task["recovers"]:
        state = tf.train.get_checkpoint_state(task["directory"])
        model.make_saver()
        model.saver.recover_last_checkpoints(list(state.all_model_checkpoint_paths))
    model.load(len(before) + 1)
    if task.get("snapshot"):
        snapshot(task)
    answer = shim.run(task, lambda: save(last))
    if task.get("again"):
        # Of a living process: the next save works, and leaves nothing of the failed one.
        answer["left"] = files_below(task["root"])
        answer["again"] = told(lambda: save(last))
        answer["left_again"] = files_below(task["root"])
    return answer


def run_with_fault(_: Shim, task: dict[str, Any]) -> dict[str, Any]:
    """Saves step 1, then step 2 under each amount of a fault, and after each without it."""
    # What still hangs is killed.
    signal.alarm(task["seconds_at_most"])
    directory = Path(task["directory"])
    if task["mount_bytes"]:
        victim_faults.mount_small(directory, task["mount_bytes"])
        directory = directory / "inside"
        directory.mkdir()
    model = victim_models.Model({**task, "keep": 2})
    model.load(1)
    step = 1
    model.saver.save(model.session, f"{directory}/m", step)
    outcomes = []
    for amount in task["amounts"]:
        step += 1
        model.load(step)
        outcome: dict[str, Any] = {"amount": amount, "error": None, "before": step - 1}
        try:
            with victim_faults.FAULTS[task["fault"]](directory, amount):
                model.saver.save(model.session, f"{directory}/m", task["step"] or step)
        except BaseException as failure:  # noqa: BLE001 the report's reader judges it
            outcome["error"] = str(failure)
            outcome["types"] = [kind.__name__ for kind in type(failure).__mro__]
        outcome["left"] = files_below(str(directory))
        outcome["found"] = version_found(directory)
        step += 1
        model.load(step)
        directory.mkdir(exist_ok=True)
        outcome["again"] = told(
            lambda step=step: model.saver.save(
                model.session, f"{directory}/m", task["step"] or step
            )
        )
        outcome["left_again"] = files_below(str(directory))
        outcome["found_again"] = version_found(directory)
        outcomes.append(outcome)
    return {"outcomes": outcomes}


def version_found(directory: Path) -> int | str | None:
    """The version of the checkpoint that the state file names, by TensorFlow's own reader."""
    try:
        latest = tf.train.latest_checkpoint(str(directory))
        if latest is None:
            return None
        reader = tf.train.load_checkpoint(latest)
        version = int(reader.get_tensor("small")[0])
        if (
            int(reader.get_tensor("words")[1]) != version
            or reader.get_tensor("large")[0, 0] != version
        ):
            return "not of one version"
    except Exception as failure:  # noqa: BLE001 the report's reader judges it
        return repr(failure)
    return version


def run_builder(shim: Shim, task: dict[str, Any]) -> dict[str, Any]:
    """Exports version 1 as a SavedModel with an asset."""
    model = victim_models.Model(task)
    model.load(1)
    # Where the shim does not look.
    asset = Path(sys.argv[2]).parent / "asset.txt"
    asset.write_text("asset 1")
    tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset)))
    arguments = {"durable": task["durable"]} if task["saver"] == "ours" else {}

    added = []

    def export() -> None:
        # What was added once need not be again: then `save` alone failed.
        if not added:
            builder = BUILDERS[task["saver"]](task["directory"] + "/export", **arguments)
            builder.add_meta_graph_and_variables(
                model.session,
                ["serve"],
                assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            )
            added.append(builder)
        added[0].save()

    if task.get("snapshot"):
        snapshot(task)
    answer = shim.run(task, export)
    if task.get("again"):
        answer["left"] = files_below(task["root"])
        if answer["error"] is not None:
            answer["again"] = told(export)
        answer["left_again"] = files_below(task["root"])
    return answer


def files_below(root: str) -> list[str]:
    """The paths of all files below a directory."""
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


def told(action: Any) -> str | None:
    """The error of an action, as text."""
    try:
        action()
    except Exception as failure:  # noqa: BLE001 the report's reader judges it
        return repr(failure)
    return None


def run_loop(_: Shim, task: dict[str, Any]) -> dict[str, Any]:
    """Trains, saves every version twice and prunes, from the latest checkpoint on, until it is killed."""
    model = victim_models.Model({**task, "keep": 2})
    saver = model.saver
    version = 0
    latest = tf.train.latest_checkpoint(task["directory"])
    if latest is not None:
        version = int(tf.train.load_variable(latest, "small")[0])
        saver.recover_last_checkpoints(
            list(tf.train.get_checkpoint_state(task["directory"]).all_model_checkpoint_paths)
        )
    model.load(version)
    train_ops = [
        model.large.assign_add(tf.ones_like(model.large)),
        model.small.assign_add(tf.ones_like(model.small)),
    ]
    word = tf1.placeholder(tf.string, [2])
    train_ops.append(model.words.assign(word))
    with Path(task["progress"]).open("a", encoding="ascii") as progress:
        Path(task["ready"]).touch()
        while True:
            version += 1
            model.session.run(train_ops, {word: [b"version", b"%d" % version]})
            saver.save(model.session, task["directory"] + "/m", version // 2)
            progress.write(f"{version}\n")
            progress.flush()


def snapshot(task: dict[str, Any]) -> None:
    """Copies what is on disk before the save under test, and notes the inodes."""
    copy, root = Path(task["snapshot"]), Path(task["root"])
    shutil.copytree(root, copy)
    inodes = {str(path.relative_to(root)): path.stat().st_ino for path in [root, *root.rglob("*")]}
    copy.with_suffix(".inodes").write_text(json.dumps(inodes))


MODELS = {
    "saver": victim_models.Model,
    "session": victim_models.DistributedModel,
    "monitored": victim_models.MonitoredModel,
}
RUNNERS = {
    **dict.fromkeys(MODELS, run_saver),
    "saved_model": run_builder,
    "loop": run_loop,
    "fault": run_with_fault,
    "evidence": lambda shim, task: victim_evidence.run(shim.run, task),
}


def count_lines(path: str) -> int:
    """How many lines a file has."""
    return Path(path).read_bytes().count(b"\n")


def await_saves(task: dict[str, Any], told: int) -> None:
    """Waits until a loop is ready and has saved as often as it is to, or has told why it cannot."""
    while not select.select([told], [], [], 0.002)[0]:
        if Path(task["ready"]).exists() and count_lines(task["progress"]) >= task["saves"]:
            return


def run(shim: Shim, task: dict[str, Any]) -> dict[str, Any]:
    """Runs a task in a child, and tells how that ended."""
    read_end, write_end = os.pipe()
    if "saves" in task:
        ready = Path(task["progress"]).with_suffix(".ready")
        ready.unlink(missing_ok=True)
        task |= {"ready": str(ready), "saves": task["saves"] + count_lines(task["progress"])}
    child = os.fork()
    if child == 0:
        os.close(read_end)
        answer: dict[str, Any] = {}
        try:
            answer = RUNNERS[task["kind"]](shim, task)
        except BaseException as failure:  # noqa: BLE001 told to the parent
            answer = {"broken": repr(failure)}
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    if "seconds" in task:
        await_saves(task, read_end)
        time.sleep(task["seconds"])
        os.kill(child, signal.Signals[task["signal"]])
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    answer = json.loads(told) if told else {}
    answer["signal"] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return answer


def main() -> None:
    shim = Shim(sys.argv[1], sys.argv[2])
    # Loaded before the forks.
    with contextlib.suppress(AttributeError):
        _native.ops()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(shim, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
