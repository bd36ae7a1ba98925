"""Public programs of TensorFlow 1, by their idioms: none trains differently from one node without a word.

`census.py` runs all of them under all strategies.
"""

import logging
from typing import Any

import pytest
import tensorflow as tf

from support.programs import corpus, harness
from support.programs.inputs import draw, fed
from support.programs.parts import sgd, weight
from support.programs.registry import PROGRAMS, Built, Program
from support.strategies import STRATEGIES

# One of each kind, those that are quickest.
SELECTION = (
    "contrastive_in_batch",
    "center_loss",
    "list_net",
    "bpr",
    "cond_on_the_largest",
    "loop_over_rows",
    "map_over_rows_v2",
    "py_func_over_the_batch",
    "function_over_the_batch",
    "faster_rcnn_targets_in_python",
    "ctc_of_dense_labels",
    "split_strings",
    "hash_embeddings_of_dense_strings",
    "nmt_masked_to_the_longest",
    "open_seq2seq_with_accumulation",
    "plain_sum",
    "loss_of_the_mean",
    "filtered_rows",
    "dropout",
    "vq_vae",
    "dqn",
    "reinforce_with_returns",
    "maml_unrolled",
)


@pytest.mark.parametrize("name", SELECTION)
def test_a_program_trains_as_on_one_node_or_says_that_it_does_not(name: str) -> None:
    number = SELECTION.index(name)
    strategy = list(STRATEGIES)[number % len(STRATEGIES)]
    verdict = harness.compare(name, strategy, 2 + number % 2)
    assert verdict.outcome not in harness.FAULTS, verdict.detail
    assert verdict.outcome in PROGRAMS[name].outcomes, verdict.detail
    if PROGRAMS[name].splits:
        assert verdict.split, verdict.whole


def differing(*, warns: bool, fails: bool = False) -> Program:
    """A program that computes something else when it is built for the second time."""
    built: list[Any] = []

    def build() -> Built:
        built.append(None)
        is_second = len(built) > 1
        if is_second and warns:
            logging.getLogger("autodist").warning("the loss is not that of one node")
        if is_second and fails:
            raise tf.errors.InvalidArgumentError(None, None, "shapes must be equal")
        x = fed([None, 2])
        y = tf.matmul(x, weight("w", [2, 1])) * (2.0 if is_second else 1.0)
        loss = tf.reduce_mean(tf.square(y))
        return Built([sgd(loss)], {"loss": loss}, lambda s: {x: draw(s).randn(4, 2)})

    return Program("differing", "tests", build)


@pytest.mark.parametrize(
    ("warns", "fails", "outcome"),
    [(False, False, "silent"), (True, False, "warned"), (False, True, "error")],
)
def test_the_comparison_sees_a_difference(
    warns: bool, fails: bool, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.on_one_node.cache_clear()
    monkeypatch.setitem(PROGRAMS, "differing", differing(warns=warns, fails=fails))
    verdict = harness.compare("differing", "PS", 2)
    assert verdict.outcome == outcome
    harness.on_one_node.cache_clear()


def test_every_program_has_a_name_and_a_family() -> None:
    assert set(SELECTION) <= PROGRAMS.keys()
    assert {p.family for p in PROGRAMS.values()} == {
        module.__name__.rpartition(".")[2] for module in corpus.FAMILIES
    }
