"""Rules that decide whether a checkpoint may become the latest one."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from autodist import errors
from autodist.evidence.figures import Evidence, VariableFigures, Violation

ACTIONS = ("error", "warning")

Rule = Callable[[Evidence], "str | Iterable[str] | bool | None"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refuse:
    """Which checkpoints are refused: kept under their prefix, but never the latest one.

    Attributes:
        nonfinite: Whether those are refused that hold a NaN or an infinity.
        norm_jump: Refuses those in which the norm of a variable of a float dtype is more than so
            many times that of the latest checkpoint with evidence. A norm that was 0 is not
            compared. `None`: no such rule.
        deviation: Refuses those in which two replicas of an element differed by more than this.
            `None`: no such rule.
        rule: Is called with the `Evidence`; what it returns refuses the checkpoint: the reason, or
            several. `None`: no rule, or no reason. An error of its own refuses, too.
        ignore: Names or patterns of variables that no rule is about, such as a mask of infinities.
        action: What a save does that is refused: `'error'` raises, `'warning'` logs.

    Raises:
        ArgumentError: A limit or the action cannot be used.
        ArgumentTypeError: A value is of the wrong type.
    """

    nonfinite: bool = False
    norm_jump: float | None = None
    deviation: float | None = None
    rule: Rule | None = None
    ignore: str | Iterable[str] = ()
    action: str = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.nonfinite, bool):
            raise errors.ArgumentTypeError(
                f"refuse: nonfinite must be True or False, not {self.nonfinite!r}"
            )
        _check_limit("norm_jump", self.norm_jump, 1)
        _check_limit("deviation", self.deviation, 0)
        if self.rule is not None and not callable(self.rule):
            raise errors.ArgumentTypeError(f"refuse: rule must be callable, not {self.rule!r}")
        ignore = (self.ignore,) if isinstance(self.ignore, str) else tuple(self.ignore)
        if not all(isinstance(pattern, str) for pattern in ignore):
            raise errors.ArgumentTypeError(f"refuse: ignore must be texts, not {self.ignore!r}")
        object.__setattr__(self, "ignore", ignore)
        if self.action not in ACTIONS:
            raise errors.ArgumentError(
                f"refuse: action must be one of {ACTIONS}, not {self.action!r}"
            )

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names and patterns of `ignore`."""
        return tuple(self.ignore)

    @staticmethod
    def of(value: Any) -> Refuse:
        """Returns rules that were given as such, as a mapping of fields, or as names.

        Args:
            value: A `Refuse`; a mapping such as `{'nonfinite': True, 'norm_jump': 10}`; or names and
                callables, such as `{'nonfinite'}`.

        Raises:
            ArgumentError: A name is not one of a rule, or a value cannot be used.
            ArgumentTypeError: It is something else.
        """
        if isinstance(value, Refuse):
            return value
        if isinstance(value, str) or callable(value):
            value = [value]
        if isinstance(value, Mapping):
            fields = dict(value)
        elif isinstance(value, Collection):
            fields = _fields_of(value)
        else:
            raise errors.ArgumentTypeError(
                "refuse must be a Refuse, a mapping or names of rules such as {'nonfinite'}, not "
                f"{value!r}"
            )
        known = [field.name for field in dataclasses.fields(Refuse)]
        unknown = [name for name in fields if name not in known]
        if unknown:
            raise errors.ArgumentError(
                f"refuse: there is no rule {unknown[0]!r}; there are {', '.join(known)}"
            )
        return Refuse(**fields)

    def violations(self, evidence: Evidence) -> tuple[Violation, ...]:
        """Returns the rules that a checkpoint breaks.

        Args:
            evidence: What is known of it.
        """
        found: list[Violation] = []
        for name, figures in evidence.variables.items():
            if not self._is_ignored(name):
                found += self._of_variable(name, figures)
        if self.rule is not None:
            found += _of_rule(self.rule, evidence)
        return tuple(found)

    def _is_ignored(self, name: str) -> bool:
        return matches(name, self.patterns)

    def _of_variable(self, name: str, figures: VariableFigures) -> Iterator[Violation]:
        if self.nonfinite and figures.nonfinite:
            counts = [
                f"{count} {what}"
                for count, what in (
                    (figures.nans, "NaN"),
                    (figures.positive_infinities, "inf"),
                    (figures.negative_infinities, "-inf"),
                )
                if count
            ]
            text = f"{', '.join(counts)} of {figures.count} elements; the limit is 0"
            yield Violation(name, "nonfinite", text)
        ratio = figures.norm_ratio
        if (
            self.norm_jump is not None
            and figures.is_float
            and ratio is not None
            and not ratio <= self.norm_jump
        ):
            assert figures.change is not None
            yield Violation(
                name,
                "norm_jump",
                f"its norm is {figures.norm:.6g}, {ratio:.3g} times the former "
                f"{figures.change.former_norm:.6g}; the limit is {self.norm_jump:g} times",
            )
        if (
            self.deviation is not None
            and figures.deviation is not None
            and not figures.deviation <= self.deviation
        ):
            yield Violation(
                name,
                "deviation",
                f"its replicas differ by up to {figures.deviation:.6g}; the limit is "
                f"{self.deviation:g}",
            )


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Tells whether a name is one of some names, or fits one of some patterns.

    Args:
        name: The name.
        patterns: Names, or patterns as in `fnmatch`.
    """
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _of_rule(rule: Rule, evidence: Evidence) -> Iterator[Violation]:
    try:
        reasons = rule(evidence)
        if reasons is None or isinstance(reasons, bool):
            reasons = ["it returned False"] if reasons is False else []
        elif isinstance(reasons, str):
            reasons = [reasons] if reasons else []
        found = [str(reason) for reason in reasons]
    except Exception as error:  # noqa: BLE001 a rule that cannot tell refuses
        found = [f"it raised {type(error).__name__}: {error}"]
    for reason in found:
        yield Violation("", "rule", reason)


def _fields_of(names: Collection[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in names:
        if callable(name) and "rule" not in fields:
            fields["rule"] = name
        elif name == "nonfinite":
            fields["nonfinite"] = True
        else:
            raise errors.ArgumentError(
                f"refuse: {name!r} cannot be given by name alone; give a mapping with its limit, such "
                "as {'norm_jump': 10}"
            )
    return fields


def _check_limit(name: str, limit: Any, least: float) -> None:
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise errors.ArgumentTypeError(f"refuse: {name} must be a number, not {limit!r}")
    if math.isnan(limit) or limit < least:
        raise errors.ArgumentError(f"refuse: {name} must be {least} or more, not {limit}")
