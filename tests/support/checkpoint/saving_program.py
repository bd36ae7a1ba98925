"""Saves to one prefix again and again, as another does.

`python -m support.checkpoint.saving_program PREFIX NUMBER ROUNDS`

Each line of standard input begins a save; each is answered by `saved` or by the error's type and text. With a fourth
argument the program stops itself (SIGSTOP) in the middle of a save, before anything but the bundle has its name.
"""

import os
import signal
import sys

import tensorflow as tf

from autodist.checkpoint.files import staged_files
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

PREFIX, NUMBER = sys.argv[1], int(sys.argv[2])
if sys.argv[3:] == ["stops"]:
    commit = staged_files.StagedFiles.commit

    def stop(self: staged_files.StagedFiles) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        commit(self)

    staged_files.StagedFiles.commit = stop  # type: ignore[method-assign]

with tf.Graph().as_default(), tf1.Session() as session:
    for name in ("a", "b", "c"):
        tf1.get_variable(name, initializer=tf.fill([200_000], float(NUMBER)), use_resource=True)
    tf.constant(NUMBER, name=f"graph_of_{NUMBER}")
    saver = Saver()
    session.run(tf1.global_variables_initializer())
    print("ready", flush=True)
    for _ in sys.stdin:
        outcome = "saved"
        try:
            saver.save(session, PREFIX)
        except tf.errors.AlreadyExistsError as error:
            outcome = f"refused {error.message}"
        print(outcome, flush=True)
