"""Saves in all ways on file systems that `file_systems.c`, preloaded, makes of a directory.

    python -m support.checkpoint.file_system_program DIRECTORY

Reads cases from standard input, a list in JSON, and prints for each a list of what is wrong. A case is a dict:

    environment  variables of `file_systems.c`, set once a first checkpoint may be there
    mode         permissions of the directory
    user         the user to become
    prefix       the last part of the prefixes
    cluster      whether the variables lie on two servers
    fails        the type of error that every save must end with, and how its text must go on
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
tf1.disable_eager_execution()
tf.get_logger().setLevel("ERROR")


def make_servers() -> list[Any]:
    """Starts two servers in this process."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = [f"localhost:{taken.getsockname()[1]}" for taken in sockets]
    for taken in sockets:
        taken.close()
    cluster = tf.train.ClusterSpec({"worker": addresses})
    return [tf.distribute.Server(cluster, "worker", task) for task in range(2)]


class Model:
    """Two variables in a session, and a saver for each way to save them."""

    def __init__(self, *, is_cluster: bool) -> None:
        devices = ["/cpu:0", "/cpu:1"]
        target = ""
        if is_cluster:
            self._servers = make_servers()
            target = self._servers[0].target
            devices = ["/job:worker/task:0/cpu:0", "/job:worker/task:1/cpu:0"]
        with tf.device(devices[0]):
            self.large = tf1.get_variable("large", [5 << 18], use_resource=True)
        with tf.device(devices[1]):
            self.text = tf1.get_variable("text", initializer=["a", "b"], use_resource=True)
        self.savers = {
            "whole": Saver(max_to_keep=2, threads=4),
            "sharded": Saver(max_to_keep=2, sharded=True),
        }
        if is_cluster:
            self.savers = {
                "whole": Saver(max_to_keep=2),
                "files": Saver(max_to_keep=2, transport="files"),
            }
        self.session = tf1.Session(target, config=tf1.ConfigProto(device_count={"CPU": 2}))
        self.version = 0
        self.next_version()

    def next_version(self) -> None:
        self.version += 1
        self.large.load(np.full(5 << 18, self.version, np.float32), self.session)
        self.text.load([str(self.version), "x" * self.version], self.session)

    def wrong(self, prefix: str) -> str | None:
        """What stock TensorFlow finds wrong with the last checkpoint, without listing its directory."""
        reader = tf1.train.NewCheckpointReader(prefix)
        large, text = reader.get_tensor("large"), reader.get_tensor("text")
        if not (large == self.version).all() or text[0] != str(self.version).encode():
            return f"values {large[:2]}, {text} of version {self.version}"
        return None


def save_same_prefix(model: Model, directory: Path, name: str, way: str) -> str:
    model.savers[way].save(model.session, str(directory / name))
    model.next_version()
    return str(model.savers[way].save(model.session, str(directory / name)))


def save_steps(model: Model, directory: Path, name: str, way: str) -> str:
    for step in (1, 2, 3):
        model.next_version()
        path = model.savers[way].save(model.session, str(directory / name), step)
    if (directory / f"{name}-1.index").exists() or not (directory / f"{name}-3.meta").exists():
        raise AssertionError("the first checkpoint was not removed, or the last graph not written")
    state = tf.train.get_checkpoint_state(str(directory))
    assert state.model_checkpoint_path == path
    return str(path)


def export(model: Model, directory: Path, _: str, way: str) -> str:
    model.next_version()
    builder = SavedModelBuilder(str(directory / f"export-{way}"))
    builder.add_meta_graph_and_variables(model.session, ["serve"], saver=model.savers[way])
    builder.save()
    return str(directory / f"export-{way}" / "variables" / "variables")


SAVES: list[Callable[[Model, Path, str, str], str]] = [save_same_prefix, save_steps, export]


def run(case: dict[str, Any], directory: Path) -> list[str]:
    """Saves in all ways; returns what is wrong."""
    os.environ.update(case.get("environment", {}))
    if "user" in case:
        os.setgroups([])
        os.setgid(case["user"])
        os.setuid(case["user"])
    model = Model(is_cluster=case.get("cluster", False))
    wrong = []
    for save in SAVES:
        for way in model.savers:
            label = f"{save.__name__}, {way}"
            try:
                found = model.wrong(save(model, directory, case.get("prefix", "m"), way))
            except Exception as error:  # noqa: BLE001 told to whoever runs the case
                found = f"{type(error).__name__}: {error}"
                if "fails" in case:
                    kind, text = case["fails"]
                    is_right = type(error).__name__ == kind and text in str(error)
                    found = None if is_right and str(directory) in str(error) else found
            else:
                found = "saved" if "fails" in case else found
            if found is not None:
                wrong.append(f"{label}: {found}")
    return wrong


def main(root: Path) -> None:
    for number, case in enumerate(json.load(sys.stdin)):
        directory = root / str(number)
        directory.mkdir(mode=0o777)
        directory.chmod(case.get("mode", 0o777))
        reading, writing = os.pipe()
        # In a process of its own: a file system that takes bytes in order only is remembered as one.
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.environ["FS_DIR"] = str(directory)
            try:
                wrong = run(case, directory)
            except BaseException:  # noqa: BLE001 told to whoever runs the case
                wrong = [traceback.format_exc()]
            with os.fdopen(writing, "w") as file:
                json.dump(wrong, file)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as file:
            print("wrong:", file.read(), flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
