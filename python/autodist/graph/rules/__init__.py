"""What each kind of op becomes in the transformed graph: one module a kind, which enters its rules in `table`.

Importing this package enters them all. A new rule is a new module and a line here.
"""

from autodist.graph.rules import (
    copies,
    gathers,
    handles,
    reads,
    restoring,
    saving,
    summaries,
    updates,
)
from autodist.graph.rules.table import RULES, RuleTable

__all__ = [
    "RULES",
    "RuleTable",
    "copies",
    "gathers",
    "handles",
    "reads",
    "restoring",
    "saving",
    "summaries",
    "updates",
]
