"""Saves and restores where threads or memory are short.

`python -m support.checkpoint.scarce_program threads|memory DIRECTORY`

Prints a line for each attempt, and ends with `done`; whatever is neither right nor an error of a known type raises.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

TYPED = (tf.errors.ResourceExhaustedError, MemoryError)
# Floats of the large variable: several blocks for several threads.
SIZE = 6_000_000


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Lets no thread be started, by the library that is preloaded."""
    path = Path(os.environ["NO_THREADS_FILE"])
    path.touch()
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def memory(extra_bytes: int) -> Iterator[None]:
    """Lets the process map so much memory more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Model:
    """Variables `large` and `small`, filled with one number, and savers of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix = str(directory / "m")
        variables = [
            tf1.get_variable(name, [size], initializer=tf1.zeros_initializer(), use_resource=True)
            for name, size in (("large", SIZE), ("small", 3))
        ]
        self._value = tf1.placeholder(tf.float32, [])
        self._fill = [v.assign(tf.fill(v.shape, self._value)) for v in variables]
        self._read = [[tf.reduce_min(v), tf.reduce_max(v)] for v in variables]
        self._update_row = tf1.scatter_add(variables[0], [0], [0.0])
        self._has_value = [tf1.is_variable_initialized(v) for v in variables]
        self.savers = {
            "whole": Saver(variables),
            "sharded": Saver(variables, sharded=True),
        }
        self.session = tf1.Session()
        self.fill(0.0)

    def fill(self, value: float) -> None:
        self.session.run(self._fill, {self._value: value})

    def update_row(self) -> None:
        """Updates the large variable in place: from now on a save copies it, block by block."""
        self.session.run(self._update_row)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Any]:
        """A session whose variables have no values yet."""
        with tf1.Session() as session:
            assert self.held(session) is None
            yield session

    def held(self, session: Any = None) -> float | None:
        """The number that all variables are filled with; None if all have no value."""
        session = session or self.session
        has_value = np.unique(session.run(self._has_value))
        assert len(has_value) == 1, has_value
        if not has_value[0]:
            return None
        found = np.unique(session.run(self._read))
        assert len(found) == 1, found
        return float(found[0])

    def saved(self) -> float:
        """The number that stock reads from the checkpoint."""
        reader = tf.train.load_checkpoint(self.prefix)
        found = np.unique([np.unique(reader.get_tensor(name)) for name in ("large", "small")])
        assert len(found) == 1, found
        return float(found[0])

    def check_files(self) -> None:
        names = sorted(path.name for path in self.directory.iterdir())
        left = [name for name in names if ".autodist" in name]
        assert not left, left


def attempt(what: str, work: Any) -> bool:
    """Does it; returns whether it was done, and raises what is no error of scarcity."""
    try:
        work()
    except TYPED as error:
        print(what, type(error).__name__, flush=True)
        return False
    print(what, "done", flush=True)
    return True


def run_threads(model: Model) -> None:
    for number, (kind, saver) in enumerate(model.savers.items(), 1):
        # Twice: what is built at the first save is not under test.
        model.fill(float(number))
        saver.save(model.session, model.prefix)
        model.fill(number + 0.5)
        with no_threads():
            assert attempt(f"save {kind}", lambda s=saver: s.save(model.session, model.prefix))
        assert model.saved() == number + 0.5
        model.check_files()
        model.fill(9.0)
        saver.restore(model.session, model.prefix)
        model.fill(9.0)
        with no_threads():
            assert attempt(
                f"restore {kind}", lambda s=saver: s.restore(model.session, model.prefix)
            )
        assert model.held() == number + 0.5


def run_memory(model: Model) -> None:
    saver = model.savers["whole"]
    model.fill(1.0)
    model.update_row()
    saver.save(model.session, model.prefix)
    saver.restore(model.session, model.prefix)
    outcomes = set()
    # A save or restore needs little beside what freed blocks and ended threads have left mapped.
    limits = [extra for k in range(14, 28) for extra in (1 << k, 3 << (k - 1))]
    for number, extra in enumerate(limits):
        former = model.saved()
        value = number + 2.0
        model.fill(value)

        def save(limit: int = extra) -> None:
            with memory(limit):
                saver.save(model.session, model.prefix)

        is_saved = attempt(f"save {extra}", save)
        assert model.held() == value
        assert model.saved() == (value if is_saved else former), (extra, model.saved())
        model.check_files()
        with model.fresh() as fresh:

            def restore(limit: int = extra, session: Any = fresh) -> None:
                with memory(limit):
                    saver.restore(session, model.prefix)

            is_restored = attempt(f"restore {extra}", restore)
            held = model.held(fresh)
            assert held == (model.saved() if is_restored else None), (extra, held)
        outcomes.add(("save", is_saved))
        outcomes.add(("restore", is_restored))
    assert ("save", True) in outcomes
    assert ("restore", True) in outcomes


def main() -> None:
    kind, directory = sys.argv[1:]
    with tf.Graph().as_default():
        model = Model(Path(directory))
        {"threads": run_threads, "memory": run_memory}[kind](model)
    print("done", flush=True)


if __name__ == "__main__":
    main()
