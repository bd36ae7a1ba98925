"""Rules for the ops that call functions: calls, branches and loops of the v2 control flow.

See `rule_table`.

The rules are applied inside the function's body, to the kinds of its arguments. Nothing is combined
over the replicas inside a body, so a result that needs it has no kind. A body is analysed once for
each list of its arguments' kinds.

For a loop, the kinds of its variables are assumed and weakened as in the v1 control flow
(`loop_rules`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.graph.kinds.custom_gradients import has_own_gradient
from autodist.graph.kinds.elements import EMPTY, INDEX, ListKind
from autodist.graph.kinds.kind import ITEM, SAME, SUM, Count, Kind
from autodist.graph.kinds.kinds import Analysis, Kinds, Rule
from autodist.graph.kinds.rules.control_flow.list_rules import list_behind
from autodist.graph.kinds.rules.control_flow.loop_rules import NOTHING, WITHIN, Fact, is_next
from autodist.graph.original.ops.functions import has_effect
from autodist.graph.original.ops.order import topological
from autodist.graph.original.variables.roles import Key, key_of
from autodist.private_apis import tf_graphs

Found = list[Kind | None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a function's results.

    Attributes:
      facts: of each result.
      chosen: what is chosen in it, where a result depends on a choice (`Kinds.chosen`).
    """

    facts: tuple[Fact, ...]
    chosen: frozenset[str] = frozenset()


@dataclasses.dataclass
class Bodies:
    """The functions that were looked into.

    Attributes:
      graphs: the bodies, by name.
      outcomes: by name, facts on the arguments, and whether replicas have own statistics.
    """

    graphs: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcomes: dict[Any, Outcome | None] = dataclasses.field(default_factory=dict)

    def graph(self, caller: Any, name: str) -> Any:
        """The body of a function that `caller` calls; None where it is not known."""
        if name not in self.graphs:
            self.graphs[name] = tf_graphs.function_body(caller.graph, name)
        return self.graphs[name]


class _BodyAnalysis:
    """Answers what the rules ask of the analysis (`Analysis`), for the body of a function.

    Args:
      outer: answers for the op that calls the function.
      call: that op.
    """

    def __init__(self, outer: Analysis, call: Any) -> None:
        self._outer = outer
        self._call = call
        self.varying: set[Key] = set()
        self.uses_own_statistics = outer.uses_own_statistics

    def varies(self, op: Any, tensor: Any) -> bool:  # noqa: ARG002
        return key_of(tensor) in self.varying

    def axis_of_root(self, tensor: Any) -> int | None:  # noqa: ARG002
        return None

    def is_local_read(self, op: Any) -> bool:  # noqa: ARG002
        return False

    def is_forward(self, op: Any) -> bool:  # noqa: ARG002
        return True

    def is_in_loop(self, op: Any) -> bool:  # noqa: ARG002
        return False

    def is_differentiated(self, op: Any) -> bool:  # noqa: ARG002
        return self._outer.is_differentiated(self._call)

    def has_own_statistics(self, op: Any) -> bool:
        return self.uses_own_statistics and self.is_differentiated(op)

    def kind_of_result(self, op: Any, index: int) -> Kind | None:  # noqa: ARG002
        return None

    def with_reductions(self, op: Any, found: Found) -> Found:
        # Whether a gradient function of the user's is linear is not looked into here.
        is_custom = has_own_gradient(op) and self.is_differentiated(op)
        return [None] * len(found) if is_custom else found


def look_into(kinds: Kinds, op: Any, name: str, given: list[Fact]) -> Outcome:
    """What is known of the results of a function.

    Args:
      kinds: the kinds of the tensors among which `op` is.
      op: the op that calls the function.
      name: the function's name.
      given: what is known of its arguments.
    """
    bodies = kinds.remembered(Bodies)
    analysis = _BodyAnalysis(kinds.analysis, op)
    key = (name, tuple(given), analysis.has_own_statistics(op))
    graph = bodies.graph(op, name)
    if graph is None or len(graph.inputs) != len(given):
        return Outcome((NOTHING,) * len(op.outputs))
    if key not in bodies.outcomes:
        # Of a function that calls itself nothing is known.
        bodies.outcomes[key] = None
        bodies.outcomes[key] = _find(kinds.of_body(analysis), analysis, graph, given)
    return bodies.outcomes[key] or Outcome((NOTHING,) * len(graph.outputs))


def _find(inner: Kinds, analysis: _BodyAnalysis, graph: Any, given: list[Fact]) -> Outcome:
    arguments = {t.op for t in graph.inputs}
    for tensor, fact in zip(graph.inputs, given, strict=True):
        if fact.kind != SAME:
            analysis.varying.add(key_of(tensor))
            inner.set_kind(tensor, fact.kind)
        fact.note(inner, tensor)
    for op in topological(graph.get_operations()):
        if op in arguments:
            continue
        varies = any(analysis.varies(op, t) for t in op.inputs) or not inner.is_repeatable(op)
        inner.take(op)
        if varies:
            analysis.varying.update(key_of(t) for t in op.outputs)
    found, is_chosen = [], False
    for tensor in graph.outputs:
        varies = key_of(tensor) in analysis.varying
        kind = inner.of_tensor(tensor) if varies else SAME
        is_chosen = is_chosen or (varies and tensor.op in inner.by_choice)
        found.append(Fact(list_behind(kind, tensor), _sizes(inner, tensor)))
    whats = frozenset().union(*inner.chosen.values()) if is_chosen else frozenset[str]()
    return Outcome(tuple(found), whats)


