"""Saves over one prefix again and again, on a file system that has room for two checkpoints and no third.

`python -m support.checkpoint.overwriting_program DIRECTORY`

Prints `done`, or `cannot mount`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.torture import victim_faults

tf1 = tf.compat.v1

# Floats: 12 MB, above which a former file is freed in the background.
SIZE = 3_000_000
SAVES = 20
MEGABYTE = 1 << 20


def main(directory: Path) -> None:
    try:
        victim_faults.mount_small(directory, 2 * 4 * SIZE + MEGABYTE)
    except victim_faults.MountError:
        print("cannot mount")
        return
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", initializer=tf.zeros([SIZE]), use_resource=True)
        step = variable.assign_add(tf.ones([SIZE])).op
        saver = Saver()
        session.run(variable.initializer)
        for number in range(SAVES):
            session.run(step)
            prefix = saver.save(session, str(directory / "m"))
            value = tf.train.load_checkpoint(prefix).get_tensor("v")
            assert value[0] == value[-1] == number + 1
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["checkpoint", "m.data-00000-of-00001", "m.index", "m.meta"], names
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
