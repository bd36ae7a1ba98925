"""Variables of many kinds on two parameter servers, and stock TensorFlow's checkpoint of the same values."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1

# A process that has not imported autodist saves the same values from one machine.
_STOCK = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
values = np.load(sys.argv[1], allow_pickle=True).item()
with tf.Graph().as_default(), tf.Session() as session:
    for name, value in values.items():
        tf.get_variable(name, initializer=value, use_resource=True)
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, sys.argv[2], write_meta_graph=False)
assert "autodist" not in sys.modules
"""


def build(rows: int = 300) -> None:
    """Variables of many kinds on the servers; the job's worker is the device of all else."""
    uniform = tf1.random_uniform_initializer()
    with tf1.device(
        tf1.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
    ):
        for name, axis in (("rows", 0), ("columns", 1)):
            tf1.get_variable(
                name,
                [rows, 50],
                initializer=uniform,
                partitioner=tf1.fixed_size_partitioner(3, axis),
                use_resource=True,
            )
        tf1.get_variable("small", [7], tf.float64, uniform, use_resource=True)
        tf1.get_variable("empty", [0, 3], initializer=tf1.zeros_initializer(), use_resource=True)
        tf1.get_variable("ref", [9, 3], initializer=uniform, use_resource=False)
        tf1.get_variable("text", initializer=np.array([b"one", b"three" * 70]), use_resource=True)
        tf1.get_variable("flag", initializer=True, use_resource=True)
        tf1.train.get_or_create_global_step()


def values_of(session: Any) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    axes = {"rows": 0, "columns": 1}
    for variable in tf1.global_variables():
        name = variable.op.name.split("/part_")[0]
        values.setdefault(name, []).append(session.run(variable))
    return {n: np.concatenate(v, axes[n]) if n in axes else v[0] for n, v in values.items()}


def save_by_stock(values: dict[str, Any], directory: Path) -> Path:
    np.save(directory / "values.npy", values, allow_pickle=True)
    prefix = directory / "stock"
    run_python("-c", _STOCK, directory / "values.npy", prefix, env=stock_environment())
    return prefix
