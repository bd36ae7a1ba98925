"""Saves to and restores from directories that the servers do not see; its argument is one of them.

First this process is the master, and writes there. Then a server is the master: it writes beside that directory, and
this process does not see what it writes.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import UNSHARED, PsJob, running
from support.clusters.server_variables import build, save_by_stock, values_of
from support.ports import free_ports

tf1 = tf.compat.v1


def servers_send(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        refused, found_out = [Saver(transport=way) for way in ("shared", "files")], Saver()
        session.run(tf1.global_variables_initializer())
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
        session.run(tf1.global_variables_initializer())
        try:
            refused[0].restore(session, str(directory / "stock"))
        except tf.errors.FailedPreconditionError as error:
            print(error.message)
        found_out.restore(session, str(directory / "stock"))
        for name, value in values_of(session).items():
            np.testing.assert_array_equal(value, expected[name])


def server_writes(job: PsJob, elsewhere: Path) -> None:
    """Saves where the master makes a directory of its own, by us and by stock TensorFlow: nothing is left here."""
    with tf.Graph().as_default(), tf1.Session(f"grpc://{job.cluster['ps'][0]}") as session:
        build()
        savers = {"ours": Saver(), "stock": tf1.train.Saver()}
        session.run(tf1.global_variables_initializer())
        for name, saver in savers.items():
            try:
                saver.save(session, str(elsewhere / name))
            except ValueError as error:
                print(error)
            print(f"{name}: {'a directory' if elsewhere.exists() else 'nothing'} is left here")
            shutil.rmtree(elsewhere, ignore_errors=True)


def main(directory: Path) -> None:
    with running(free_ports(3), mounts=lambda _: UNSHARED) as job:
        servers_send(job, directory)
        server_writes(job, directory.with_name(f"{directory.name}-elsewhere"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
