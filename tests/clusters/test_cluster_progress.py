"""What the program of a cluster says about a save or restore while its servers write and read."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.c_programs import compile_library
from support.clusters.ps_job import PsJob, running
from support.ports import free_ports

tf1 = tf.compat.v1

# Its file is written and read by one thread in 40 calls, each of 0.25 s.
ROWS, COLUMNS = 40 << 10, 256


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PsJob]:
    """A job of which the server has a slow disk."""
    library = compile_library("slow_disk.c", tmp_path_factory.mktemp("slow") / "slow_disk.so")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", library)
        patch.setenv("SLOW_WRITE_MILLISECONDS", "250")
        patch.setenv("SLOW_READ_MILLISECONDS", "250")
        # What this process has loaded already it does not load anew.
        with running(free_ports(2)) as job:
            yield job


def test_servers_tell_how_far_they_are(
    job: PsJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    values = np.random.default_rng(0).random((ROWS, COLUMNS), np.float32)
    with tf.Graph().as_default():
        with tf1.device("/job:ps/task:0"):
            table = tf1.get_variable("table", [ROWS, COLUMNS], use_resource=True)
        with tf1.device("/job:worker/task:0"):
            own = tf1.get_variable("own", [3], use_resource=True)
        given = tf1.placeholder(tf.float32, [ROWS, COLUMNS])
        assign = table.assign(given).op
        saver = Saver(threads=1, durable=False, verify="during")
        with tf1.Session(job.target) as session:
            session.run([assign, own.initializer], {given: values})
            prefix = saver.save(session, str(tmp_path / "m"), write_meta_graph=False)
            saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(table), values)
    for verb in ("saving", "restoring"):
        told = [m for m in caplog.messages if m.startswith(f"{verb} {prefix}: ")]
        percents = [int(found[1]) for text in told if (found := re.search(r"\((\d+) %\)", text))]
        assert percents
        assert percents == sorted(percents)
        assert 0 < percents[0] < 100
        assert percents[-1] <= 100
