"""Saves of one instant of several servers, while threads train on them without pause.

`python -m support.clusters.instant_program DIRECTORY SERVERS SAVES CONSISTENCY [WAY ...]`

Each step adds one to a chain of counters, one after the other, each on the next server. So at any instant a counter is
at most as large as the one before it, and the first is at most `WORKERS` larger than the last. All elements of a
counter are equal. The program prints how many saves were not so, and fails if one was not and `CONSISTENCY` is
`instant`.
"""

import contextlib
import itertools
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import running
from support.ports import free_ports
from support.threads import forgiving_repeats

tf1 = tf.compat.v1

WORKERS = 3
ROWS, COLUMNS = 1500, 256  # 1.5 MB: more than what is copied at once


def build(servers: int) -> tuple[list[Any], Any]:
    """The counters, and a step. Each server has one that is updated in place, and one that is not."""
    counters = []
    for number in range(2 * servers):
        with tf1.device(f"/job:ps/task:{number % servers}"):
            counters.append(
                tf1.get_variable(
                    f"counter_{number}",
                    [ROWS, COLUMNS],
                    initializer=tf1.zeros_initializer(),
                    use_resource=True,
                )
            )
    before: list[Any] = []
    for number, counter in enumerate(counters):
        with tf.control_dependencies(before), tf1.device(counter.device):
            ones = tf.ones(counter.shape)
            if number >= servers:
                before = [counter.assign_add(ones, read_value=False)]
            else:
                before = [
                    tf.raw_ops.ResourceScatterNdAdd(
                        ref=counter.handle,
                        indices=tf.range(ROWS)[:, tf.newaxis],
                        updates=ones,
                        use_locking=True,
                    )
                ]
    return counters, before[0]


@contextlib.contextmanager
def training(session: Any, step: Any) -> Iterator[None]:
    """Trains in threads while the block lasts; they must not fail."""
    is_over = threading.Event()
    failures: list[Exception] = []
    begun = threading.Semaphore(0)

    def train() -> None:
        try:
            session.run(step)
            begun.release()
            while not is_over.is_set():
                with forgiving_repeats():
                    session.run(step)
        except tf.errors.OpError as error:
            failures.append(error)
            begun.release()

    threads = [threading.Thread(target=train) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            begun.acquire()
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not failures, [error.message for error in failures]


def is_of_one_instant(prefix: str, servers: int) -> bool:
    """Tells whether the counters of a checkpoint are as they can be at one instant."""
    reader = tf.train.load_checkpoint(prefix)
    values = []
    for number in range(2 * servers):
        counter = reader.get_tensor(f"counter_{number}")
        if counter.min() != counter.max():
            return False
        values.append(int(counter[0, 0]))
    is_chain = all(later <= former for former, later in itertools.pairwise(values))
    return is_chain and values[0] <= values[-1] + WORKERS


def main(directory: Path, servers: int, saves: int, consistency: str, ways: list[str]) -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("autodist").setLevel(logging.INFO)
    with running(free_ports(1 + servers)) as job, tf.Graph().as_default():
        counters, step = build(servers)
        with tf1.Session(job.target) as session:
            savers = {
                way: Saver(transport=None if way == "auto" else way, max_to_keep=2) for way in ways
            }
            session.run(tf1.global_variables_initializer())
            with training(session, step):
                for way, saver in savers.items():
                    wrong = 0
                    before = session.run(counters[-1])[0, 0]
                    for number in range(saves):
                        prefix = saver.save(
                            session,
                            str(directory / way),
                            number,
                            write_meta_graph=False,
                            consistency=consistency,
                        )
                        wrong += not is_of_one_instant(prefix, servers)
                    assert session.run(counters[-1])[0, 0] > before
                    print(f"{way}: {saves} saves, {wrong} not of one instant", flush=True)
                    assert wrong == 0 or consistency != "instant"
            # Nothing holds a lock or watches a page.
            session.run(step)
            np.testing.assert_array_equal(session.run(counters[0]), session.run(counters[-1]))
    print("all saves were checked")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
