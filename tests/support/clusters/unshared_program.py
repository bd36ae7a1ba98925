"""Saves to and restores from a directory that the servers do not see; its argument is the directory."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import UNSHARED, running
from support.clusters.server_variables import build, save_by_stock, values_of
from support.ports import free_ports

directory = Path(sys.argv[1])
with (
    running(free_ports(3), mounts=lambda _: UNSHARED) as job,
    tf.Graph().as_default(),
    tf.compat.v1.Session(job.target) as session,
):
    build()
    refused, found_out = [Saver(transport=way) for way in ("shared", "files")], Saver()
    session.run(tf.compat.v1.global_variables_initializer())
    save_by_stock(values_of(session), directory)
    before = sorted(directory.iterdir())
    for saver in refused:
        try:
            saver.save(session, str(directory / "refused"))
        except tf.errors.FailedPreconditionError as error:
            print(error.message)
        assert sorted(directory.iterdir()) == before
    found_out.save(session, str(directory / "sent"), write_meta_graph=False)
    expected = values_of(session)
    session.run(tf.compat.v1.global_variables_initializer())
    try:
        refused[0].restore(session, str(directory / "stock"))
    except tf.errors.FailedPreconditionError as error:
        print(error.message)
    found_out.restore(session, str(directory / "stock"))
    for name, value in values_of(session).items():
        np.testing.assert_array_equal(value, expected[name])
