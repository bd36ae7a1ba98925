"""Makes the table of op types and of what is proved of them, `docs/design/op-kinds.md`.

PYTHONPATH=tests python -m support.drawn.kinds_table > docs/design/op-kinds.md
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from autodist.graph.kinds.rules.rule_table import RULES
from autodist.private_apis import tf_graphs

_WIDTH = 118
_HEAD = f"""# Op types: what is proved of each

Which op types keep a batch split. Read this page if you wonder why a batch is not split, or if you write a rule.
[splitting.md](splitting.md) tells what kinds are. `PYTHONPATH=tests python -m support.drawn.kinds_table >
docs/design/op-kinds.md` makes this page from the table of rules and the registry of TensorFlow {tf.__version__}.

## Op types with a rule

A rule looks at the kinds of an op's inputs, its attributes and its shapes. Where they do not fit, the result is whole.
*Shared* means that all replicas have the same value.
"""
_WHOLE = """
## Op types that have a gradient and no rule

What such an op computes from the batch is whole. If it is fetched, it is computed once from one node's values. If a
training loss takes a batch through such an op, the batch is not split. An op type on neither list is whole, too.
"""
# They begin a graph, or take no tensor that depends on the batch.
_WITHOUT_BATCH = frozenset({"ReadVariableOp", "PlaceholderWithDefault", "_EagerConst"})


def differentiable() -> list[str]:
    """Returns the op types of TensorFlow's registry that have a gradient function."""
    return [n for n in tf_graphs.differentiable_types() if n not in _WITHOUT_BATCH]


_OF_LISTS = "The kind of a list or tensor array is that of its elements."


def rules() -> dict[str, list[str]]:
    """Returns the op types of each rule, by the first paragraph of its docstring."""
    found: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        if tf_graphs.is_op_type(name):
            told = " ".join((rule.__doc__ or _OF_LISTS).partition("\n\n")[0].split())
            found.setdefault(told.rstrip("."), []).append(name)
    return {told: sorted(names) for told, names in found.items()}


def _list(names: list[str]) -> str:
    lines = [""]
    for name in names:
        word = f"`{name}`" if name == names[-1] else f"`{name}`,"
        if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def table() -> str:
    """Returns the whole page."""
    parts = [_HEAD]
    for told, names in sorted(rules().items(), key=lambda item: -len(item[1])):
        parts.append(f"\n**{told}** ({len(names)})\n\n{_list(names)}\n")
    whole = [name for name in differentiable() if name not in RULES]
    parts.append(f"{_WHOLE}\n{_list(whole)}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(table())
