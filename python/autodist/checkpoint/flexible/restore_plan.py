"""Decides what becomes of each wanted value; refuses what does not fit. Reads no values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import errors
from autodist.checkpoint.errors import restore_errors
from autodist.checkpoint.flexible import growth, names
from autodist.checkpoint.flexible.restore_report import GrownVariable, RestoreReport
from autodist.checkpoint.flexible.stored import StoredTensor
from autodist.checkpoint.flexible.wanted import RestoringOp, WantedValue, names_of, values_of
from autodist.checkpoint.flexible_options import FlexibleOptions, Growth
from autodist.checkpoint.graph.object_checkpoint import KeysByName
from autodist.private_apis import tf_variables

_UNCHANGED = "All variables keep their values."


@dataclasses.dataclass(frozen=True)
class MadeOp:
    """An op that takes a grown or cast value.

    Attributes:
        wanted: The op.
        stored_name: The name in the checkpoint.
        stored: What it has there.
        growth: How it grows; `None` if it does not.
        rows: For each row of the whole variable along the axis the stored one, or
            `growth.NO_ROW`; `None` if it does not grow.
    """

    wanted: RestoringOp
    stored_name: str
    stored: StoredTensor
    growth: Growth | None = None
    rows: np.ndarray[Any, np.dtype[np.int64]] | None = None

    @property
    def size_bytes(self) -> int:
        """How much memory its value takes, and the stored one of another dtype beside it."""
        stored = math.prod(self.stored.shape) * int(self.stored.dtype.size)
        return max(self.value.size_bytes, stored)

    @property
    def value(self) -> WantedValue:
        """The value that the op takes."""
        return self.wanted.values[0]


@dataclasses.dataclass(frozen=True)
class RestorePlan:
    """What becomes of each op.

    Attributes:
        straight: Ops whose values are read as they are stored.
        names: The names of these values in the checkpoint, by the saver's.
        made: Ops whose values are grown or cast.
        initialized: Ops of variables that the checkpoint lacks, and that are initialized.
        report: What that does.
    """

    straight: tuple[RestoringOp, ...]
    names: Mapping[str, str]
    made: tuple[MadeOp, ...]
    initialized: tuple[RestoringOp, ...]
    report: RestoreReport


def make(
    ops: Sequence[RestoringOp],
    stored: Mapping[str, StoredTensor],
    keys: KeysByName | None,
    options: FlexibleOptions,
    prefix: str,
) -> RestorePlan:
    """Returns the plan of a restore.

    Args:
        ops: What the saver restores.
        stored: What the checkpoint has.
        keys: The keys of an object-based checkpoint by the names of variables; `None` for another.
        options: What to do where they do not fit.
        prefix: The checkpoint's prefix, for messages.

    Raises:
        UnsupportedGraphError: No op restores anything.
        ArgumentError: An entry of an option is ambiguous, matches nothing, or names what is not
            there.
        tf.errors.NotFoundError: Variables are missing from the checkpoint, or all are.
        tf.errors.InvalidArgumentError: Shapes or dtypes differ, a vocabulary does not fit, or the
            checkpoint has names that no variable takes.
    """
    if not ops:
        raise errors.UnsupportedGraphError(
            f"{prefix}: the nodes of this Saver that restore are not in the graph of the session. "
            f"{_UNCHANGED} Build the Saver in this graph"
        )
    shapes = {value.name: value.shape for value in values_of(ops)}
    known = {*stored, *(keys or {})}
    found = names.mapped(options.name_map, shapes, known, prefix)
    found = {name: _key_of(name, key, stored, keys, prefix) for name, key in found.items()}
    # Two names may lead to one key of an object-based checkpoint.
    names.check_different(found, options.name_map)
    growths = growth.growths(options.grow, shapes)
    _check_missing(shapes, found, stored, options, prefix)
    planner = _Planner(found, stored, growths, options)
    for op in ops:
        planner.add(op)
    return planner.finish(prefix)


def _key_of(
    name: str, key: str, stored: Mapping[str, Any], keys: KeysByName | None, prefix: str
) -> str:
    """Returns the key of a variable of an object-based checkpoint; else the name."""
    if key in stored or keys is None or key not in keys:
        return key
    if len(keys[key]) > 1:
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"{prefix}: several objects of this object-based checkpoint had the name {key!r}: "
            f"{', '.join(map(repr, keys[key]))}. Say by name_map from which of these keys {name!r} "
            f"is to be read. {_UNCHANGED}",
        )
    return keys[key][0]


def _check_missing(
    shapes: names.Shapes,
    found: Mapping[str, str],
    stored: Mapping[str, StoredTensor],
    options: FlexibleOptions,
    prefix: str,
) -> None:
    missing = sorted(name for name in shapes if found[name] not in stored)
    if not missing or (options.missing != "error" and len(missing) < len(shapes)):
        return
    hints = restore_errors.about_names(
        sorted({found[name] for name in missing}),
        {name: tensor.shape for name, tensor in stored.items()},
    )
    if options.missing != "error":
        raise tf.errors.NotFoundError(
            None,
            None,
            f"{prefix} has none of the {len(shapes)} variables of this Saver, so "
            f"missing='{options.missing}' would restore nothing. {_UNCHANGED}\n" + "\n".join(hints),
        )
    raise tf.errors.NotFoundError(
        None,
        None,
        f"{prefix} lacks {len(missing)} of the {len(shapes)} variables of this Saver. {_UNCHANGED} "
        "missing='keep' or missing='initialize' restores the others.\n" + "\n".join(hints),
    )


class _Planner:
    """Sorts ops by what becomes of them."""

    def __init__(
        self,
        found: Mapping[str, str],
        stored: Mapping[str, StoredTensor],
        growths: Mapping[str, Growth],
        options: FlexibleOptions,
    ) -> None:
        self._names = found
        self._stored = stored
        self._growths = growths
        self._options = options
        self._row_maps = growth.RowMaps()
        self._rows: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
        self._straight: list[RestoringOp] = []
        self._made: list[MadeOp] = []
        self._missing: list[RestoringOp] = []
        self._unfit: dict[str, None] = {}

    def add(self, op: RestoringOp) -> None:
        """Decides about an op."""
        if any(self._names[value.name] not in self._stored for value in op.values):
            self._missing.append(op)
            return
        made = None
        for value in op.values:
            stored = self._stored[self._names[value.name]]
            try:
                made = self._made_of(op, value, stored) or made
            except tf.errors.InvalidArgumentError as error:
                self._unfit[error.message] = None
        if made is None:
            self._straight.append(op)
        else:
            self._made.append(made)

    def _made_of(self, op: RestoringOp, value: WantedValue, stored: StoredTensor) -> MadeOp | None:
        """Returns how a value is made; `None` if it is straight."""
        key = self._names[value.name]
        is_cast = value.dtype != stored.dtype
        if is_cast:
            self._check_cast(op, value, stored)
        grows = self._growths.get(value.name)
        if grows is not None and op.variable is None:
            self._check_without_growth(op, value, stored, grows)
        if grows is not None and op.variable is not None and value.shape is not None:
            if value.name not in self._rows:
                self._rows[value.name] = self._row_maps.rows(
                    value.name, grows, stored.shape, value.shape
                )
            rows = self._rows[value.name]
            if len(rows) != stored.shape[grows.axis] or (rows != np.arange(len(rows))).any():
                return MadeOp(op, key, stored, grows, rows)
        elif value.shape is not None and value.shape != stored.shape:
            raise tf.errors.InvalidArgumentError(
                None,
                None,
                f"{value.name!r}: the graph has shape {list(value.shape)}, the checkpoint "
                f"{list(stored.shape)}{_shape_hint(value.shape, stored.shape)}",
            )
        return MadeOp(op, key, stored) if is_cast else None

    def _check_without_growth(
        self, op: RestoringOp, value: WantedValue, stored: StoredTensor, grows: Growth
    ) -> None:
        """Refuses a growth of what is not assigned to a variable, unless it changes nothing."""
        if grows.has_vocabularies or value.shape != stored.shape:
            raise tf.errors.InvalidArgumentError(
                None,
                None,
                f"{value.name!r} is to grow, but {op.op.name!r} does not assign it alone to one "
                "variable. Leave it out of grow",
            )

    def _check_cast(self, op: RestoringOp, value: WantedValue, stored: StoredTensor) -> None:
        are_floats = value.dtype.is_floating and stored.dtype.is_floating
        if are_floats and self._options.cast and op.variable is not None:
            return
        hint = "; cast=True restores it" if are_floats and not self._options.cast else ""
        if self._options.cast and not are_floats:
            hint = "; cast goes between float dtypes only"
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"{value.name!r}: the graph has dtype {value.dtype.name}, the checkpoint "
            f"{stored.dtype.name}{hint}",
        )

    def finish(self, prefix: str) -> RestorePlan:
        """Returns the plan.

        Args:
            prefix: The checkpoint's prefix.
        """
        taken = [*self._straight, *(made.wanted for made in self._made)]
        if not taken and not self._unfit:
            raise tf.errors.NotFoundError(
                None,
                None,
                f"{prefix} lacks a value of each op that restores, so "
                f"missing='{self._options.missing}' would restore nothing. {_UNCHANGED}",
            )
        missing = tuple(names_of(values_of(self._missing)))
        report = RestoreReport(
            prefix,
            self._options.dry_run,
            {name: self._names[name] for name in names_of(values_of(taken))},
            kept=missing if self._options.missing == "keep" else (),
            initialized=missing if self._options.missing == "initialize" else (),
            grown={made.value.name: _grown(made) for made in self._made if made.growth is not None},
            cast={
                made.value.name: (made.stored.dtype.name, made.value.dtype.name)
                for made in self._made
                if made.stored.dtype != made.value.dtype
            },
            unexpected=tuple(
                sorted(
                    set(self._stored) - set(self._names.values()) - {tf_variables.OBJECT_GRAPH_KEY}
                )
            ),
        )
        if report.unexpected and self._options.unexpected == "error":
            self._unfit[
                f"{len(report.unexpected)} names of the checkpoint are taken by no variable: "
                + ", ".join(map(repr, report.unexpected[:20]))
            ] = None
        if self._unfit:
            raise tf.errors.InvalidArgumentError(
                None,
                None,
                f"{prefix} does not fit the variables of this Saver. {_UNCHANGED}\n  "
                + "\n  ".join(self._unfit),
            )
        return RestorePlan(
            tuple(self._straight),
            {name: self._names[name] for name in names_of(values_of(self._straight))},
            tuple(self._made),
            tuple(self._missing) if self._options.missing == "initialize" else (),
            report,
        )


def _grown(made: MadeOp) -> GrownVariable:
    assert made.growth is not None
    assert made.rows is not None
    axis, rest = made.growth.axis, made.growth.rest
    return GrownVariable(
        axis,
        made.stored.shape[axis],
        len(made.rows),
        int((made.rows != growth.NO_ROW).sum()),
        rest if isinstance(rest, str) else "initializer",
    )


def _shape_hint(shape: tuple[int, ...], stored: tuple[int, ...]) -> str:
    """Returns what would restore another shape; empty if nothing is known."""
    if len(shape) != len(stored):
        return ""
    axes = [axis for axis in range(len(shape)) if shape[axis] != stored[axis]]
    if len(axes) == 1 and shape[axes[0]] > stored[axes[0]]:
        return f"; it grows along axis {axes[0]}: grow={{name: {axes[0]}}} restores it"
    return ""


def check_initializers(plan: RestorePlan, without: Mapping[str, str]) -> None:
    """Raises if variables are to be initialized that cannot be.

    Args:
        plan: The plan.
        without: Why not, by the saver's name.

    Raises:
        ArgumentError: Some cannot be.
    """
    if without:
        reasons = "".join(f"\n  {name!r}: {why}" for name, why in without.items())
        raise errors.ArgumentError(
            f"{plan.report.prefix}: variables cannot be initialized. {_UNCHANGED}{reasons}"
        )
