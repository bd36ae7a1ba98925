"""Rules for what ops become in the transformed graph; each module registers its own.

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
