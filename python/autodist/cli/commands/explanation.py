"""`autodist explain`."""

from __future__ import annotations

from typing import Any

import click

from autodist import _log
from autodist.cli import output
from autodist.workbench.commands import explanation
from autodist.workbench.reading.graphs import WantedTensor

_MOST_LISTED = 20


@click.command("explain")
@click.argument("path")
@click.option("--graph", metavar="META", help="A .meta file, or a SavedModel of TensorFlow 1.")
@click.option("--with", "other", metavar="CKPT", help="A checkpoint that the program can restore.")
@output.json_option
def command(path: str, graph: str | None, other: str | None, as_json: bool) -> int:
    """Tell why a checkpoint would not restore: what is missing, what it is called there.

    The exit code is 1 if a restore would fail.
    """
    found = explanation.explain(path, graph=graph, other=other)
    if as_json:
        output.write_json(_json(found))
    else:
        _write(found)
    return 0 if found.restores else 1


def _write(found: explanation.Explanation) -> None:
    if found.missing:
        output.write(
            f"{len(found.missing)} of {_log.count(found.wanted_count, 'name')} are not in the "
            "checkpoint:"
        )
        for missing in found.missing[:_MOST_LISTED]:
            output.write(f"  {_log.printable(missing.wanted.name)}{_hint(missing)}")
        _write_more(len(found.missing))
    _write_mismatches("dtype", found.dtypes, lambda t: t.dtype, lambda v: v.dtype)
    _write_mismatches(
        "shape",
        found.shapes,
        lambda t: output.shape_text(t.shape or ()),
        lambda v: output.shape_text(v.shape),
    )
    if found.rule is not None:
        scope = "all" if found.rule.found == len(found.missing) else str(found.rule.found)
        output.write(
            f"A renaming finds {scope} of the missing: "
            f"name_map=[({found.rule.pattern!r}, {found.rule.replacement!r})]"
        )
    elif found.is_by_objects:
        output.write(
            "The checkpoint is one of tf.train.Checkpoint: its names are paths of objects. Restore "
            "it with tf.train.Checkpoint"
        )
    if found.unused:
        output.write(f"{_log.count(len(found.unused), 'name')} of the checkpoint would not be read")
    verdict = "it would restore" if found.restores else "it would not restore"
    output.write(f"{_log.printable(found.prefix)} into {_log.printable(found.source)}: {verdict}")


def _hint(missing: explanation.Missing) -> str:
    if missing.parts:
        parts = len(missing.parts)
        return f": there are {parts} parts of it, {_log.printable(missing.parts[0])} and so on"
    if missing.near:
        return f": nearest {', '.join(map(_log.printable, missing.near))}"
    return ""


def _write_mismatches(what: str, mismatches: Any, of_wanted: Any, of_stored: Any) -> None:
    if not mismatches:
        return
    verb = "has" if len(mismatches) == 1 else "have"
    output.write(f"{_log.count(len(mismatches), 'variable')} {verb} another {what}:")
    for wanted, stored in mismatches[:_MOST_LISTED]:
        output.write(
            f"  {_log.printable(wanted.name)}: {of_stored(stored)} in the checkpoint, "
            f"{of_wanted(wanted)} expected"
        )
    _write_more(len(mismatches))


def _write_more(count: int) -> None:
    if count > _MOST_LISTED:
        output.write(f"  and {count - _MOST_LISTED} more")


def _json(found: explanation.Explanation) -> dict[str, Any]:
    return {
        "restores": found.restores,
        "prefix": found.prefix,
        "source": found.source,
        "wanted_count": found.wanted_count,
        "missing": [
            _wanted_json(m.wanted) | {"nearest": list(m.near), "parts": list(m.parts)}
            for m in found.missing
        ],
        "dtypes": [_mismatch_json(mismatch) for mismatch in found.dtypes],
        "shapes": [_mismatch_json(mismatch) for mismatch in found.shapes],
        "unused": list(found.unused),
        "renaming": found.rule._asdict() if found.rule else None,
        "by_objects": found.is_by_objects,
    }


def _wanted_json(tensor: WantedTensor) -> dict[str, Any]:
    shape = None if tensor.shape is None else list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}


def _mismatch_json(mismatch: explanation.Mismatch) -> dict[str, Any]:
    stored = mismatch.stored
    return {
        "name": stored.name,
        "expected": _wanted_json(mismatch.wanted),
        "found": {"dtype": stored.dtype, "shape": list(stored.shape)},
    }
