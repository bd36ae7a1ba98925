"""`autodist stat --evidence`: what the save noted, without reading a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from autodist import _log, errors
from autodist.cli import output
from autodist.evidence.figures import Evidence, VariableFigures
from autodist.evidence.rules import matches
from autodist.workbench.errors import DamagedError, NotFoundError
from autodist.workbench.reading import evidence, finding


def show(path: str, patterns: Sequence[str], *, only_bad: bool, as_json: bool) -> int:
    """Prints the evidence of a checkpoint; returns the exit code: 1 if something is not finite.

    Args:
        path: What stands for a checkpoint.
        patterns: Names or patterns of variables; none: all.
        only_bad: Whether to show only variables with NaN or infinite elements.
        as_json: Whether to print JSON.

    Raises:
        NotFoundError: There is no evidence.
        DamagedError: It is of no use.
    """
    prefix = finding.find(path).prefix
    found = evidence.read(prefix) if prefix else None
    if found is None:
        raise NotFoundError(
            f"{_log.printable(path)!r} has no evidence: save with SaveOptions(check=True). "
            "`autodist stat` without --evidence reads the values"
        )
    if not evidence.is_current(found, prefix):
        raise DamagedError(
            f"the evidence of {_log.printable(prefix)!r} is about other values: it names another index"
        )
    if found.is_pending:
        raise errors.ArgumentError(f"{_log.printable(prefix)!r}: {found.why_not_latest()}")
    figures = {
        name: figures
        for name, figures in found.variables.items()
        if not patterns or matches(name, patterns)
    }
    is_bad = any(each.nonfinite for each in figures.values())
    if only_bad:
        figures = {name: each for name, each in figures.items() if each.nonfinite}
    if as_json:
        output.write_json(_json(found, figures))
    else:
        _write(found, figures)
    return 1 if is_bad else 0


def _write(found: Evidence, figures: dict[str, VariableFigures]) -> None:
    headings = ["NAME", "DTYPE", "MIN", "MAX", "MEAN", "NORM", "NAN", "INF", "DEVIATION", "CHANGE"]
    output.write_table(headings, (_row(*each) for each in figures.items()), right=range(2, 9))
    for violation in found.violations:
        output.write(f"refused: {_log.printable(str(violation))}")
    if found.proof is not None:
        output.write(f"proved: {_log.printable(found.proof)}")
    if found.not_checked:
        output.write(f"{_log.count(len(found.not_checked), 'variable')} without figures")


def _row(name: str, figures: VariableFigures) -> list[str]:
    numbers = (figures.minimum, figures.maximum, figures.mean, figures.norm)
    infinities = figures.positive_infinities + figures.negative_infinities
    return [
        name,
        figures.dtype,
        *("" if number is None else output.number_text(number) for number in numbers),
        *(str(count) if count else "" for count in (figures.nans, infinities)),
        "" if figures.deviation is None else output.number_text(figures.deviation),
        _change(figures),
    ]


def _change(figures: VariableFigures) -> str:
    if figures.change is None:
        return ""
    if figures.change.is_unchanged:
        return "unchanged"
    ratio = figures.norm_ratio
    return "changed" if ratio is None else f"norm x {ratio:.4g}"


def _json(found: Evidence, figures: dict[str, VariableFigures]) -> dict[str, Any]:
    return {
        "step": found.step,
        "former": found.former,
        "proof": found.proof,
        "refused": [
            {"variable": each.variable or None, "rule": each.rule, "text": each.text}
            for each in found.violations
        ],
        "variables": [{"name": name, **_fields(each)} for name, each in figures.items()],
        "not_checked": dict(found.not_checked),
    }


def _fields(figures: VariableFigures) -> dict[str, Any]:
    change = figures.change
    return {
        "dtype": figures.dtype,
        "count": figures.count,
        "nan": figures.nans,
        "inf": figures.positive_infinities + figures.negative_infinities,
        "min": figures.minimum,
        "max": figures.maximum,
        "mean": figures.mean,
        "norm": _finite(figures.norm),
        "deviation": _finite(figures.deviation),
        "unchanged": None if change is None else change.is_unchanged,
        "former_norm": None if change is None else _finite(change.former_norm),
    }


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else repr(value)
