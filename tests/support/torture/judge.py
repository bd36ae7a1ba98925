"""Reads what a save left behind, with stock TensorFlow only.

    python judge.py

Reads one question a line from standard input (JSON) and answers with one line each: null, or what is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
tf1.disable_eager_execution()
tf.get_logger().setLevel("FATAL")

# As many as a graph may name.
DEVICES = tf1.ConfigProto(device_count={"CPU": 4})


def check_values(prefix: str, size: int) -> int:
    """Returns the version whose values a checkpoint holds, all of them."""
    reader = tf.train.load_checkpoint(prefix)
    version = int(reader.get_tensor("small")[0])
    expected = {
        "large": (np.arange(size // 2 * 2, dtype=np.float32) % 1000 + version).reshape(
            2, size // 2
        ),
        "small": np.full([3], version),
        "words": np.array([b"version", b"%d" % version], object),
    }
    if set(reader.get_variable_to_shape_map()) != set(expected):
        raise ValueError(f"variables {sorted(reader.get_variable_to_shape_map())}")
    for name, value in expected.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)
    return version


def check_graph(prefix: str, version: int) -> None:
    """Restores through the graph that stands beside a checkpoint."""
    with tf.Graph().as_default(), tf1.Session(config=DEVICES) as session:
        saver = tf1.train.import_meta_graph(prefix + ".meta")
        saver.restore(session, prefix)
        if session.run("small/Read/ReadVariableOp:0").tolist() != [version] * 3:
            raise ValueError("other values through the graph")


def parse_graph(path: str) -> None:
    """Reads a graph as `import_meta_graph` does, without building it."""
    graph = tf1.MetaGraphDef()
    graph.ParseFromString(Path(path).read_bytes())
    if not graph.saver_def.save_tensor_name:
        raise ValueError(f"{path} is not a whole graph")


def judge_saver(question: dict[str, Any]) -> str | None:
    """The state file names a checkpoint that is all there, of a version that may be there."""
    directory, size = question["directory"], question["size"]
    state_name = question.get("latest_filename") or "checkpoint"
    # Where relative paths in a state file begin.
    with contextlib.suppress(FileNotFoundError):
        os.chdir(directory)
    try:
        latest = tf.train.latest_checkpoint(directory, state_name)
    except Exception as error:  # noqa: BLE001 any error is a loss
        return f"state file: {type(error).__name__}: {error}"
    if latest is None:
        if question["may_be_nothing"] and not (Path(directory) / state_name).exists():
            return None
        return "latest_checkpoint finds nothing"
    what = latest
    try:
        version = check_values(latest, size)
        what = f"graph of {latest}"
        if question["graph"]:
            check_graph(latest, version)
        else:
            parse_graph(latest + ".meta")
    except Exception as error:  # noqa: BLE001 any error is a loss
        return f"{what}: {type(error).__name__}: {error}"
    if version not in question["versions"]:
        return f"{latest} holds version {version}, not one of {question['versions']}"
    return None


def judge_saved_model(question: dict[str, Any]) -> str | None:
    """A SavedModel is all there, or there is none."""
    export = Path(question["directory"]) / "export"
    if not tf1.saved_model.contains_saved_model(str(export)):
        return None if question["may_be_nothing"] else "there is no SavedModel"
    try:
        check_values(str(export / "variables" / "variables"), question["size"])
        if (export / "assets" / "asset.txt").read_text() != "asset 1":
            return "the asset is not whole"
        with tf.Graph().as_default(), tf1.Session(config=DEVICES) as session:
            tf1.saved_model.load(session, ["serve"], str(export))
    except Exception as error:  # noqa: BLE001 any error is a loss
        return f"{export}: {type(error).__name__}: {error}"
    return None


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        judge = judge_saved_model if question["kind"] == "saved_model" else judge_saver
        print(json.dumps(judge(question)), flush=True)
        assert not any(name.split(".")[0] == "autodist" for name in sys.modules)


if __name__ == "__main__":
    main()
