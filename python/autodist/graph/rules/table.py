"""The table of rules: by the type of an original op, the function that makes its transformed ops.

A rule enters itself with a decorator, `@rule` or `@variable_rule`. For each op the table takes the
first that fits:

1. a `variable_rule` for the op's type, where the op takes the handle of a variable;
2. a `variable_rule` whose pattern fits the type, where it takes such a handle;
3. a `rule` for the type, where its condition holds;
4. the `default_rule`, which copies the op.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.context import Context

Rule = Callable[[Context, Any], None]
"""Makes the transformed ops of an original op and records them in the context."""
VariableRule = Callable[[Context, Any, list[PlacedVariable]], None]
"""The same; takes the variables behind the op's handles, in the order of its inputs."""
Blocker = Callable[[tuple[int, ...], Any], str]
"""Says what an op does for which a variable of a shape must stay whole; empty where nothing."""


@dataclasses.dataclass(frozen=True)
class _VariableEntry:
    make: VariableRule
    blocker: Blocker


@dataclasses.dataclass(frozen=True)
class _Entry:
    make: Rule
    applies: Callable[[Context, Any], bool]


class RuleTable:
    """Rules by op type; see the module for the order of precedence."""

    def __init__(self) -> None:
        self._of_variables: dict[str, _VariableEntry] = {}
        self._by_pattern: list[tuple[Callable[[str], bool], _VariableEntry]] = []
        self._others: dict[str, _Entry] = {}
        self._default: Rule | None = None

    def variable_rule(
        self,
        *op_types: str,
        matching: Callable[[str], bool] | None = None,
        blocker: Blocker = lambda *_: "",
    ) -> Callable[[VariableRule], VariableRule]:
        """Enters a rule for ops that take a variable's handle.

        With it, the variable may be cut into shards.

        Args:
          op_types: the types of the ops.
          matching: whether the rule is for a type that is not listed.
          blocker: says why an op of these types needs a variable whole all the same.

        Raises:
          ValueError: if there is a rule for one of the types.
        """

        def enter(make: VariableRule) -> VariableRule:
            entry = _VariableEntry(make, blocker)
            for op_type in op_types:
                _enter(self._of_variables, op_type, entry)
            if matching is not None:
                self._by_pattern.append((matching, entry))
            return make

        return enter

    def rule(
        self, *op_types: str, applies: Callable[[Context, Any], bool] = lambda *_: True
    ) -> Callable[[Rule], Rule]:
        """Enters a rule for ops of some types.

        Args:
          op_types: the types of the ops.
          applies: whether the rule is for an op of these types; other ops are copied.

        Raises:
          ValueError: if there is a rule for one of the types.
        """

        def enter(make: Rule) -> Rule:
            for op_type in op_types:
                _enter(self._others, op_type, _Entry(make, applies))
            return make

        return enter

    def default_rule(self, make: Rule) -> Rule:
        """Enters the rule for every op that no other rule fits."""
        self._default = make
        return make

    def make(self, context: Context, op: Any, touched: list[PlacedVariable]) -> None:
        """Makes the transformed ops of an original op by the first rule that fits.

        Args:
          context: holds what is made.
          op: the original op; all that it depends on is made.
          touched: the variables whose handles it takes.
        """
        entry = self._variable_entry(op.type) if touched else None
        if entry is not None:
            entry.make(context, op, touched)
            return
        other = self._others.get(op.type)
        if other is not None and other.applies(context, op):
            other.make(context, op)
            return
        assert self._default is not None
        self._default(context, op)

    def shard_blocker(self, shape: tuple[int, ...], op: Any) -> str:
        """Why `op` needs a variable of `shape` whole.

        Empty where it has a rule for shards.
        """
        entry = self._variable_entry(op.type)
        return "needs the whole variable" if entry is None else entry.blocker(shape, op)

    def _variable_entry(self, op_type: str) -> _VariableEntry | None:
        found = self._of_variables.get(op_type)
        if found is not None:
            return found
        return next((entry for matches, entry in self._by_pattern if matches(op_type)), None)


def _enter(entries: dict[str, Any], op_type: str, entry: Any) -> None:
    if op_type in entries:
        raise ValueError(f"op type {op_type!r} has two rules")
    entries[op_type] = entry


RULES = RuleTable()
"""The rules of the transformer."""
rule, variable_rule, default_rule = RULES.rule, RULES.variable_rule, RULES.default_rule
