"""Saves and restores of servers that each mount one directory for themselves, with page caches of their own.

`unshare -m python -m support.clusters.mounted_program DIRECTORY [SAVES [SECONDS]]` saves SAVES
times by each way (default: 2). Half of these saves overwrite a prefix in use. SECONDS: for how long
the mounts believe names and attributes. Each save is read where the mounts lead, by stock
TensorFlow, and restored through the mounts.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.shared_save import file_systems
from autodist.checkpoint.saver import Saver
from support.clusters import writeback_mounts
from support.clusters.ps_job import files, running
from support.clusters.server_variables import build, save_by_stock, values_of
from support.ports import free_ports

tf1 = tf.compat.v1

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "stream": {"transport": "stream"},
    "files": {"transport": "files"},
    "sharded": {"sharded": True},
}
TASKS = [f"/job:ps/replica:0/task:{number}" for number in range(2)]


def say(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def check(prefix: Path, expected: dict[str, Any]) -> None:
    """Raises unless a checkpoint is whole and has these values."""
    _native.bundle().verify(str(prefix))
    reader = tf1.train.NewCheckpointReader(str(prefix))
    for name, value in expected.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value, name)


def save_and_restore(  # noqa: PLR0917 all is needed
    session: Any, mounts: Any, way: str, saver: Any, count: int, seconds: int
) -> None:
    """Every save that returns is right where the mounts lead, and is restored through them."""
    start = tf1.global_variables_initializer()
    stale = 0
    for number in range(count):
        session.run(start)
        expected = values_of(session)
        name = f"{way}-{number // 2}"
        saver.save(session, str(mounts.shared / name), write_meta_graph=False)
        check(mounts.back / name, expected)
        if way == "default" and number == 0:
            stock = files(save_by_stock(expected, mounts.back.parent))
            assert files(mounts.back / name) == stock, "not the bytes of stock TensorFlow"
        session.run(start)
        stale += restore(session, str(mounts.shared / name), saver, seconds)
        for variable, value in values_of(session).items():
            np.testing.assert_array_equal(value, expected[variable], variable)
    told = f", {stale} of them once the mounts believed no former file any more" if seconds else ""
    say(f"{way}: {count} saves verify and are restored{told}")


def restore(session: Any, prefix: str, saver: Any, seconds: int) -> int:
    """Restores; returns whether a former file was still believed to be there, which is an error and no value."""
    before = values_of(session)
    try:
        saver.restore(session, prefix)
    except tf.errors.DataLossError:
        # The chief itself may believe in a former file.
        if seconds == 0:
            raise
        for variable, value in values_of(session).items():
            np.testing.assert_array_equal(value, before[variable], variable)
        time.sleep(seconds + 0.1)
        saver.restore(session, prefix)
        return 1
    return 0


def refuse(session: Any, mounts: Any, saver: Any) -> None:
    before = sorted(mounts.back.iterdir())
    try:
        saver.save(session, str(mounts.shared / "refused"))
    except tf.errors.FailedPreconditionError as error:
        say("refused:", error.message)
    assert sorted(mounts.back.iterdir()) == before


@contextlib.contextmanager
def as_if_coherent(block_bytes: int | None) -> Iterator[None]:
    """Lets every task write to the file, as if its file system were a coherent one."""
    reason, blocks = file_systems.reason_against, file_systems.shared_block_bytes
    file_systems.reason_against = lambda *_: ""
    if block_bytes is not None:
        file_systems.shared_block_bytes = lambda *_: block_bytes
    try:
        yield
    finally:
        file_systems.reason_against, file_systems.shared_block_bytes = reason, blocks


def find_out(session: Any, mounts: Any, saver: Any, count: int, block_bytes: int | None) -> None:
    """What the mounts damage is found before the commit, and nothing is left of it."""
    found = 0
    for number in range(count):
        prefix = f"forced-{block_bytes}-{number}"
        before = sorted(mounts.back.iterdir())
        try:
            with as_if_coherent(block_bytes):
                saver.save(
                    session, str(mounts.shared / prefix), write_meta_graph=False, write_state=False
                )
        except tf.errors.FailedPreconditionError as error:
            assert sorted(mounts.back.iterdir()) == before
            found += 1
            message = error.message
        else:
            check(mounts.back / prefix, values_of(session))
    say(
        f"forced, blocks of {block_bytes or 'their own'} bytes: {found} of {count} saves were found out, the others "
        "verify"
    )
    if found:
        say("found:", message)


def main(directory: Path, count: int, seconds: int) -> None:
    with writeback_mounts.separate(directory, 3, seconds) as mounts:
        subprocess.run(["sh", "-c", mounts.bind(0)], check=True)
        # Whoever is started later sees the mount of this process, and covers it.
        with (
            running(free_ports(3), mounts=lambda number: mounts.bind(number + 1)) as job,
            tf.Graph().as_default(),
            tf1.Session(job.target) as session,
        ):
            build(3000)
            savers = {way: Saver(max_to_keep=0, **how) for way, how in WAYS.items()}
            shared = Saver(transport="shared", max_to_keep=0)
            session.run(tf1.global_variables_initializer())
            refuse(session, mounts, shared)
            find_out(session, mounts, shared, max(3, count // 10), 1)
            find_out(session, mounts, shared, max(3, count // 10), None)
            for way, saver in savers.items():
                begin = time.monotonic()
                save_and_restore(session, mounts, way, saver, count, seconds)
                if count > 2:
                    say(f"  {time.monotonic() - begin:.0f} s")
    say("all saves that returned verify")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]) if len(sys.argv) > 2 else 2,
        int(sys.argv[3]) if len(sys.argv) > 3 else 0,
    )
