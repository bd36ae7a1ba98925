"""Figures of variables, and what is known of a checkpoint as a whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What became of a variable since the checkpoint before.

    Attributes:
        is_unchanged: Whether all of its checksums are the same, so that its bytes are.
        former_norm: Its norm then.
    """

    is_unchanged: bool
    former_norm: float


@dataclasses.dataclass(frozen=True, slots=True)
class VariableFigures:
    """Figures of one variable.

    Attributes:
        dtype: TensorFlow's name of its dtype.
        count: Elements.
        nans: Elements that are NaN; of a complex dtype, components.
        positive_infinities: Elements that are infinite and positive; likewise.
        negative_infinities: Elements that are infinite and negative; likewise.
        minimum: Of the finite elements; `None` without any, and of complex dtypes.
        maximum: Likewise.
        mean: Likewise.
        norm: The L2 norm of the finite elements.
        deviation: The largest difference between two replicas of an element, infinite where one of
            them is not finite; `None` where no replicas were averaged.
        pieces: The slice, empty for the whole variable, and the checksum of what the checkpoint
            stores, in order.
        change: What became of it since the checkpoint before; `None` if that is not known.
    """

    dtype: str
    count: int
    nans: int
    positive_infinities: int
    negative_infinities: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    norm: float
    deviation: float | None
    pieces: tuple[tuple[str, int], ...]
    change: Change | None = None

    @property
    def nonfinite(self) -> int:
        """Elements, or components, that are NaN or infinite."""
        return self.nans + self.positive_infinities + self.negative_infinities

    @property
    def is_float(self) -> bool:
        """Whether the dtype is a floating-point one, real or complex."""
        return self.dtype.startswith(("float", "bfloat", "complex", "half", "double"))

    @property
    def norm_ratio(self) -> float | None:
        """The norm by the former one; `None` if that is not known or 0."""
        if self.change is None or not 0 < self.change.former_norm < math.inf:
            return None
        return self.norm / self.change.former_norm


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold.

    Attributes:
        variable: The variable; empty where the rule is about the whole checkpoint.
        rule: `'nonfinite'`, `'norm_jump'`, `'deviation'`, `'rule'`, `'unchecked'` or `'proof'`.
        text: What was found, with the value and the limit.
    """

    variable: str
    rule: str
    text: str

    def __str__(self) -> str:
        about = f"variable {self.variable!r}: " if self.variable else ""
        return f"{about}{self.text} (rule {self.rule!r})"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of the values of a checkpoint.

    Attributes:
        variables: Figures by name, in the order of the checkpoint.
        not_checked: Why other variables have no figures, by name.
        step: The step in the checkpoint's name; `None` if it has none.
        former: The name of the checkpoint that `change` compares with; `None`: there is none.
        violations: Rules that do not hold: the checkpoint is refused.
        proof: How it was proved that it can be restored, such as `'stock'`; `None`: it was not.
        is_pending: Whether the save that writes it has not decided about it yet.
        index: The SHA-256 of the checkpoint's index, in hexadecimal; `None` if that was not there.
    """

    variables: Mapping[str, VariableFigures]
    not_checked: Mapping[str, str] = dataclasses.field(default_factory=dict)
    step: int | None = None
    former: str | None = None
    violations: tuple[Violation, ...] = ()
    proof: str | None = None
    is_pending: bool = False
    index: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether a rule does not hold."""
        return bool(self.violations)

    def why_not_latest(self) -> str | None:
        """Returns why no state file is to name the checkpoint; `None` if it may."""
        if self.violations:
            return f"it was refused: {self.violations[0]}"
        if self.is_pending:
            return "its save did not end, so nobody has checked it"
        return None

    def is_of(
        self, index: str | None, checksums: Callable[[], Mapping[str, Iterable[int]]]
    ) -> bool:
        """Tells whether this is about the values that are there.

        A program that knows nothing of evidence may have saved over the prefix. Another index may
        also have the same values, if a program has repaired it.

        Args:
            index: The SHA-256 of the index that is there; `None` without one.
            checksums: Returns the checksums that the index has, by variable.
        """
        if self.index is None or index is None or self.index == index:
            return True
        return bool(self.variables) and not self.strangers(checksums())

    def strangers(self, checksums: Mapping[str, Iterable[int]]) -> list[str]:
        """Returns the variables whose figures are not of the values that are there.

        Args:
            checksums: Those that the index has, by variable.
        """
        return [
            name
            for name, figures in self.variables.items()
            if sorted(checksum for _, checksum in figures.pieces) != sorted(checksums.get(name, ()))
        ]

    def compared_with(self, former: Evidence, name: str) -> Evidence:
        """Returns this with what became of each variable since another checkpoint.

        Args:
            former: What is known of the other one.
            name: Its name.
        """
        variables = {}
        for variable, figures in self.variables.items():
            before = former.variables.get(variable)
            if before is None or before.dtype != figures.dtype:
                variables[variable] = figures
                continue
            is_unchanged = (before.pieces, before.count) == (figures.pieces, figures.count)
            change = Change(is_unchanged, before.norm)
            variables[variable] = dataclasses.replace(figures, change=change)
        return dataclasses.replace(self, variables=variables, former=name)


def joined(parts: Iterable[VariableFigures]) -> VariableFigures:
    """Returns the figures of a variable from those of its slices, in their order.

    Args:
        parts: At least one, all of one dtype.
    """
    first, *rest = parts
    result = first
    for part in rest:
        deviations = [d for d in (result.deviation, part.deviation) if d is not None]
        finite = [p.count - p.nonfinite for p in (result, part)]
        means = [p.mean or 0.0 for p in (result, part)]
        # Not a sum that is divided: it may be larger than any number.
        weighted = sum(n / (sum(finite) or 1) * m for n, m in zip(finite, means, strict=True))
        result = dataclasses.replace(
            result,
            count=result.count + part.count,
            nans=result.nans + part.nans,
            positive_infinities=result.positive_infinities + part.positive_infinities,
            negative_infinities=result.negative_infinities + part.negative_infinities,
            minimum=_extreme(min, result.minimum, part.minimum),
            maximum=_extreme(max, result.maximum, part.maximum),
            mean=weighted if sum(finite) > 0 else None,
            norm=math.hypot(result.norm, part.norm),
            deviation=max(deviations) if deviations else None,
            pieces=result.pieces + part.pieces,
        )
    is_complex = first.dtype.startswith("complex")
    return dataclasses.replace(result, mean=None) if is_complex else result


def _extreme(
    choose: Callable[[list[float]], float], a: float | None, b: float | None
) -> float | None:
    found = [value for value in (a, b) if value is not None]
    return choose(found) if found else None
