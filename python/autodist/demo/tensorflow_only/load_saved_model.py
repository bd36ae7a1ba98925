"""Loads a SavedModel in plain TensorFlow, checks it, and fine-tunes with its training op.

    python load_saved_model.py EXPORT_DIR EXPECTED.npz FINE_TUNED.npz STEPS

The model is not built here: graph, variables and training op come out of the SavedModel.
"""

import sys
from typing import Any

import handover  # type: ignore[import-not-found]
import tensorflow as tf
from digits_model import TRAIN_OP_KEY, Digits  # type: ignore[import-not-found]

tf1 = tf.compat.v1


def main(export_dir: str, expected_path: str, fine_tuned_path: str, steps: str) -> None:
    """Loads, checks and fine-tunes, all with TensorFlow alone."""
    digits = Digits.load()
    expected = handover.Handover.read(expected_path)
    with tf.Graph().as_default(), tf1.Session() as sess:
        loaded = tf1.saved_model.loader.load(sess, ["serve"], export_dir)
        train_op = tf1.get_collection(TRAIN_OP_KEY)

        serving_signature = loaded.signature_def["serving_default"]
        input_table = _tensor_names(serving_signature.inputs)
        output_table = _tensor_names(serving_signature.outputs)

        def feed(pixels: Any, labels: Any) -> dict[str, Any]:
            return {input_table["input_data"]: pixels, input_table["labels"]: labels}

        def count_correct() -> int:
            feeds = feed(digits.test_pixels, digits.test_labels)
            return int(sess.run(output_table["correct"], feed_dict=feeds))

        where = "the loaded SavedModel"
        handover.check_variables(expected.variables, handover.read_variables(sess), where)
        handover.check_correct(expected.correct, count_correct(), where)

        losses = []
        first = int(expected.variables["global_step"])
        for step in range(first, first + int(steps)):
            feeds = feed(*digits.batch(step))
            loss, _ = sess.run([output_table["loss"], train_op], feed_dict=feeds)
            losses.append(float(loss))
        variables = handover.read_variables(sess)
        fine_tuned = handover.Handover(variables, count_correct(), losses)
    fine_tuned.write(fine_tuned_path)
    handover.check_without_autodist()


def _tensor_names(infos: Any) -> dict[str, str]:
    """The tensor behind each name of a signature."""
    return {key: info.name for key, info in infos.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