def _sizes(kinds: Kinds, tensor: Any) -> tuple[Any, ...] | None:
    sizes = kinds.sizes(tensor)
    return None if sizes is None else tuple(sizes)


def _given(kinds: Kinds, op: Any, first: int) -> list[Fact]:
    """What is known of the inputs of `op` from number `first` on."""
    found = [Fact.of_input(kinds, op, i) for i in range(first, len(op.inputs))]
    return [
        dataclasses.replace(fact, kind=list_behind(fact.kind, tensor))
        for fact, tensor in zip(found, op.inputs[first:], strict=True)
    ]


def _noted(kinds: Kinds, op: Any, outcome: Outcome) -> Found:
    """The kinds of the outputs of `op`, which are a function's results."""
    if len(outcome.facts) != len(op.outputs):
        return [None] * len(op.outputs)
    if outcome.chosen:
        kinds.choose(op, *outcome.chosen)
    return [fact.note(kinds, t) for fact, t in zip(outcome.facts, op.outputs, strict=True)]


def call(kinds: Kinds, op: Any) -> Found:
    """The outputs have the kinds of the function's results, if it has no effect."""
    if has_effect(op):
        return [None] * len(op.outputs)
    name = op.get_attr("f").name
    return _noted(kinds, op, look_into(kinds, op, name, _given(kinds, op, 0)))


def branches(kinds: Kinds, op: Any) -> Found:
    """The outputs have the kinds that all branches return, if all replicas take one branch."""
    if kinds.of(op, 0) != SAME or has_effect(op):
        return [None] * len(op.outputs)
    given = _given(kinds, op, 1)
    if op.type.endswith("If"):
        names = [op.get_attr(name).name for name in ("then_branch", "else_branch")]
    else:
        names = [function.name for function in op.get_attr("branches")]
    outcomes = [look_into(kinds, op, name, given) for name in names]
    facts = outcomes[0].facts
    for outcome in outcomes[1:]:
        facts = _joined(facts, outcome.facts)
    return _noted(kinds, op, Outcome(facts, frozenset().union(*(o.chosen for o in outcomes))))


def _joined(ones: tuple[Fact, ...], others: tuple[Fact, ...]) -> tuple[Fact, ...]:
    return tuple(one.join(other) for one, other in zip(ones, others, strict=True))


def loop(kinds: Kinds, op: Any) -> Found:
    """The outputs have the kinds of what the loop carries, if all iterate alike or once per row."""
    if has_effect(op):
        return [None] * len(op.outputs)
    body, condition = op.get_attr("body").name, op.get_attr("cond").name
    given = tuple(_given(kinds, op, 0))
    found = _carried(kinds, op, body, given)
    if _goes_on_by(kinds, op, condition, found) == SAME:
        return _noted(kinds, op, found)
    given = _by_rows(kinds, op, body, given)
    found = _carried(kinds, op, body, given, keeps=INDEX)
    if _goes_on_by(kinds, op, condition, found) == WITHIN:
        return _noted(kinds, op, Outcome(tuple(map(_after_rows, found.facts))))
    return [None] * len(op.outputs)


def _carried(
    kinds: Kinds, op: Any, body: str, given: tuple[Fact, ...], keeps: Kind | None = None
) -> Outcome:
    """What is known in each iteration of what a loop carries.

    What has the kind `keeps` is known to keep it.
    """
    while True:
        outcome = look_into(kinds, op, body, list(given))
        after = tuple(
            old if keeps is not None and old.kind == keeps else old.join(new)
            for old, new in zip(given, outcome.facts, strict=True)
        )
        if after == given:
            return Outcome(given, outcome.chosen)
        given = after


def _goes_on_by(kinds: Kinds, op: Any, condition: str, carried: Outcome) -> Kind | None:
    return look_into(kinds, op, condition, list(carried.facts)).facts[0].kind


def _by_rows(kinds: Kinds, op: Any, body: str, given: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """What a loop over the rows may carry: counters, unchanged tensors, and lists."""
    graph = kinds.remembered(Bodies).graph(op, body)
    found = []
    for fact, before, after in zip(given, graph.inputs, graph.outputs, strict=True):
        last = _origin(after)
        if last is before:
            found.append(fact)
        elif fact.sizes == (0,) and is_next(last.op, lambda t, of=before: _origin(t) is of):
            found.append(Fact(INDEX))
        else:
            found.append(Fact(fact.kind) if isinstance(fact.kind, ListKind) else NOTHING)
    return tuple(found)


def _origin(tensor: Any) -> Any:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _after_rows(fact: Fact) -> Fact:
    if fact.kind == INDEX:
        # The number of the first row that there is not.
        return Fact(SUM, (Count.of(()),))
    return NOTHING if fact.kind in (ITEM, EMPTY) else fact


RULES: dict[str, Rule] = {
    "PartitionedCall": call,
    "StatefulPartitionedCall": call,
    "If": branches,
    "StatelessIf": branches,
    "Case": branches,
    "StatelessCase": branches,
    "While": loop,
    "StatelessWhile": loop,
}
