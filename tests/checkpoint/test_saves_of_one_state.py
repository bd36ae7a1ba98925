"""A checkpoint saved beside training holds one state: dense variables of one step are not thousands of steps apart.

A step adds one to a variable at each end of the file. Between them lie variables that take long to write.
"""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from support.specs import write_local_spec
from support.strategies import STRATEGIES
from support.threads import training

tf1 = tf.compat.v1

# Of 16 MB.
LARGE = 6
# Steps that training must have made during a save for it to count.
STEPS = 10
# Saves that count.
SAVES = 5


def build() -> tuple[Any, list[Any]]:
    """Returns a step, and the variables in the order of the file."""
    variables = [
        tf1.get_variable(name, size, initializer=tf1.zeros_initializer(), use_resource=True)
        for name, size in [
            ("first", [1]),
            *((f"large_{i}", [4 << 20]) for i in range(LARGE)),
            ("last", [1]),
            ("steps", []),
        ]
    ]
    step = tf.group(*(v.assign_add(tf.ones(v.shape)) for v in variables if "large" not in v.name))
    return step, variables


def check(session: Any, step: Any, steps: Any, saver: Any, prefix: str) -> None:
    """Saves until some saves took long enough, and compares the variables of each.

    The op takes the references one after the other, without a lock on all of them. On a busy machine
    its thread may lose the processor between two of them, for a few steps. So most saves must be
    exact, and none of those that count may come near the number of steps that it took.
    """
    gaps: list[float] = []
    with training(session, step):
        while len(gaps) < SAVES:
            before = session.run(steps)
            saver.save(session, prefix, write_meta_graph=False)
            made = session.run(steps) - before
            reader = tf.train.load_checkpoint(prefix)
            first, last, at = (
                float(reader.get_tensor(n).sum()) for n in ("first", "last", "steps")
            )
            assert at >= before
            if made > STEPS:
                gaps.append(max(abs(first - last), abs(first - at)))
                assert gaps[-1] < made / 2
    assert sorted(gaps)[SAVES // 2] <= 1


@pytest.mark.parametrize("make_saver", [Saver, tf1.train.Saver])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_a_saver_beside_training(tmp_path: Path, make_saver: Any, is_sharded: bool) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        step, variables = build()
        ours = {"durable": False, "threads": 1} if make_saver is Saver else {}
        saver = make_saver(variables, sharded=is_sharded, **ours)
        session.run(tf1.global_variables_initializer())
        check(session, step, variables[-1], saver, str(tmp_path / "m"))


@pytest.mark.parametrize("strategy", ["AllReduce", "PSLoadBalancing", "PartitionedPS"])
def test_a_saver_beside_distributed_training(tmp_path: Path, strategy: str) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        step, variables = build()
        saver = Saver(variables, durable=False, threads=1)
        with autodist.create_distributed_session() as session:
            check(session, step, variables[-1], saver, str(tmp_path / "m"))
