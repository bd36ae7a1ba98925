"""Every kind of variable: the files are stock's, and stock's files restore."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support import kinds
from support.kinds import KEPT_AS_SLICES, KINDS, PARTITIONED

tf1 = tf.compat.v1
VERSIONS = (tf1.train.SaverDef.V1, tf1.train.SaverDef.V2)


def new_session() -> Any:
    return tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2}))


def initialise(session: Any, built: Any) -> None:
    session.run(tf1.global_variables_initializer())
    session.run(tf1.local_variables_initializer())
    for fetch in built if isinstance(built, list) else []:
        session.run(fetch)


@contextlib.contextmanager
def built(name: str) -> Iterator[tuple[Any, Any]]:
    """A graph of one kind: what the build returned and the `var_list`, `None` for all."""
    with tf.Graph().as_default():
        made = KINDS[name]()
        yield made, made if isinstance(made, dict) else None


def save(saver: Any, session: Any, directory: Path) -> str:
    directory.mkdir()
    path: str = saver.save(session, str(directory / "m"))
    return path


def save_single_node(values: dict[str, Any], directory: Path) -> str:
    with tf.Graph().as_default():
        for name, value in values.items():
            kinds.variable(name, value)
        saver = tf1.train.Saver()
        with new_session() as session:
            initialise(session, None)
            return save(saver, session, directory)


@pytest.mark.parametrize("name", KINDS)
def test_the_files_are_those_of_stock(name: str, tmp_path: Path, assert_same_bundle: Any) -> None:
    with built(name) as (made, var_list):
        savers = {
            "default": Saver(var_list),
            "slices": Saver(var_list, layout="slices"),
            "original": Saver(var_list, layout="original"),
            "sharded": Saver(var_list, sharded=True),
            "stock": tf1.train.Saver(var_list),
            "stock sharded": tf1.train.Saver(var_list, sharded=True),
        }
        with new_session() as session:
            initialise(session, made)
            path = {key: save(saver, session, tmp_path / key) for key, saver in savers.items()}

    assert_same_bundle(path["slices"], path["stock"])
    assert_same_bundle(path["sharded"], path["stock sharded"])
    single = path["stock"]
    if name == KEPT_AS_SLICES:
        single = save_single_node(kinds.not_restorable_values(), tmp_path / "single")
    elif name in PARTITIONED:
        reader = tf.train.load_checkpoint(path["stock"])
        # `get_tensor` gives quantised values as plain integers.
        values = {
            key: np.asarray(reader.get_tensor(key)).astype(dtype.as_numpy_dtype)
            for key, dtype in reader.get_variable_to_dtype_map().items()
        }
        single = save_single_node(values, tmp_path / "single")
    assert_same_bundle(path["original"], single)
    assert_same_bundle(path["default"], path["stock"] if name == KEPT_AS_SLICES else single)


# TensorFlow cannot write them in the format V1.
NOT_IN_V1 = {
    "any dtype",
    "any dtype, ref",
    "partitioned, a dtype stock cannot cut anew",
    "iterator",
}


def forms_of(name: str) -> list[tuple[int, bool]]:
    """The formats to restore a kind from, sharded or not; slots are variables, so two will do."""
    forms = list(itertools.product(VERSIONS, (False, True)))
    return forms[::3] if "slots of" in name else forms


@pytest.mark.parametrize("name", KINDS)
def test_what_stock_wrote_restores(name: str, tmp_path: Path, assert_same_bundle: Any) -> None:
    with built(name) as (made, var_list):
        stock, ours = tf1.train.Saver(var_list), Saver(var_list)
        writers = {
            (version, sharded): tf1.train.Saver(var_list, sharded=sharded, write_version=version)
            for version, sharded in forms_of(name)
        }
        paths = []
        with new_session() as session:
            initialise(session, made)
            before = save(stock, session, tmp_path / "before")
            for (version, sharded), writer in writers.items():
                target = tmp_path / f"{version}-{sharded}"
                if version == tf1.train.SaverDef.V1 and name in NOT_IN_V1:
                    with pytest.raises(tf.errors.OpError):
                        save(writer, session, target)
                else:
                    paths.append(save(writer, session, target))
        for number, path in enumerate(paths):
            with new_session() as session:
                if name == "iterator":
                    session.run(made[0])  # TensorFlow restores an initialised iterator only
                ours.restore(session, path)
                assert_same_bundle(save(stock, session, tmp_path / f"after {number}"), before)
