"""Which tensors are cast to another float dtype."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from autodist.workbench.errors import ArgumentError
from autodist.workbench.writing.stored import StoredTensor
from autodist.workbench.writing.values import FLOATS, CastValues, Values


@dataclass(frozen=True)
class CastRule:
    """Casts the tensors of a glob from one float dtype to another."""

    glob: str
    source: str
    target: str

    @classmethod
    def parse(cls, text: str) -> CastRule:
        """Reads a rule, such as `float32=bfloat16` or `emb*:float32=float16`.

        Raises:
            ArgumentError: it is none.
        """
        rest, _, target = text.rpartition("=")
        glob, colon, source = rest.rpartition(":")
        rule = cls(glob if colon else "*", source, target)
        for name in (source, target):
            if name not in FLOATS:
                raise ArgumentError(
                    f"{text!r} is no cast: expected [GLOB:]FROM=TO with two of {', '.join(FLOATS)}"
                )
        return rule

    def takes(self, tensor: StoredTensor) -> bool:
        """Whether the rule is one for this tensor."""
        return tensor.dtype == self.source and fnmatch.fnmatchcase(tensor.name, self.glob)


def cast_tensor(tensor: StoredTensor, rules: Sequence[CastRule]) -> StoredTensor | Values:
    """Returns the values of a tensor after the first rule that takes it."""
    rule = next((rule for rule in rules if rule.takes(tensor)), None)
    if rule is None or rule.source == rule.target:
        return tensor
    return CastValues(tensor, rule.target)


def refuse_idle_casts(rules: Sequence[CastRule], tensors: Sequence[StoredTensor]) -> None:
    """Refuses a rule that takes no tensor.

    Raises:
        ArgumentError: there is one.
    """
    for rule in rules:
        if not any(rule.takes(tensor) for tensor in tensors):
            raise ArgumentError(f"the cast {rule.glob!r} matches no variable of {rule.source}")
