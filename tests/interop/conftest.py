"""What the interop tests share: processes that import only TensorFlow, and graphs with values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1

# Runs before each script: stock TensorFlow, and the directory to work in as `here`.
_PROLOGUE = """
import pathlib
import sys
import numpy as np
import tensorflow as tf
tf1 = tf.compat.v1
here = pathlib.Path({here!r})
"""
_EPILOGUE = """
assert not [name for name in sys.modules if name.split(".")[0] == "autodist"]
print("stock TensorFlow is done")
"""


@pytest.fixture
def run_stock(tmp_path: Path) -> Callable[[str], str]:
    """Runs a script in a process that knows only TensorFlow; returns what it prints."""

    def run(script: str) -> str:
        path = tmp_path / "stock_script.py"
        path.write_text(_PROLOGUE.format(here=str(tmp_path)) + script + _EPILOGUE)
        done = run_python(path, env={**stock_environment(), "PYTHONPATH": ""}, timeout=300)
        assert "stock TensorFlow is done" in done.stdout
        return done.stdout

    return run


@pytest.fixture
def save_single_node() -> Callable[[Mapping[str, Any], Path], None]:
    """Has stock TensorFlow save values from a single-node graph: the rival of every layout."""

    def save(values: Mapping[str, Any], prefix: Path) -> None:
        with tf.Graph().as_default():
            for name, value in values.items():
                tf1.get_variable(name, initializer=tf.constant(value), use_resource=True)
            saver, init = tf1.train.Saver(), tf1.global_variables_initializer()
            with tf1.Session() as session:
                session.run(init)
                saver.save(session, str(prefix))

    return save


@pytest.fixture
def assert_same_bundle() -> Callable[[Path, Path], None]:
    """Compares the files of two checkpoints byte by byte, the graph and the state left out."""

    def compare(ours: Path, stock: Path) -> None:
        for suffix in (".index", ".data-00000-of-00001"):
            theirs = stock.with_name(stock.name + suffix).read_bytes()
            assert ours.with_name(ours.name + suffix).read_bytes() == theirs, suffix

    return compare


@pytest.fixture
def assert_single_node_files(
    save_single_node: Any, assert_same_bundle: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path, Mapping[str, Any]], None]:
    """Compares a checkpoint with stock's of the single-node graph that holds the same values."""

    def compare(ours: Path, values: Mapping[str, Any]) -> None:
        stock = tmp_path_factory.mktemp("stock") / "m"
        save_single_node(values, stock)
        assert_same_bundle(ours, stock)

    return compare
