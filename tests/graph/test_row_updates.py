"""Updates of variables with values of the batch are those of one node, or a warning names them."""

import functools
import logging
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.equivalence import update_corpus
from support.equivalence.update_corpus import CHOSEN, PROGRAMS, SPLIT, WHOLE
from support.strategies import CUTS, STRATEGIES
from support.torture.harness import IS_FULL

tf1 = tf.compat.v1
SIZES = (7, 4, 1, 6)

# One that copies variables, one that cuts them for servers, one that cuts copies, one that mixes both, one replica.
LAYOUTS = [
    ("AllReduce", 3),
    ("PartitionedPS", 2),
    ("RandomAxisPartitionAR", 2),
    ("Parallax", 3),
    ("PartitionedPS_7", 1),
]
if IS_FULL:
    LAYOUTS += [(name, replicas) for name in STRATEGIES for replicas in (2, 3)]
    LAYOUTS = list(dict.fromkeys(LAYOUTS))


def run_steps(session: Any, built: dict[str, Any]) -> dict[str, Any]:
    """Runs every program on each batch; returns what each updated."""
    updates = [update for _, _, update in built.values()]
    for seed, rows in enumerate(SIZES):
        fed = {}
        for inputs, _, _ in built.values():
            fed.update(inputs.feed(rows, seed))
        session.run(updates, fed)
    return dict(session.run({name: updated for name, (_, updated, _) in built.items()}))


def build(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: update_corpus.build(name) for name in names}


@functools.cache
def on_one_node(names: tuple[str, ...]) -> dict[str, Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        built = build(names)
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        return run_steps(session, built)


def assert_same(found: Any, expected: Any, name: str) -> None:
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        if np.asarray(theirs).dtype.kind in "fc":
            rtol = 1e-9 if np.asarray(theirs).dtype == np.float64 else 1e-5
            np.testing.assert_allclose(ours, theirs, rtol, atol=rtol / 10, err_msg=name)
        else:
            np.testing.assert_array_equal(ours, theirs, name)


def programs_made(*how: str) -> tuple[str, ...]:
    return tuple(name for name, (_, made) in PROGRAMS.items() if made in how)


@pytest.mark.parametrize(("strategy", "replicas"), LAYOUTS)
def test_every_update_has_the_value_of_one_node(
    strategy: str, replicas: int, distribute: Any
) -> None:
    names = programs_made(SPLIT, WHOLE, CHOSEN)
    session, built = distribute(lambda: build(names), CUTS[strategy](), replicas)
    found, expected = run_steps(session, built), on_one_node(names)
    for name in names:
        assert_same(found[name], expected[name], name)


def test_updates_that_are_proved_leave_the_batch_split(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = programs_made(SPLIT)
    with caplog.at_level(logging.DEBUG, "autodist"):
        distribute(lambda: build(names))
    ours = [r for r in caplog.records if r.name == "autodist"]
    assert not [r.getMessage() for r in ours if r.levelno >= logging.WARNING]
    split = next(r.getMessage() for r in ours if r.getMessage().startswith("split over 2 replicas"))
    assert not [n for n in names if f"{n}/" not in split]


@pytest.mark.parametrize("name", programs_made(WHOLE, CHOSEN))
def test_what_an_update_costs_or_changes_is_told(
    name: str, distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    how = PROGRAMS[name][1]
    with caplog.at_level(logging.WARNING, "autodist"):
        distribute(lambda: build((name,)))
    warnings = [r.getMessage() for r in caplog.records if r.name == "autodist"]
    if how == WHOLE:
        assert any(f"{name}/" in text and "is not split over" in text for text in warnings)
    else:
        written = [repr(v.op.name) for v in tf1.global_variables()]
        assert any(v in text for v in written for text in warnings)
