"""What `victim.py` saves: models whose values are those of a version, which `judge.py` knows, too."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1

SAVERS = {"ours": Saver, "stock": tf1.train.Saver}


class Model(contextlib.AbstractContextManager["Model"]):
    """Variables of several kinds over the devices that the task has, in a session of TensorFlow's."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._make_variables()
        self.make_saver()
        self.session = tf1.Session(
            config=tf1.ConfigProto(device_count={"CPU": task.get("devices", 1)})
        )

    def _make_variables(self) -> None:
        last = self._task.get("devices", 1) - 1
        size = self._task["size"]
        self.large = tf1.get_variable("large", [2, size // 2], tf.float32, use_resource=True)
        with tf.device(f"/device:CPU:{last}"):
            self.small = tf1.get_variable("small", [3], tf.int64, use_resource=True)
        with tf.device(f"/device:CPU:{last // 2}"):
            self.words = tf1.get_variable(
                "words", initializer=tf.constant([b"", b""]), use_resource=True, dtype=tf.string
            )

    def make_saver(self) -> None:
        """Makes a new saver of the kind that the task names."""
        arguments = dict(self._task.get("arguments", {}))
        saver = self._task.get("saver", "ours")
        if saver == "ours":
            arguments["durable"] = self._task.get("durable", True)
        self.saver = SAVERS[saver](max_to_keep=self._task.get("keep", 5), **arguments)

    def load(self, version: int) -> None:
        """Gives the variables the values of a version."""
        size = self._task["size"] // 2 * 2
        large = (np.arange(size, dtype=np.float32) % 1000 + version).reshape(2, size // 2)
        self.large.load(large, self.session)
        self.small.load(np.full([3], version), self.session)
        self.words.load(np.array([b"version", b"%d" % version]), self.session)

    def __exit__(self, *_: object) -> None:
        self.session.close()


class DistributedModel(Model):
    """The same under `AutoDist`, the large variable in two shards. Stock TensorFlow saves it from its own session."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        if task["saver"] == "stock":
            super().__init__(task)
            return
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as spec:
            spec.write("nodes: [{address: localhost, cpus: [0, 1]}]")
            spec.flush()
            autodist = AutoDist(spec.name, PartitionedPS(2, min_variable_bytes=0))
        with autodist.scope():
            self._make_variables()
            self.make_saver()
            self.session = autodist.create_distributed_session()


class MonitoredModel(Model):
    """The same in a `MonitoredTrainingSession` that has our saver, in its scaffold."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(task)
        tf1.train.get_or_create_global_step()
        self._monitored = tf1.train.MonitoredTrainingSession(
            scaffold=tf1.train.Scaffold(saver=self.saver),
            checkpoint_dir=str(Path(task["directory"])),
            save_checkpoint_steps=1_000_000,
        )
        self.session = self._monitored._tf_sess()
