"""Saves and restores on a slow disk: arguments are the directory, the level of the logger, and what to do."""

import logging
import sys
import threading
import time

import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

MEBIBYTES = 48


def main(directory: str, level: str, *works: str) -> None:
    logging.getLogger("autodist").setLevel(level)
    tf1.disable_eager_execution()
    small = tf1.get_variable("small", shape=[16], use_resource=True)
    large = tf1.get_variable("large", shape=[MEBIBYTES, 1 << 18], use_resource=True)
    quick, slow = Saver([small]), Saver([large], threads=1, verify="during")
    session = tf1.Session()
    session.run(tf1.global_variables_initializer())
    for work in works:
        if work == "quick":
            quick.save(session, f"{directory}/quick")
        elif work == "save":
            slow.save(session, f"{directory}/slow")
        elif work == "restore":
            slow.restore(session, f"{directory}/slow")
        else:
            # The program ends while the save goes on and has said something.
            threading.Thread(
                target=slow.save, args=(session, f"{directory}/slow"), daemon=True
            ).start()
            time.sleep(float(work))


if __name__ == "__main__":
    main(*sys.argv[1:])
