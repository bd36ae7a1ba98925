"""Training on one, two and three nodes is training on one machine, and so are its checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce
from support.clusters import digits
from support.strategies import STRATEGIES

tf1 = tf.compat.v1


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[digits.Trained, str]:
    """What stock TensorFlow trains on one machine, and its checkpoint."""
    prefix = str(tmp_path_factory.mktemp("stock") / "model.ckpt")
    return digits.train_on_one_node(prefix), prefix


@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")
@pytest.mark.parametrize("nodes", ["all", 2, 1])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_training_and_checkpoints_are_those_of_one_machine(
    strategy: str, nodes: Any, reference: Any, make_autodist: Any, tmp_path: Path
) -> None:
    expected, stock_prefix = reference
    autodist = make_autodist(STRATEGIES[strategy](), *([] if nodes == "all" else [nodes]))
    with tf.Graph().as_default(), autodist.scope():
        program = digits.build()
        savers = {way: Saver(transport=way) for way in ("shared", "stream")}
        with autodist.create_distributed_session() as session:
            digits.assert_equal(digits.run(session, program), expected)
            for way, saver in savers.items():
                prefix = str(tmp_path / way)
                session.run(tf1.global_variables_initializer())
                saver.restore(session, stock_prefix)
                saver.save(session, prefix, write_meta_graph=False)
                assert digits.files(prefix) == digits.files(stock_prefix), way


def test_what_follows_a_mean_over_tasks_sees_it_whole(make_autodist: Any, tmp_path: Path) -> None:
    expected = digits.train_on_one_node(str(tmp_path / "model.ckpt"), clip=True)
    autodist = make_autodist(AllReduce())
    with tf.Graph().as_default(), autodist.scope():
        program = digits.build(clip=True)
        with autodist.create_distributed_session() as session:
            digits.assert_equal(digits.run(session, program), expected)
            ops = [op.type for op in session.transformed_graph.get_operations()]
    assert ops.count("CollectiveReduceV2") == 3 * len(("kernel", "bias"))
