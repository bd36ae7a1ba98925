"""`autodist show`: values of variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.commands import selection
from autodist.workbench.reading import finding
from autodist.workbench.reading.checkpoint import Checkpoint, Variable
from autodist.workbench.reading.values import ValueReader, read_variable

_SELECTED = re.compile(r"(.*)\[([-\d:,\s]*)\]", re.DOTALL)
_RANGE = re.compile(r"\s*(-?\d*)\s*(:\s*(-?\d*)\s*)?")


class Shown(NamedTuple):
    """A value, or a part of it.

    Attributes:
        variable: Whose.
        selection: The part, as it was asked for: `'0:10, 3'`; `''` for all.
        values: An array of NumPy; of strings, bytes objects; `None` of a dtype without an array, if
            a pattern chose the variable.
    """

    variable: Variable
    selection: str
    values: Any


def show(path: str, targets: Sequence[str]) -> Iterator[Shown]:
    """Reads values, one variable at a time; each one's CRC is compared.

    Args:
        path: See `reading.finding`.
        targets: Names or patterns, each with rows behind it if not all are wanted: `emb[0:10]`,
            `w[3, :2]`. Indices from the end are negative, as in NumPy.

    Raises:
        NotFoundError: There is no such checkpoint or variable.
        ArgumentError: Rows that the variable does not have.
        DamagedError: The bytes are not those that were written.
        UnsupportedError: A dtype without values to show, such as variants.
    """
    checkpoint = finding.open_checkpoint(path)
    wanted = [pair for target in targets for pair in _resolve(checkpoint, target)]
    with ValueReader(checkpoint) as reader:
        for variable, text in wanted:
            try:
                values = _read(reader, variable, text)
            except errors.UnsupportedError:
                if any(target.partition("[")[0] == variable.name for target in targets):
                    raise
                values = None
            yield Shown(variable, text, values)


def _resolve(checkpoint: Checkpoint, target: str) -> list[tuple[Variable, str]]:
    found = _SELECTED.fullmatch(target)
    is_name = checkpoint.find(target) is not None
    if found is None or is_name:
        return [(variable, "") for variable in selection.select(checkpoint.variables, [target])]
    name, text = found.groups()
    try:
        return [(v, text) for v in selection.select(checkpoint.variables, [name])]
    except errors.NotFoundError:
        # The brackets may be those of a pattern.
        try:
            return [(v, "") for v in selection.select(checkpoint.variables, [target])]
        except errors.NotFoundError:
            pass
        raise


def _read(reader: ValueReader, variable: Variable, text: str) -> Any:
    axes = _parse(variable, text)
    if not axes:
        return read_variable(reader, variable)
    first = axes[0]
    begin, end = (first, first + 1) if isinstance(first, int) else (first.start, first.stop)
    rows = read_variable(reader, variable, begin, end)
    index = (0 if isinstance(first, int) else slice(None), *axes[1:])
    return rows[index]


def _parse(variable: Variable, text: str) -> list[int | slice]:
    if not text.strip():
        return []
    parts = text.split(",")
    if len(parts) > len(variable.shape):
        raise errors.ArgumentError(
            f"{printable(variable.name)!r} of shape {list(variable.shape)} has no rows [{text}]"
        )
    return [
        _axis(variable, text, part, dim) for part, dim in zip(parts, variable.shape, strict=False)
    ]


def _axis(variable: Variable, text: str, part: str, dim: int) -> int | slice:
    found = _RANGE.fullmatch(part)
    first = found.group(1) if found else ""
    if found is None or (found.group(2) is None and first in ("", "-")) or len(part) > 40:
        raise errors.ArgumentError(f"expected rows such as 3, 0:10 or 0:10, 3, found [{text}]")
    if found.group(2) is not None:
        last = found.group(3)
        begin, end, _ = slice(_number(first), _number(last)).indices(dim)
        return slice(begin, max(begin, end))
    index = int(first)
    if not -dim <= index < dim:
        raise errors.ArgumentError(
            f"{printable(variable.name)!r} of shape {list(variable.shape)} has no row {index}"
        )
    return index % dim


def _number(text: str) -> int | None:
    return int(text) if text not in ("", "-") else None
