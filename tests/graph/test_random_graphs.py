"""Graphs drawn at random have on replicas the values, gradients and variables that one node has.

Each test draws other chains, the same in every run. `python tests/graph/random_graphs.py` draws for longer.
"""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.graph.kinds.rules import rule_table
from autodist.graph.kinds.rules.arithmetic import row_rules
from autodist.graph.original.ops import op_types
from autodist.strategy import PS
from support.drawn import kinds_table
from support.drawn.drawing import DRAWERS
from support.drawn.random_graphs import describe, faults, sound_chains

tf1 = tf.compat.v1
F = tf.float64
CHAINS = 10
# fmt: off
# Random numbers and batch normalisation differ by choice; control flow, functions and tables have tests of their own.
NOT_DRAWN = row_rules.RANDOM | op_types.CONTROL_FLOW | op_types.FUNCTION_CALLS | {
    "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "LookupTableFind", "LookupTableFindV2", "numbers",
    "LSTMBlockCell", "GRUBlockCell", "Conv3DBackpropInputV2", "DecodeRaw", "DecodePaddedRaw",
    "FakeQuantWithMinMaxVars", "MatrixSetDiagV2", "Print",
}
# fmt: on


@pytest.mark.parametrize(
    ("replicas", "rows", "trains"),
    [(2, 6, False), (3, 5, True), (3, 2, False), (2, 1, True), (1, 6, True)],
)
def test_random_chains_have_the_values_of_one_node(
    replicas: int, rows: int, trains: bool, tmp_path: Path
) -> None:
    seeds = itertools.count(1000 * replicas + 100 * rows + trains)
    names = sorted(DRAWERS)
    first = len(names) * (10 * replicas + rows) // 40
    wanted = [names[(first + 3 * i) % len(names)] for i in range(CHAINS)]
    chains = sound_chains(seeds, CHAINS, rows, trains=trains, wanted=list(wanted))
    found, split = faults(chains, replicas, tmp_path, trains=trains)
    told = [describe(c, len(c.steps)) for i, c in enumerate(chains) if f"c{i}/" in str(found)]
    assert not found, "\n".join([*found, *told])
    assert len(chains) > CHAINS // 2
    assert (len(split) > 3) == (replicas > 1)


def test_every_op_type_with_a_rule_is_drawn() -> None:
    drawn = {name.split(":")[0] for name in DRAWERS}
    of_lists = {name for name in rule_table.RULES if re.search("Tensor(List|Array)", name)}
    assert rule_table.RULES.keys() - drawn - of_lists <= NOT_DRAWN


def _cases() -> dict[str, tf.Tensor]:
    """Where a rule must not claim too much."""
    x = tf1.placeholder(F, [None, 3], "x")
    numbers = tf1.placeholder(tf.int32, [None], "numbers")
    count = tf.shape(x)[0]
    half = tf.cast(tf.cast(count, F) * 0.5, tf.int32)
    squares = tf.einsum("bi,bj->bij", x, x)
    return {
        "a part of the number of rows": half,
        "as many as a part of the number of rows": tf.fill([half], 1.0),
        "whether there are rows": tf.cast(count, tf.bool),
        "whether there are rows, as a number": tf.cast(tf.cast(count, tf.bool), tf.int32),
        "the number of rows as a byte": tf.cast(tf.cast(count * 100, tf.uint8), tf.int32),
        "a sum that wraps around": tf.cast(
            tf.reduce_sum(tf.cast(numbers * 60, tf.uint8)), tf.int32
        ),
        "a shape that is sure of the rows": tf.ensure_shape(x, [6, 3]) * 2.0,
        "a shape that is sure of the columns": tf.ensure_shape(x, [None, 3]) * 2.0,
        "a product over no dimension": tf.zeros(
            tf.raw_ops.Prod(input=tf.shape(x), axis=tf.constant([], tf.int32))
        ),
        "singular values alone": tf.raw_ops.Svd(input=squares, compute_uv=False)[0],
        "eigenvalues alone": tf.raw_ops.SelfAdjointEigV2(input=squares, compute_v=False)[0],
        "no rows": x[6:],
        "no columns": tf.reduce_max(x[:, 3:]),
        "rows by a constant that has as many": tf.gather(
            x, tf.constant([1, 0, 3, 2, 5, 4]) % count
        ),
        "a logarithm of negative numbers": tf.reduce_max(tf.math.log(x)),
        "a mean of infinities": tf.reduce_mean(tf.where(x > 0.0, x / 0.0, x)),
        "both halves of rows one behind the other": tf.concat([x, 2.0 * x], 0)[count:],
    }


def test_a_rule_claims_nothing_of_the_cases_it_does_not_fit(distribute: Any) -> None:
    generator = np.random.default_rng(3)
    feeds = {
        "x:0": generator.normal(size=(6, 3)),
        "numbers:0": np.arange(6, dtype=np.int32),
    }
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(_cases(), feeds)
    session, built = distribute(_cases, PS(), 3)
    assert all(root.is_split for root in session.explain().roots)
    for name, value in expected.items():
        np.testing.assert_allclose(
            session.run(built[name], feeds), value, 1e-9, 1e-12, err_msg=name
        )


def test_three_rows_that_are_one_colour_stay_together(distribute: Any) -> None:
    def build() -> tf.Tensor:
        colour = tf1.placeholder(F, [None], "colour")
        return tf.raw_ops.RGBToHSV(images=tf.sigmoid(colour))

    feeds = {"colour:0": np.array([0.3, -1.0, 2.0])}
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(build(), feeds)
    session, built = distribute(build, PS(), 3)
    np.testing.assert_allclose(session.run(built, feeds), expected)


def test_the_page_of_op_types_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "design" / "op-kinds.md"
    found = page.read_text()
    if f"TensorFlow {tf.__version__}." not in found:
        pytest.skip("the page was made with another version of TensorFlow")
    assert found == kinds_table.table(), (
        "run: PYTHONPATH=tests python -m support.drawn.kinds_table > docs/design/op-kinds.md"
    )
