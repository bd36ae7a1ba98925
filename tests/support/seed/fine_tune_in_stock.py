"""Run by a process that knows only TensorFlow: loads every saved model and fine-tunes it.

    python -m support.seed.fine_tune_in_stock <directory>

Per cell (a directory with `cell.json`) what went wrong, as one JSON object on standard output.
"""

import json
import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry  # noqa: TID251

from support import keras_names
from support.seed import seed_programs

tf1 = tf.compat.v1


def restore_into_the_plain_model(cell: dict[str, Any], path: pathlib.Path) -> None:
    keras_names.forget_keras_names()
    with tf.Graph().as_default(), tf1.Session() as session:
        model = seed_programs.get_your_model(cell["program"], cell["optimizer"])
        tf1.train.Saver().restore(session, tf.train.latest_checkpoint(str(path)))
        check_variables(session, path)
        fetches = [model.loss]
        if seed_programs.trains_in_stock(cell["optimizer"]):
            fetches.append(model.train_op)
        check_losses(session, cell, fetches, (model.input_data.name, model.target.name))


def fine_tune_the_meta_graph(cell: dict[str, Any], path: pathlib.Path) -> None:
    prefix = tf.train.latest_checkpoint(str(path))
    with tf.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(prefix + ".meta")
        saver.restore(session, prefix)
        check_variables(session, path)
        train_op = tf1.get_collection(seed_programs.TRAIN_OP_KEY)
        check_losses(session, cell, ["loss:0", train_op], ("input_data:0", "target:0"))


def fine_tune_the_saved_model(cell: dict[str, Any], path: pathlib.Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        loaded = tf1.saved_model.loader.load(session, ["train"], str(path / "export"))
        train_op = tf1.get_collection(seed_programs.TRAIN_OP_KEY)
        signature = loaded.signature_def["serving_default"]
        inputs = {key: info.name for key, info in signature.inputs.items()}
        outputs = {key: info.name for key, info in signature.outputs.items()}
        check_variables(session, path)
        names = (inputs["input_data"], inputs["target"])
        check_losses(session, cell, [outputs["loss"], train_op], names)


def find_only_stock_in_the_graphs(cell: dict[str, Any], path: pathlib.Path) -> None:
    del cell
    meta_graph = tf1.MetaGraphDef()
    prefix = pathlib.Path(tf.train.latest_checkpoint(str(path)))
    meta_graph.ParseFromString(prefix.with_name(prefix.name + ".meta").read_bytes())
    saved_model = tf1.saved_model.Builder(str(path / "unused"))._saved_model
    saved_model.ParseFromString((path / "export" / "saved_model.pb").read_bytes())
    for graph in (meta_graph, *saved_model.meta_graphs):
        for node in graph.graph_def.node:
            assert op_def_registry.get(node.op) is not None, node
            # Stock savers put their own nodes there.
            assert node.device in ("", "/device:CPU:0"), node
        text = str(graph).lower()
        assert "autodist" not in text
        assert "shard_" not in text
        assert "replica_" not in text


def check_variables(session: Any, path: pathlib.Path) -> None:
    expected = np.load(path / "values.npz")
    variables = {v.op.name: v for v in tf1.global_variables()}
    assert set(variables) == set(expected.files), (set(variables), set(expected.files))
    for name, value in session.run(variables).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def check_losses(
    session: Any, cell: dict[str, Any], fetches: list[Any], inputs: tuple[str, str]
) -> None:
    """The loss goes on as it does in the distributed session; a loss alone stays where it is."""
    steps = 1 if len(fetches) == 1 else None
    batches = seed_programs.draw_batches(cell["program"])[seed_programs.STEPS_BEFORE :][:steps]
    losses = [session.run(fetches, dict(zip(inputs, batch, strict=True)))[0] for batch in batches]
    np.testing.assert_allclose(losses, cell["losses"][:steps], rtol=1e-9)


def find_fault(
    check: Callable[[dict[str, Any], pathlib.Path], None], cell: dict[str, Any], path: pathlib.Path
) -> str:
    """The traceback of a check that fails; empty when it passes."""
    try:
        check(cell, path)
    except Exception:  # noqa: BLE001 everything is reported
        return traceback.format_exc()
    return ""


CHECKS: list[Callable[[dict[str, Any], pathlib.Path], None]] = [
    restore_into_the_plain_model,
    fine_tune_the_meta_graph,
    fine_tune_the_saved_model,
    find_only_stock_in_the_graphs,
]


def main() -> None:
    found: dict[str, dict[str, str]] = {}
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*/cell.json")):
        cell = json.loads(file.read_text())
        faults = {check.__name__: find_fault(check, cell, file.parent) for check in CHECKS}
        found[file.parent.name] = {name: text for name, text in faults.items() if text}
    assert not [name for name in sys.modules if name.split(".")[0] == "autodist"]
    print(json.dumps(found))


main()
