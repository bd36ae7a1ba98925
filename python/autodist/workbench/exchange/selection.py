"""Which tensors of a checkpoint an export takes, and under which names."""

from __future__ import annotations

from collections.abc import Sequence

from autodist.workbench import errors
from autodist.workbench.exchange.bundle_record import slots_of
from autodist.workbench.writing.casting import CastRule, refuse_idle_casts
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.sources import Source
from autodist.workbench.writing.stored import StoredTensor


def select(
    source: Source, names: NameRules, casts: Sequence[CastRule], *, drop_slots: bool
) -> tuple[list[StoredTensor], dict[str, str]]:
    """Returns the tensors to export, and the new name of each by its old one.

    Raises:
        ArgumentError: Nothing is left, or a rule matches no tensor.
    """
    renamed = names.apply([tensor.name for tensor in source.tensors])
    if drop_slots:
        for slot in slots_of(list(renamed)):
            del renamed[slot]
    kept = [tensor for tensor in source.tensors if tensor.name in renamed]
    if not kept:
        raise errors.ArgumentError("nothing is left to export: all tensors are dropped")
    refuse_idle_casts(casts, kept)
    return kept, renamed
