"""Plain TensorFlow: restores a checkpoint into the single-node model, checks it and fine-tunes on.

python restore_checkpoint.py CHECKPOINT_DIR EXPECTED.npz FINE_TUNED_DIR FINE_TUNED.npz STEPS
"""

import sys

import handover  # type: ignore[import-not-found]
import tensorflow as tf
from digits_model import (  # type: ignore[import-not-found]
    Digits,
    build_model,
    count_correct,
    train,
)

tf1 = tf.compat.v1


def main(
    checkpoint_dir: str, expected_path: str, fine_tuned_dir: str, fine_tuned_path: str, steps: str
) -> None:
    """Restores, checks, fine-tunes and saves again, all with TensorFlow alone."""
    digits = Digits.load()
    expected = handover.Handover.read(expected_path)
    with tf.Graph().as_default(), tf1.Session() as sess:
        model = build_model()
        saver = tf1.train.Saver()
        saver.restore(sess, tf.train.latest_checkpoint(checkpoint_dir))

        where = "the restored checkpoint"
        handover.check_variables(expected.variables, handover.read_variables(sess), where)
        handover.check_correct(expected.correct, count_correct(sess, model, digits), where)

        first = int(sess.run(tf1.train.get_global_step()))
        losses = train(sess, model, digits, range(first, first + int(steps)))
        step = tf1.train.get_global_step()
        saver.save(sess, fine_tuned_dir + "/model.ckpt", global_step=step)
        correct = count_correct(sess, model, digits)
        fine_tuned = handover.Handover(handover.read_variables(sess), correct, losses)
    fine_tuned.write(fine_tuned_path)
    handover.check_without_autodist()


if __name__ == "__main__":
    main(*sys.argv[1:])
