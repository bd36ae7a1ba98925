"""Which stored row each row of a grown variable takes.

Growth(axis=0), 3 stored, 5 wanted                             -> [0, 1, 2, -1, -1]
old vocabulary a b c, new vocabulary c d a, one bucket         -> [2, -1, 0, -1]
"""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import errors
from autodist.checkpoint.flexible import names
from autodist.checkpoint.flexible_options import Growth

NO_ROW = -1


def growths(grow: Mapping[str, Any] | None, shapes: names.Shapes) -> dict[str, Growth]:
    """Returns how each variable grows that does, slots included, by name.

    Args:
        grow: As in `RestoreOptions`.
        shapes: The shapes of all variables.

    Raises:
        ArgumentError: An entry matches no variable, two differ for one, or a variable has no such
            axis or no known shape.
    """
    if not grow:
        return {}
    found: dict[str, Growth] = {}
    by: dict[str, str] = {}
    for pattern, value in grow.items():
        growth = Growth.of(value)
        matches = [name for name in shapes if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise errors.ArgumentError(
                f"grow: no variable of this Saver matches {pattern!r}; "
                f"{names.nearest(pattern, shapes)}"
            )
        for name in matches:
            if found.setdefault(name, growth) != growth:
                raise errors.ArgumentError(
                    f"grow is ambiguous: {by[name]!r} and {pattern!r} differ for {name!r}. Let one "
                    "of them match it"
                )
            by.setdefault(name, pattern)
    for name in shapes:
        owner = None if name in grow else names.owner_of(name, by, shapes)
        # A glob that matches the variable, too, does not mean the slot.
        if owner is not None and by.get(name, by[owner]) == by[owner]:
            found[name] = _of_slot(found[owner])
    for name, growth in found.items():
        _check_axis(name, growth, shapes[name])
    return found


def _of_slot(growth: Growth) -> Growth:
    """Returns how a slot grows: rows that its variable is to keep are kept, others its initial ones.

    What an initializer of the variable gives need not be what an optimizer can begin with.
    """
    return growth if growth.rest == "keep" else dataclasses.replace(growth, rest="initialize")


def _check_axis(name: str, growth: Growth, shape: tuple[int, ...] | None) -> None:
    if shape is None:
        raise errors.ArgumentError(f"grow: the shape of {name!r} is not known before it is run")
    if growth.axis >= len(shape):
        raise errors.ArgumentError(
            f"grow: {name!r} has shape {list(shape)}, and so no axis {growth.axis}"
        )


class RowMaps:
    """The rows of grown variables; reads each vocabulary once."""

    def __init__(self) -> None:
        """Has read no vocabulary yet."""
        self._vocabularies: dict[str, list[bytes]] = {}

    def rows(
        self, name: str, growth: Growth, stored: tuple[int, ...], shape: tuple[int, ...]
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Returns the stored row of each row of a variable; `NO_ROW` where there is none.

        Args:
            name: The variable's name, for messages.
            growth: How it grows.
            stored: The shape in the checkpoint.
            shape: The shape of the variable.

        Raises:
            tf.errors.InvalidArgumentError: The shapes do not fit, or a vocabulary does not.
            tf.errors.OpError: A vocabulary cannot be read.
        """
        axis = growth.axis
        if stored[:axis] + stored[axis + 1 :] != shape[:axis] + shape[axis + 1 :] or len(
            stored
        ) != len(shape):
            raise _unfit(
                f"{name!r} grows along axis {axis}, so all other axes must be as long as in the "
                f"checkpoint: the graph has shape {list(shape)}, the checkpoint {list(stored)}"
            )
        if growth.has_vocabularies:
            return self._by_vocabularies(name, growth, stored[axis], shape[axis])
        if stored[axis] > shape[axis]:
            raise _unfit(
                f"{name!r} grows along axis {axis}, but it is shorter than in the checkpoint: the "
                f"graph has shape {list(shape)}, the checkpoint {list(stored)}. Vocabularies say "
                "which rows to take: Growth(new_vocabulary=..., old_vocabulary=...)"
            )
        rows = np.full(shape[axis], NO_ROW, np.int64)
        rows[: stored[axis]] = np.arange(stored[axis])
        return rows

    def _by_vocabularies(
        self, name: str, growth: Growth, stored_count: int, count: int
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        new = self._lines(str(growth.new_vocabulary), growth.new_size)
        old = self._lines(str(growth.old_vocabulary), growth.old_size)
        if len(new) + growth.num_oov_buckets != count:
            raise _unfit(
                f"{name!r} has {count} rows along axis {growth.axis}, but {growth.new_vocabulary} "
                f"has {len(new)} lines, and there are {growth.num_oov_buckets} out-of-vocabulary "
                "buckets. Set new_size and num_oov_buckets so that they add up"
            )
        if len(old) > stored_count:
            raise _unfit(
                f"{name!r} has {stored_count} rows in the checkpoint, but {growth.old_vocabulary} "
                f"has {len(old)} lines. Give the vocabulary of the checkpoint, or its old_size"
            )
        number_of = {line: number for number, line in enumerate(old)}
        rows = np.full(count, NO_ROW, np.int64)
        rows[: len(new)] = [number_of.get(line, NO_ROW) for line in new]
        return rows

    def _lines(self, path: str, size: int | None) -> list[bytes]:
        if path not in self._vocabularies:
            with tf.io.gfile.GFile(path, "rb") as file:
                text = file.read()
            lines = text.split(b"\n")
            if not lines[-1]:
                lines.pop()
            self._vocabularies[path] = [line.rstrip(b"\r") for line in lines]
        lines = self._vocabularies[path]
        if size is not None and size > len(lines):
            raise _unfit(f"{path} has {len(lines)} lines, but {size} of them are to count")
        lines = lines[:size]
        if len(set(lines)) < len(lines):
            counts = collections.Counter(lines)
            twice = next(line for line in lines if counts[line] > 1)
            raise _unfit(
                f"{path} has the line {twice.decode(errors='replace')!r} twice: which row it means "
                "is ambiguous"
            )
        return lines


def _unfit(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
