"""The programs run as written, and stock TensorFlow goes on where they stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support import keras_names
from support.seed import seed_programs

tf1 = tf.compat.v1


def save_by_stock(cell: Any, values: dict[str, np.ndarray], path: Path) -> tuple[Path, list[str]]:
    """Builds the single-node graph, gives it the values, saves with stock's `Saver`."""
    keras_names.forget_keras_names()
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        seed_programs.get_your_model(cell.program, cell.optimizer)
        saver = tf1.train.Saver()
        nodes = [op.name for op in graph.get_operations()]
        variables = tf1.global_variables()
        assert {v.op.name for v in variables} == set(values)
        for variable in variables:
            variable.load(values[variable.op.name], session)
        return Path(saver.save(session, str(path / "model"))), nodes


def test_the_files_are_those_of_a_stock_saver(cell: Any, trained: Any, tmp_path: Path) -> None:
    ours = trained[cell]
    stock, nodes = save_by_stock(cell, ours.values, tmp_path)
    for suffix in (".index", ".data-00000-of-00001"):
        theirs = stock.with_name(stock.name + suffix).read_bytes()
        assert ours.prefix.with_name(ours.prefix.name + suffix).read_bytes() == theirs, suffix
    if seed_programs.trains_in_stock(cell.optimizer):
        assert ours.nodes[: len(nodes)] == nodes


def test_the_saved_models_variables_are_those_of_a_stock_saver(
    cell: Any, trained: Any, tmp_path: Path
) -> None:
    ours = trained[cell].path / "export" / "variables" / "variables"
    stock, _ = save_by_stock(cell, trained[cell].values, tmp_path)
    for suffix in (".index", ".data-00000-of-00001"):
        theirs = stock.with_name(stock.name + suffix).read_bytes()
        assert ours.with_name(ours.name + suffix).read_bytes() == theirs, suffix


def test_nothing_but_the_checkpoint_is_left(cell: Any, trained: Any) -> None:
    ours = trained[cell]
    names = {p.name for p in ours.path.iterdir() if p.name.startswith(("model", "checkpoint"))}
    prefix = ours.prefix.name
    assert prefix == f"model-{seed_programs.STEPS_BEFORE}"
    files = {prefix + s for s in (".index", ".data-00000-of-00001", ".meta")}
    assert names == {"checkpoint", *files}
    assert tf.train.latest_checkpoint(str(ours.path)) == str(ours.prefix)


def test_the_checkpoint_shows_the_original_names_and_shapes(cell: Any, trained: Any) -> None:
    ours = trained[cell]
    shown = dict(tf.train.list_variables(str(ours.prefix)))
    assert shown == {name: list(value.shape) for name, value in ours.values.items()}


@pytest.mark.parametrize(
    "check",
    [
        "restore_into_the_plain_model",
        "fine_tune_the_meta_graph",
        "fine_tune_the_saved_model",
        "find_only_stock_in_the_graphs",
    ],
)
def test_stock_tensorflow_goes_on_with_it(cell: Any, check: str, stock_findings: Any) -> None:
    assert check not in stock_findings[cell.name], stock_findings[cell.name][check]
