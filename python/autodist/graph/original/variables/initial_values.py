"""Plans the initialisation of variables, tables and iterators: the order, and omissions.

An initial value may be computed from another variable (a slot, a moving average), looked up in a
table, or taken from an iterator. Its initializer then runs after theirs. An initializer that
depends on a placeholder that is not fed is left to the user, and so are those that depend on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import tensorflow as tf

from autodist.graph.original.observed.declared_variables import initializer_op, variables_of
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Key, key_of

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
# Resources, apart from variables, that hold nothing until an op has initialised them, and those
# ops.
_STATEFUL = frozenset({"HashTable", "HashTableV2", "Iterator", "IteratorV2"})
_INITIALIZING = frozenset(
    {
        "InitializeTable",
        "InitializeTableV2",
        "InitializeTableFromTextFile",
        "InitializeTableFromTextFileV2",
        "LookupTableImport",
        "LookupTableImportV2",
        "MakeIterator",
    }
)


@dataclasses.dataclass(frozen=True)
class Unready:
    """A variable, table or iterator whose initialization is left to the user.

    Attributes:
      name: its type and its name.
      reason: why, as the end of a sentence about it.
    """

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """Initializers that may run together.

    Attributes:
      ops: the initializers.
      fed: the fed tensors that they depend on.
    """

    ops: list[Any]
    fed: set[Key]


@dataclasses.dataclass
class _Ancestors:
    """What an initializer depends on.

    Attributes:
      resources: `VarHandleOp`s and ops that make a table or an iterator.
      optional: those that the initializer only asks whether they have a value.
      initialised: those that the initializer itself, or an op before it, initialises.
      placeholders: that are not fed.
      fed: tensors that are.
    """

    resources: set[Any] = dataclasses.field(default_factory=set)
    optional: set[Any] = dataclasses.field(default_factory=set)
    initialised: set[Any] = dataclasses.field(default_factory=set)
    placeholders: list[Any] = dataclasses.field(default_factory=list)
    fed: set[Key] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(eq=False)
class _Initializer:
    name: str
    op: Any
    makes: set[Any]
    ancestors: _Ancestors

    @property
    def needs(self) -> set[Any]:
        return self.ancestors.resources - self.makes


def plan_initialization(
    graph: Any, fed: Collection[Key], with_value: Collection[Any], made: Collection[Any]
) -> tuple[list[Stage], list[Unready]]:
    """Plans which initializers run.

    Args:
      graph: the original graph.
      fed: the tensors that are fed.
      with_value: the `VarHandleOp`s of variables that have a value, which they keep.
      made: the initializers of tables and iterators that have run.

    Returns:
      Stages, of which each depends only on what earlier ones initialise, and what is left to the
      user. Variables that start from each other in a ring share the last stage.
    """
    waiting = list(_initializers(graph, fed, with_value, made))
    there = {*with_value, *(r for op in made for r in _ancestors(op, fed).initialised)}
    runnable, unready = _runnable(waiting, there)
    stages = []
    pending = set(runnable)
    while pending:
        missing = {resource for item in pending for resource in item.makes}
        ready = [i for i in runnable if i in pending and not i.needs & missing]
        ready = ready or [i for i in runnable if i in pending]
        stages.append(Stage([i.op for i in ready], {k for i in ready for k in i.ancestors.fed}))
        pending.difference_update(ready)
    return stages, unready


def _initializers(
    graph: Any, fed: Collection[Key], with_value: Collection[Any], made: Collection[Any]
) -> Iterator[_Initializer]:
    for variable in variables_of(graph):
        handle, op = variable.handle.op, initializer_op(variable)
        if handle not in with_value:
            yield _Initializer(
                f"the initializer of variable {handle.name!r}", op, {handle}, _ancestors(op, fed)
            )
    tables = graph.get_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    for op in dict.fromkeys(getattr(table, "op", table) for table in tables):
        if op not in made:
            ancestors = _ancestors(op, fed)
            yield _Initializer(f"initializer {op.name!r}", op, ancestors.initialised, ancestors)


def _runnable(
    waiting: Iterable[_Initializer], there: set[Any]
) -> tuple[list[_Initializer], list[Unready]]:
    """The initializers that can run, and what cannot be initialised and why."""
    runnable, unready = [], []
    for item in waiting:
        if item.ancestors.placeholders:
            names = sorted({repr(p.name) for p in item.ancestors.placeholders})
            reason = f"depends on {', '.join(names)}, which is not fed"
            unready.append(Unready(item.name, reason))
        else:
            runnable.append(item)
    while True:
        coming = there.union(*(item.makes for item in runnable))
        stuck = {
            item: lacking
            for item in runnable
            if (lacking := item.needs - item.ancestors.optional - coming)
        }
        if not stuck:
            return runnable, unready
        for item, lacking in stuck.items():
            names = sorted(repr(op.name) for op in lacking)
            reason = f"depends on {', '.join(names)}, which is not initialised"
            unready.append(Unready(item.name, reason))
        runnable = [item for item in runnable if item not in stuck]


def _ancestors(initializer: Any, fed: Collection[Key]) -> _Ancestors:
    found = _Ancestors()
    pending, seen = [initializer], {initializer}
    while pending:
        op = pending.pop()
        if op.type in _PLACEHOLDERS:
            found.placeholders.append(op.outputs[0])
        elif op.type == op_types.HANDLE or op.type in _STATEFUL:
            found.resources.add(op)
        sources = list(op.control_inputs)
        for tensor in op.inputs:
            if key_of(tensor) in fed:
                found.fed.add(key_of(tensor))
                continue
            sources.append(tensor.op)
            if op.type == op_types.IS_INITIALIZED:
                found.optional.add(tensor.op)
            elif op.type in _INITIALIZING and tensor.op.type in _STATEFUL:
                found.initialised.add(tensor.op)
        for source in sources:
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return found
