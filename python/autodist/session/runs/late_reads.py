"""Reads a variable after the updates of the same run, as TensorFlow reads ref variables.

`session.run([train_op, global_step])` does not say whether the step is read before or after it is
incremented. A ref variable is fetched by reference, so a program sees the value after the step. A
resource variable is read at any time, on an idle machine mostly before. This module reads a fetched
variable after all ops of the run that may write it.

This holds for the variable itself. A value computed from it (`v * 2`, `v.read_value()`) is ordered
as the graph says. So is a read that an update of the same run waits for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import may_write
from autodist.graph.original.variables.roles import Key, key_of
from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_graphs

_MOST_RUNS = 1000


class LateReads:
    """The late reads of one session.

    Args:
      transformer: of the session.
    """

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._made: dict[tuple[Any, frozenset[Any]], Any] = {}
        self._waits: dict[Any, list[int]] = {}

    def fetch(self, tensors: Sequence[Any], ops: Sequence[Any], fed: Collection[Any]) -> list[Any]:
        """The transformed tensors to fetch in place of original ones.

        Args:
          tensors: the original tensors.
          ops: the original ops that are run beside them.
          fed: the original tensors that are fed.
        """
        transformer = self._transformer
        variables = [self._variable_of(tensor) for tensor in tensors]
        if not any(variables):
            return [transformer.fetch(tensor) for tensor in tensors]
        fed_keys = frozenset(map(key_of, fed))
        elements = [*ops, *(t.op for t, v in zip(tensors, variables, strict=True) if v is None)]
        made: list[list[Any]] = [transformer.targets(op) for op in ops]
        found = []
        for tensor, variable in zip(tensors, variables, strict=True):
            if variable is None:
                found.append(transformer.fetch(tensor))
                made.append([found[-1].op])
            else:
                found.append(None)
        with transformer.growing():
            for index, (tensor, variable) in enumerate(zip(tensors, variables, strict=True)):
                if variable is not None:
                    waits = self._waits_of(tensor, variable, elements, fed_keys)
                    late = frozenset(op for i in waits for op in made[i])
                    found[index] = self._read(variable, late) if late else transformer.fetch(tensor)
        return found

    def _variable_of(self, tensor: Any) -> PlacedVariable | None:
        """The variable that is fetched as a whole: by its handle, or by its cached read."""
        transformer = self._transformer
        transformer.require([tensor.op])
        variable = transformer.placed(tensor)
        if variable is not None or tensor.op.type != op_types.READ:
            return variable
        variable = transformer.placed(tensor.op.inputs[0])
        if variable is None or tensor.op.control_inputs:
            return None
        # TensorFlow makes that read together with the variable. What saves the variable may take
        # it, too.
        own = next(op for op in variable.logical.consumers if op.type == op_types.READ)
        return variable if tensor.op is own or not tensor.consumers() else None

    def _waits_of(
        self, tensor: Any, variable: PlacedVariable, elements: list[Any], fed: frozenset[Key]
    ) -> list[int]:
        """Returns those `elements` of a run, original ops, that the read of a variable waits for.

        They may write the variable. There are none where one of them waits for the read itself,
        `tensor`.
        """
        if len(self._waits) > _MOST_RUNS:
            self._waits = {}
        key = tensor.op, tuple(elements), fed
        if key not in self._waits:
            after = _behind(_writers(variable.logical.handle_op), fed)
            waits = [i for i, op in enumerate(elements) if op in after and _is_never_dead(op)]
            if tensor.op.type == op_types.READ:
                behind_read = _behind([tensor.op], fed)
                if any(elements[i] in behind_read for i in waits):
                    waits = []
            self._waits[key] = waits
        return self._waits[key]

    def _read(self, variable: PlacedVariable, waits: frozenset[Any]) -> Any:
        key = variable.logical.handle_op, waits
        if key not in self._made:
            controls = sorted(waits, key=lambda op: str(op.name))
            self._made[key] = self._transformer.read(variable, controls)
        return self._made[key]


def _behind(ops: Iterable[Any], fed: frozenset[Key]) -> set[Any]:
    """The ops that run after one of `ops`, and those themselves."""
    pending = list(ops)
    found: set[Any] = set()
    while pending:
        op = pending.pop()
        if op in found:
            continue
        found.add(op)
        for tensor in op.outputs:
            if key_of(tensor) not in fed:
                pending.extend(tensor.consumers())
        # An op that waits for an op in a branch does not run if the branch is not taken.
        pending.extend(
            later
            for later in tf_graphs.control_outputs(op)
            if _is_never_dead(op) or not _is_never_dead(later)
        )
    return found


def _writers(handle_op: Any) -> Iterator[Any]:
    pending, seen = [handle_op.outputs[0]], set()
    while pending:
        tensor = pending.pop()
        for op in tensor.consumers():
            for index, given in enumerate(op.inputs):
                if given is not tensor or (op, index) in seen:
                    continue
                seen.add((op, index))
                if op.type in op_types.HANDLE_PASSES:
                    pending.extend(t for t in op.outputs if t.dtype == tf.resource)
                elif may_write(op, index):
                    yield op


def _is_never_dead(op: Any) -> bool:
    """Whether an op runs whenever it is asked for: it is in no v1 branch or loop."""
    return tf_graphs.is_at_top_level(op) or op.type in ("Merge", "Exit")
