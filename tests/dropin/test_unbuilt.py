"""Savers that are not built yet, or have nothing to save: every method does what TensorFlow's does."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

CALLS: dict[str, Callable[[Any, Any, str], Any]] = {
    "as_saver_def": lambda saver, *_: saver.as_saver_def(),
    "to_proto": lambda saver, *_: saver.to_proto(),
    "to_proto of a scope": lambda saver, *_: saver.to_proto(export_scope="a"),
    "last_checkpoints": lambda saver, *_: saver.last_checkpoints,
    "recover": lambda saver, _, path: (
        saver.recover_last_checkpoints([f"{path}/m-1", f"{path}/none"]),
        saver.last_checkpoints,
    ),
    "recover nothing": lambda saver, *_: (
        saver.recover_last_checkpoints([]),
        saver.last_checkpoints,
    ),
    "recover and save": lambda saver, session, path: (
        saver.recover_last_checkpoints([f"{path}/m-1"]),
        saver.save(session, f"{path}/m", global_step=2),
        saver.save(session, f"{path}/m", global_step=3),
        saver.last_checkpoints,
        [name for name in sorted(tf.io.gfile.listdir(path)) if name.endswith(".index")],
    ),
    "set_last_checkpoints": lambda saver, _, path: (
        saver.set_last_checkpoints([f"{path}/m-1"]),
        saver.last_checkpoints,
    ),
    "export_meta_graph": lambda saver, *_: type(saver.export_meta_graph()),
    "restore None": lambda saver, session, _: saver.restore(session, None),
    "restore nothing": lambda saver, session, path: saver.restore(session, f"{path}/none"),
    "save": lambda saver, session, path: saver.save(session, f"{path}/s"),
    "build": lambda saver, *_: saver.build(),
    "build twice": lambda saver, *_: (saver.build(), saver.build()),
    "build and save": lambda saver, session, path: (
        saver.build(),
        saver.save(session, f"{path}/s"),
        saver.last_checkpoints,
    ),
}


@contextlib.contextmanager
def eager(**arguments: Any) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    with tf.init_scope():
        variable = tf.Variable([1.0, 2.0], name="v")
        yield lambda saver_class: saver_class([variable], max_to_keep=2, **arguments), None


@contextlib.contextmanager
def deferred() -> Iterator[tuple[Callable[[Any], Any], Any]]:
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", initializer=[0.0, 0.0])
        session.run(variable.initializer)
        yield lambda saver_class: saver_class(defer_build=True), session


@contextlib.contextmanager
def empty(**arguments: Any) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield lambda saver_class: saver_class(allow_empty=True, **arguments), session


STATES: dict[str, Callable[[], Any]] = {
    "eager": eager,
    "eager and deferred": lambda: eager(defer_build=True),
    "deferred": deferred,
    "empty": empty,
    "empty and deferred": lambda: empty(defer_build=True),
}


def outcome(saver_class: Any, state: str, call: str, directory: Path) -> str:
    """What a call returns or raises, without the directory's name."""
    directory.mkdir()
    path = str(directory)
    with tf.init_scope():
        tf1.train.Saver([tf.Variable([3.0, 4.0], name="v")]).save(None, f"{path}/m", global_step=1)
    with STATES[state]() as (make, session):
        try:
            found = repr(CALLS[call](make(saver_class), session, path))
        except (ValueError, RuntimeError, AttributeError) as error:
            # Ours are subclasses of the built-in types.
            kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
            found = f"{kind.__name__}: {error}"
    return found.replace(path, "DIRECTORY")


@pytest.mark.parametrize("state", STATES)
def test_every_method_does_what_stock_does(tmp_path: Path, state: str) -> None:
    for number, call in enumerate(CALLS):
        if state.endswith("deferred") and call.startswith("restore"):
            continue
        ours = outcome(Saver, state, call, tmp_path / f"ours{number}")
        stock = outcome(tf1.train.Saver, state, call, tmp_path / f"stock{number}")
        assert (call, ours) == (call, stock)


def test_a_restore_before_build_says_what_is_missing(tmp_path: Path) -> None:
    with deferred() as (make, session), pytest.raises(RuntimeError, match=r"`build\(\)` should"):
        make(Saver).restore(session, str(tmp_path / "m"))
