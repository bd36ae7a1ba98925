"""Saves and restores one variable on a server, without a shared file system.

`python -m support.clusters.large_program DIRECTORY [GIB]`

One shard of more than TensorFlow's limit of 2 GiB for a message. Prints the time, and the memory
that the chief and the server needed beside the variable. A process that has not imported autodist
compares the file.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import running
from support.ports import free_ports
from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1

STOCK = """
import sys
import numpy as np
import tensorflow as tf
value = tf.train.load_variable(sys.argv[1], "large")
rows, columns = value.shape
assert columns == 1024
for row in range(0, rows, 1000):
    np.testing.assert_array_equal(value[row], np.arange(row, row + 1024, dtype=np.float32))
assert "autodist" not in sys.modules
"""


def memory_mib(process: int, key: str) -> float:
    """Returns a figure of `/proc/PID/status`."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def measure(what: str, processes: dict[str, int], size: float, work: Any) -> None:
    """Runs something and prints its time, and by how much each process grew at most meanwhile."""
    before = {}
    for name, process in processes.items():
        # From here on the peak is counted anew.
        Path(f"/proc/{process}/clear_refs").write_text("5")
        before[name] = memory_mib(process, "VmRSS")
    start = time.monotonic()
    work()
    seconds = time.monotonic() - start
    grown = {
        name: memory_mib(process, "VmHWM") - before[name] for name, process in processes.items()
    }
    told = ", ".join(f"{name} +{mib:.0f} MiB" for name, mib in grown.items())
    print(f"{what}: {seconds:.2f} s, {size / seconds:.2f} GiB/s; {told}", flush=True)


def main() -> None:
    directory = Path(sys.argv[1])
    size = float(sys.argv[2]) if len(sys.argv) > 2 else 2.5
    rows = int(size * (1 << 30) / 4 / 1024)
    with running(free_ports(2)) as job, tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:0"):
            large = tf1.get_variable(
                "large", [rows, 1024], initializer=tf1.zeros_initializer(), use_resource=True
            )
            row = tf.range(rows, dtype=tf.float32)[:, None]
            fill = large.assign(row + tf.range(1024, dtype=tf.float32))
            clear = large.assign(tf.zeros([rows, 1024]))
            is_right = tf.reduce_all(tf.equal(large, row + tf.range(1024, dtype=tf.float32)))
        saver = Saver(transport="stream")
        session.run(fill.op)
        processes = {"chief": os.getpid(), "server": job.servers[0].pid}
        prefix = str(directory / "large")
        measure(
            "save", processes, size, lambda: saver.save(session, prefix, write_meta_graph=False)
        )
        run_python("-c", STOCK, prefix, env=stock_environment())
        session.run(clear.op)
        measure("restore", processes, size, lambda: saver.restore(session, prefix))
        assert session.run(is_right)
    print("stock TensorFlow reads what was saved, and it was restored")


if __name__ == "__main__":
    main()
