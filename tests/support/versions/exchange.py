"""Run under each version of TensorFlow: saves checkpoints, and restores those of other versions.

    python -m support.versions.exchange save DIRECTORY
    python -m support.versions.exchange restore DIRECTORY...

`save` prints the sums of the files that it has written, and `restore` what went wrong, as JSON.
"""

import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.strategy import PartitionedPS
from support.layouts import (
    DTYPES,
    FLOAT8,
    WRITERS,
    Cuts,
    assert_same,
    blank,
    boxes_of,
    evenly,
    make_variables,
    random_values,
    whole,
)
from support.specs import write_local_spec

tf1 = tf.compat.v1
SHAPE = (6, 5)


def values() -> dict[str, Any]:
    dtypes = [*DTYPES, *FLOAT8]
    return {dtype.name: random_values(dtype, SHAPE, i) for i, dtype in enumerate(dtypes)}


def cuts_of(*, is_cut: bool) -> dict[str, Cuts]:
    """Each variable in two shards of three rows, or whole."""
    cuts = [evenly(SHAPE[0], 2), [0, SHAPE[1]]] if is_cut else whole(SHAPE)
    return dict.fromkeys(values(), cuts)


def distributed_values() -> dict[str, Any]:
    names = ("w", "w/Adam", "w/Adam_1")
    return {name: random_values(tf.float32, SHAPE, 50 + i) for i, name in enumerate(names)}


def save_distributed(directory: Path) -> None:
    """Saves a model with the slots of its optimizer from a distributed session, in shards."""
    autodist = AutoDist(write_local_spec(directory), PartitionedPS(min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        w = tf1.get_variable("w", SHAPE)
        loss = tf.reduce_mean(tf.square(tf1.placeholder(tf.float32, [None, SHAPE[0]]) @ w))
        tf1.train.AdamOptimizer().minimize(loss)
        session = autodist.create_distributed_session()
        for variable in tf1.global_variables():
            if variable.op.name in distributed_values():
                variable.load(distributed_values()[variable.op.name], session)
        Saver().save(session, str(directory / "distributed"))


def restore(prefix: Path, saver: Callable[[], Any], *, is_cut: bool) -> None:
    """Restores a checkpoint into fresh variables, and compares every value.

    Raises:
      AssertionError: A value differs.
    """
    cuts = cuts_of(is_cut=is_cut)
    with tf.Graph().as_default(), tf1.Session() as session:
        made = {
            name: make_variables(name, blank(value), cuts[name]) for name, value in values().items()
        }
        session.run(tf1.global_variables_initializer())
        saver().restore(session, str(prefix))
        for name, variables in made.items():
            for variable, expected in zip(
                variables, boxes_of(values()[name], cuts[name]), strict=True
            ):
                assert_same(session.run(variable), expected)


def restore_numbers(prefix: Path, saver: Callable[[], Any]) -> None:
    """Restores the checkpoint of a distributed session into one node's variables."""
    with tf.Graph().as_default(), tf1.Session() as session:
        made = {name: tf1.get_variable(name, SHAPE) for name in distributed_values()}
        saver().restore(session, str(prefix))
        for name, variable in made.items():
            assert_same(session.run(variable), distributed_values()[name])


def save_all(directory: Path) -> dict[str, str]:
    """Writes all checkpoints; returns the sum of each file whose bytes do not depend on the graph."""
    directory.mkdir(parents=True)
    for name, write in WRITERS.items():
        write(str(directory / name), values(), cuts_of(is_cut=True))
    WRITERS["stock"](str(directory / "stock whole"), values(), cuts_of(is_cut=False))
    save_distributed(directory)
    files = sorted([*directory.glob("*.index"), *directory.glob("*.data-*")])
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def checks_of(directory: Path) -> Mapping[str, Callable[[], None]]:
    """How the checkpoints of a directory are restored, by a name."""
    checks: dict[str, Callable[[], None]] = {}
    for name in [*WRITERS, "stock whole"]:
        prefix = directory / name
        # Stock TensorFlow cannot cut all dtypes anew.
        is_cut = name not in {"our whole", "stock whole"}
        checks[f"{name}, by stock"] = lambda p=prefix, c=is_cut: restore(
            p, tf1.train.Saver, is_cut=c
        )
        for cut in (True, False):
            into = "shards" if cut else "whole variables"
            checks[f"{name}, by autodist into {into}"] = lambda p=prefix, c=cut: restore(
                p, Saver, is_cut=c
            )
    for by, saver in (("stock", tf1.train.Saver), ("autodist", Saver)):
        checks[f"distributed, by {by}"] = lambda s=saver: restore_numbers(
            directory / "distributed", s
        )
    return checks


def restore_all(directories: list[Path]) -> dict[str, dict[str, str]]:
    """By directory and check: what went wrong; empty if nothing did."""
    found: dict[str, dict[str, str]] = {}
    for directory in directories:
        found[str(directory)] = {}
        for name, check in checks_of(directory).items():
            try:
                check()
                fault = ""
            except Exception:  # noqa: BLE001 everything is reported
                fault = traceback.format_exc()
            found[str(directory)][name] = fault
    return found


def main() -> None:
    command, *paths = sys.argv[1:]
    directories = [Path(path) for path in paths]
    result = save_all(directories[0]) if command == "save" else restore_all(directories)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
