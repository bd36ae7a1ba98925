"""The contents of an evidence file: JSON, with a first key that nobody else has.

::

    {"autodist_evidence": 1, "step": 100, "former": "m-50", "pending": false, "proof": "stock",
     "index": "9f86d081...",
     "refused": [{"variable": "w", "rule": "nonfinite", "text": "..."}],
     "variables": {
      "w": {"dtype": "float32", "count": 6, "nan": 0, "inf": 0, "neg_inf": 0, "min": -1.0, "max": 2.0,
            "mean": 0.5, "norm": 3.0, "deviation": 0.0, "pieces": [["", 123]],
            "unchanged": false, "former_norm": 2.9}},
     "not_checked": {"table": "strings have no figures"}}

A file is read as if somebody had made it in order to harm: what it says is used only where it has
the types and ranges that we write.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from autodist import errors
from autodist.evidence.figures import Change, Evidence, VariableFigures, Violation

SUFFIX = ".evidence.json"
FORMAT = 1
# A file of ours begins with this, whatever its format.
HEAD = b'{"autodist_evidence": '
# 250 bytes for each of a million variables.
MOST_BYTES = 256 << 20
# So many violations are written down if the file would be larger.
_MOST_VIOLATIONS = 1000

_MOST_COUNT = (1 << 63) - 1
_MOST_CRC = (1 << 32) - 1


class EvidenceError(errors.AutoDistError, ValueError):
    """A file is not what an evidence file is."""


def contents(evidence: Evidence) -> bytes:
    """Returns the contents of the file.

    Of a checkpoint with so many variables that the file would be too large to be read again, it says
    what was decided, and has no figures.

    Args:
        evidence: What it says.
    """
    written = _contents(evidence)
    if len(written) <= MOST_BYTES:
        return written
    why = f"figures of {len(evidence.variables)} variables take more than {MOST_BYTES} bytes"
    violations = evidence.violations[:_MOST_VIOLATIONS]
    return _contents(
        dataclasses.replace(evidence, variables={}, not_checked={"*": why}, violations=violations)
    )


def _contents(evidence: Evidence) -> bytes:
    refused = [
        {"variable": v.variable, "rule": v.rule, "text": v.text} for v in evidence.violations
    ]
    head = json.dumps(
        {
            "autodist_evidence": FORMAT,
            "step": evidence.step,
            "former": evidence.former,
            "pending": evidence.is_pending,
            "proof": evidence.proof,
            "index": evidence.index,
            "refused": refused,
        }
    )
    rows = [
        f"  {json.dumps(name)}: {json.dumps(_plain(figures))}"
        for name, figures in evidence.variables.items()
    ]
    variables = "{\n" + ",\n".join(rows) + "\n }" if rows else "{}"
    not_checked = json.dumps(dict(evidence.not_checked), indent=1)
    text = f'{head[:-1]},\n "variables": {variables},\n "not_checked": {not_checked}}}\n'
    return text.encode("utf-8", "surrogateescape")


def is_ours(data: bytes) -> bool:
    """Tells whether a file is one of these. An empty one counts: a crash may leave it.

    Args:
        data: Its contents, or its first bytes.
    """
    return data.startswith(HEAD) or not data.strip(b"\0")


def parse(data: bytes) -> Evidence:
    """Returns what the file says.

    Args:
        data: Its contents.

    Raises:
        EvidenceError: It is not such a file, or of another format; says where it is wrong.
    """
    if len(data) > MOST_BYTES:
        raise EvidenceError(f"it has {len(data)} bytes, more than the {MOST_BYTES} allowed")
    if not data.startswith(HEAD):
        raise EvidenceError("it does not begin as an evidence file of autodist does")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"it is no JSON: {error}") from None
    number = found.get("autodist_evidence")
    if number != FORMAT or isinstance(number, bool):
        raise EvidenceError(f"its format is {str(number)[:20]}; this version reads {FORMAT}")
    variables = _mapping(found.get("variables"), "variables")
    not_checked = _mapping(found.get("not_checked", {}), "not_checked")
    return Evidence(
        {name: _figures(fields, name) for name, fields in variables.items()},
        {name: _text(why, f"not_checked of {name!r}") for name, why in not_checked.items()},
        step=_optional_int(found.get("step"), "step"),
        former=_optional_text(found.get("former"), "former"),
        violations=_violations(found.get("refused", [])),
        proof=_optional_text(found.get("proof"), "proof"),
        is_pending=_flag(found.get("pending", False), "pending"),
        index=_optional_text(found.get("index"), "index"),
    )


def _plain(figures: VariableFigures) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "dtype": figures.dtype,
        "count": figures.count,
        "nan": figures.nans,
        "inf": figures.positive_infinities,
        "neg_inf": figures.negative_infinities,
        "min": _number_out(figures.minimum),
        "max": _number_out(figures.maximum),
        "mean": _number_out(figures.mean),
        "norm": _number_out(figures.norm),
        "deviation": _number_out(figures.deviation),
        "pieces": [list(piece) for piece in figures.pieces],
    }
    if figures.change is not None:
        fields["unchanged"] = figures.change.is_unchanged
        fields["former_norm"] = _number_out(figures.change.former_norm)
    return fields


def _number_out(value: float | None) -> float | str | None:
    # JSON has no infinity and no NaN.
    return value if value is None or math.isfinite(value) else repr(value)


def _figures(found: Any, name: str) -> VariableFigures:
    fields = _mapping(found, f"variable {name!r}")

    def count(key: str) -> int:
        value = fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_COUNT:
            raise EvidenceError(_wrong(f"{key!r} of {name!r}", "a count", value))
        return value

    def number(key: str) -> float | None:
        return _number(fields.get(key), f"{key!r} of {name!r}")

    norm, change = number("norm"), None
    if norm is None:
        raise EvidenceError(_wrong(f"'norm' of {name!r}", "a number", None))
    if "unchanged" in fields:
        former_norm = number("former_norm")
        change = Change(
            _flag(fields["unchanged"], f"'unchanged' of {name!r}"),
            math.nan if former_norm is None else former_norm,
        )
    return VariableFigures(
        dtype=_text(fields.get("dtype"), f"'dtype' of {name!r}"),
        count=count("count"),
        nans=count("nan"),
        positive_infinities=count("inf"),
        negative_infinities=count("neg_inf"),
        minimum=number("min"),
        maximum=number("max"),
        mean=number("mean"),
        norm=norm,
        deviation=number("deviation"),
        pieces=_pieces(fields.get("pieces"), name),
        change=change,
    )


def _pieces(found: Any, name: str) -> tuple[tuple[str, int], ...]:
    what = f"'pieces' of {name!r}"
    pieces = []
    for piece in _list(found, what):
        if not isinstance(piece, list) or len(piece) != 2:
            raise EvidenceError(_wrong(what, "pairs of a slice and a checksum", piece))
        crc = piece[1]
        if isinstance(crc, bool) or not isinstance(crc, int) or not 0 <= crc <= _MOST_CRC:
            raise EvidenceError(_wrong(what, "a checksum of 32 bits", crc))
        pieces.append((_text(piece[0], what), crc))
    return tuple(pieces)


def _violations(found: Any) -> tuple[Violation, ...]:
    violations = []
    for each in _list(found, "refused"):
        fields = _mapping(each, "refused")
        violations.append(
            Violation(*(_text(fields.get(key), "refused") for key in ("variable", "rule", "text")))
        )
    return tuple(violations)


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise EvidenceError(_wrong(what, "a number", "one that is too large")) from None
    if value in ("inf", "-inf", "nan"):
        return float(value)
    raise EvidenceError(_wrong(what, "a number", value))


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EvidenceError(_wrong(what, "an object", value))
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise EvidenceError(_wrong(what, "a list", value))
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise EvidenceError(_wrong(what, "a text", value))
    return value


def _optional_text(value: Any, what: str) -> str | None:
    return None if value is None else _text(value, what)


def _optional_int(value: Any, what: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise EvidenceError(_wrong(what, "an integer", value))
    return value


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise EvidenceError(_wrong(what, "true or false", value))
    return value


def _wrong(what: str, expected: str, found: Any) -> str:
    return f"{what[:100]} is to be {expected}, not {repr(found)[:50]}"
