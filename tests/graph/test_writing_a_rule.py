"""The rule that `docs/design/writing-a-rule.md` shows works as it stands there, and the table keeps its order."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.graph.rules import RULES, RuleTable
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
PAGE = Path(__file__).parents[2] / "docs" / "design" / "writing-a-rule.md"


@pytest.fixture
def rule_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enters the rule on the page, as the import of its file would, until the test ends."""
    source = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert source is not None
    monkeypatch.setattr(RULES, "_of_variables", dict(RULES._of_variables))
    exec(compile(source.group(1), PAGE.name, "exec"), {"__name__": "element_gathers"})


def build() -> tuple[Any, Any, Any]:
    x = tf1.placeholder(tf.int32, [None, 2], "x")
    v = tf1.get_variable("v", initializer=tf.reshape(tf.range(15.0), [5, 3]), use_resource=True)
    return x, v, v.gather_nd(x) * 2.0


ELEMENTS = np.array([[4, 0], [0, 2], [3, 1], [2, 2]])


@pytest.mark.parametrize("strategy", ["PartitionedPS", "PartitionedAR", "AllReduce"])
@pytest.mark.usefixtures("rule_of_the_page")
def test_the_example_gives_one_nodes_value(strategy: str, distribute: Any) -> None:
    session, (x, v, elements) = distribute(build, STRATEGIES[strategy](), 3)
    (row,) = session.explain().variables
    assert ("3 shards" in row.layout) == (strategy != "AllReduce"), row
    assert "ResourceGatherNd" not in row.reason
    for count in (4, 1):
        got = session.run(elements, {x: ELEMENTS[:count]})
        whole = session.run(v)
        np.testing.assert_array_equal(got, [2 * whole[i, j] for i, j in ELEMENTS[:count]])


def test_without_the_rule_the_variable_stays_whole(distribute: Any) -> None:
    session, _ = distribute(build, STRATEGIES["PartitionedPS"](), 3)
    (row,) = session.explain().variables
    assert "1 shard" in row.layout
    assert "ResourceGatherNd" in row.reason


def test_the_table_takes_the_first_rule_that_fits() -> None:
    table, made = RuleTable(), []
    table.default_rule(lambda _, op: made.append(("default", op.name)))
    table.rule("NoOp", "Add", applies=lambda _, op: op.name != "other")(
        lambda _, op: made.append(("rule", op.name))
    )
    table.variable_rule(matching=lambda op_type: op_type.startswith("No"))(
        lambda *_: made.append(("pattern", ""))
    )
    table.variable_rule("NoOp", blocker=lambda shape, _: f"hates {shape}")(
        lambda *_: made.append(("variable", ""))
    )
    with tf.Graph().as_default():
        no_op, other = tf.no_op("mine"), tf.no_op("other")
        constant = tf.constant(1.0, name="constant").op
    context: Any = None
    variable: Any = object()
    table.make(context, no_op, [])
    table.make(context, other, [])
    table.make(context, constant, [variable])
    table.make(context, no_op, [variable])
    assert made == [
        ("rule", "mine"),
        ("default", "other"),
        ("default", "constant"),
        ("variable", ""),
    ]
    assert table.shard_blocker((2, 3), no_op) == "hates (2, 3)"
    assert table.shard_blocker((2, 3), constant) == "needs the whole variable"


def test_two_rules_for_one_type_are_an_error() -> None:
    table = RuleTable()
    table.rule("NoOp")(lambda *_: None)
    with pytest.raises(ValueError, match="'NoOp' has two rules"):
        table.rule("NoOp")(lambda *_: None)
