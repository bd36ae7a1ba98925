"""Plain TensorFlow: trains the single-node model without interruption, to compare with.

python train_single_node.py TRAINED.npz STEPS
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


def main(trained_path: str, steps: str) -> None:
    """Trains from the start with TensorFlow alone."""
    digits = Digits.load()
    with tf.Graph().as_default(), tf1.Session() as sess:
        model = build_model()
        sess.run(tf1.global_variables_initializer())
        losses = train(sess, model, digits, range(int(steps)))
        correct = count_correct(sess, model, digits)
        trained = handover.Handover(handover.read_variables(sess), correct, losses)
    trained.write(trained_path)
    handover.check_without_autodist()


if __name__ == "__main__":
    main(*sys.argv[1:])
