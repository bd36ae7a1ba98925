"""The options of a restore from a checkpoint that does not fit the graph, checked when given."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from autodist import errors

MISSING = ("error", "keep", "initialize")
UNEXPECTED = ("ignore", "warn", "error")
RESTS = ("initialize", "keep", "zeros")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
    """How a variable is restored that is longer along one axis than the checkpoint has it.

    Without vocabularies, stored rows keep their numbers. With both, each row takes that of the same
    line of the old vocabulary.

    Attributes:
        axis: The axis along which it grows.
        rest: What rows get that the checkpoint lacks. `'initialize'`: what the variable's
            initializer gives. `'keep'`: what they are. `'zeros'`; or an initializer, called with
            a shape and a dtype.
        new_vocabulary: Path of a text file; line `i` belongs to row `i` of the variable.
        old_vocabulary: Path of a text file; line `i` belongs to row `i` in the checkpoint.
        new_size: How many lines of `new_vocabulary` count; `None`: all.
        old_size: How many lines of `old_vocabulary` count; `None`: all.
        num_oov_buckets: How many rows at the end of the variable belong to no line.

    Raises:
        ArgumentError: A value is not one of those allowed.
        ArgumentTypeError: A value is of the wrong type.
    """

    axis: int = 0
    rest: str | Callable[..., Any] = "initialize"
    new_vocabulary: str | None = None
    old_vocabulary: str | None = None
    new_size: int | None = None
    old_size: int | None = None
    num_oov_buckets: int = 0

    def __post_init__(self) -> None:
        for name, value in (("axis", self.axis), ("num_oov_buckets", self.num_oov_buckets)):
            _check_count(f"grow: {name}", value)
        for name in ("new_size", "old_size"):
            if getattr(self, name) is not None:
                _check_count(f"grow: {name}", getattr(self, name))
        if not callable(self.rest):
            _check_choice("grow: rest", self.rest, RESTS)
        if (self.new_vocabulary is None) != (self.old_vocabulary is None):
            raise errors.ArgumentError(
                "grow: new_vocabulary and old_vocabulary say together which row becomes which; "
                "one of them was given. Give both, or neither"
            )
        if not self.has_vocabularies and (self.new_size or self.old_size or self.num_oov_buckets):
            raise errors.ArgumentError(
                "grow: new_size, old_size and num_oov_buckets belong to vocabularies. Give "
                "new_vocabulary and old_vocabulary"
            )

    @property
    def has_vocabularies(self) -> bool:
        """Whether vocabularies say which row becomes which."""
        return self.new_vocabulary is not None

    @staticmethod
    def of(value: Any) -> Growth:
        """Returns a value of `grow` as a `Growth`.

        Args:
            value: A `Growth`, an axis, or a `tf.compat.v1.train.VocabInfo`.

        Raises:
            ArgumentError: A value is not one of those allowed.
            ArgumentTypeError: It is none of these.
        """
        if isinstance(value, Growth):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return Growth(axis=value)
        if isinstance(value, tf.compat.v1.train.VocabInfo):
            return Growth(
                axis=value.axis,
                rest=value.backup_initializer or "zeros",
                new_vocabulary=os.fspath(value.new_vocab),
                old_vocabulary=os.fspath(value.old_vocab),
                new_size=value.new_vocab_size,
                old_size=None if value.old_vocab_size == -1 else value.old_vocab_size,
                num_oov_buckets=value.num_oov_buckets,
            )
        raise errors.ArgumentTypeError(
            f"grow must map names to an axis, a Growth or a VocabInfo, not to {value!r}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlexibleOptions:
    """What a restore does where the checkpoint does not fit; `RestoreOptions` says what each means.

    Raises:
        ArgumentError: A value is not one of those allowed.
        ArgumentTypeError: A value is of the wrong type.
    """

    missing: str = "error"
    unexpected: str = "ignore"
    name_map: Any = None
    grow: Mapping[str, Any] | None = None
    cast: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        _check_choice("missing", self.missing, MISSING)
        _check_choice("unexpected", self.unexpected, UNEXPECTED)
        for name in ("cast", "dry_run"):
            if not isinstance(getattr(self, name), bool):
                raise errors.ArgumentTypeError(
                    f"{name} must be True or False, not {getattr(self, name)!r}"
                )
        _check_name_map(self.name_map)
        if self.grow is not None:
            if not isinstance(self.grow, Mapping):
                raise errors.ArgumentTypeError(f"grow must be a dict by name, not {self.grow!r}")
            for name, value in self.grow.items():
                _check_text("grow", name)
                Growth.of(value)

    @property
    def is_flexible(self) -> bool:
        """Whether any of these options was given."""
        return any(
            getattr(self, field.name) != field.default
            for field in dataclasses.fields(FlexibleOptions)
        )


def _check_name_map(name_map: Any) -> None:
    if name_map is None or callable(name_map):
        return
    if isinstance(name_map, Mapping):
        for names in name_map.items():
            for name in names:
                _check_text("name_map", name)
        return
    if not isinstance(name_map, list | tuple):
        raise errors.ArgumentTypeError(
            "name_map must be a dict, a list of (regular expression, replacement) or a callable, "
            f"not {name_map!r}"
        )
    for pair in name_map:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise errors.ArgumentTypeError(
                f"name_map: {pair!r} is no pair of a regular expression and a replacement"
            )
        for text in pair:
            _check_text("name_map", text)
        try:
            re.compile(pair[0])
        except re.error as error:
            raise errors.ArgumentError(
                f"name_map: {pair[0]!r} is no regular expression: {error}"
            ) from error


def _check_text(option: str, name: Any) -> None:
    if not isinstance(name, str):
        raise errors.ArgumentTypeError(f"{option}: a name must be a str, not {name!r}")


def _check_count(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.ArgumentTypeError(f"{what} must be an int, not {value!r}")
    if value < 0:
        raise errors.ArgumentError(f"{what} must be 0 or more, not {value}")


def _check_choice(what: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise errors.ArgumentError(f"{what} must be one of {allowed}, not {value!r}")
