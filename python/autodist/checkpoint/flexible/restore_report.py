"""What a flexible restore did, or would do: by variable, and as log lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from autodist import _log

_LOGGER = _log.get_logger()

# Names of each kind that the text of a report lists.
_MOST_LISTED = 20


@dataclasses.dataclass(frozen=True)
class GrownVariable:
    """How far a variable was grown.

    Attributes:
        axis: The axis.
        stored_rows: How long the tensor in the checkpoint is along it.
        rows: How long the variable is.
        taken_rows: How many rows of it came from the checkpoint.
        rest: What the others got: `'initialize'`, `'keep'`, `'zeros'` or `'initializer'`.
    """

    axis: int
    stored_rows: int
    rows: int
    taken_rows: int
    rest: str

    def __str__(self) -> str:
        return (
            f"{self.taken_rows} of {self.rows} rows of axis {self.axis} from "
            f"{self.stored_rows} stored ones, the rest: {self.rest}"
        )


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What a restore with `missing`, `name_map`, `grow`, `cast` or `dry_run` did, by the saver's names.

    Attributes:
        prefix: The checkpoint's prefix.
        is_dry_run: Whether nothing was done.
        restored: For each variable with a value of the checkpoint, the name there; those that were
            grown or cast included.
        kept: Variables that the checkpoint lacks, and that keep their value.
        initialized: Variables that the checkpoint lacks, and that were initialized.
        grown: Variables that are longer than in the checkpoint, or have another vocabulary.
        cast: For each variable of another dtype than in the checkpoint, that and its own.
        unexpected: Names of the checkpoint that no variable takes.
    """

    prefix: str
    is_dry_run: bool
    restored: Mapping[str, str]
    kept: tuple[str, ...] = ()
    initialized: tuple[str, ...] = ()
    grown: Mapping[str, GrownVariable] = dataclasses.field(default_factory=dict)
    cast: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    unexpected: tuple[str, ...] = ()

    @property
    def renamed(self) -> dict[str, str]:
        """The name in the checkpoint of each variable that has another name there."""
        return {name: stored for name, stored in self.restored.items() if stored != name}

    def __str__(self) -> str:
        verb = "would be restored" if self.is_dry_run else "restored"
        lines = [f"{self.prefix}: {_log.count(len(self.restored), 'variable')} {verb}"]
        for title, names in (
            ("under another name", [f"{a} <- {b}" for a, b in self.renamed.items()]),
            ("grown", [f"{name}: {grown}" for name, grown in self.grown.items()]),
            ("cast", [f"{name}: {a} -> {b}" for name, (a, b) in self.cast.items()]),
            ("kept", self.kept),
            ("initialized", self.initialized),
            ("unexpected in the checkpoint", self.unexpected),
        ):
            lines += _section(title, list(names))
        return "\n".join(lines)

    def log(self, *, warns_of_unexpected: bool) -> None:
        """Logs a line for each option that had an effect.

        Args:
            warns_of_unexpected: Whether to warn of names that no variable takes.
        """
        does = "would be " if self.is_dry_run else ""
        if self.renamed:
            self._tell(
                "name_map",
                f"{does}read under another name",
                [f"{name} <- {stored}" for name, stored in self.renamed.items()],
            )
        if self.grown:
            grown = [f"{name} ({how})" for name, how in self.grown.items()]
            self._tell("grow", f"{does}grown", grown)
        if self.cast:
            cast = [f"{name} ({a} -> {b})" for name, (a, b) in self.cast.items()]
            self._tell("cast", f"{does}cast", cast)
        if self.kept:
            self._tell("missing='keep'", "not in the checkpoint, not changed", self.kept)
        if self.initialized:
            self._tell(
                "missing='initialize'",
                f"not in the checkpoint, {does}initialized",
                self.initialized,
            )
        if self.unexpected and warns_of_unexpected:
            _LOGGER.warning(
                "%s: no variable takes %s of the checkpoint: %s",
                self.prefix,
                _log.count(len(self.unexpected), "name"),
                _log.names(list(self.unexpected)),
            )

    def _tell(self, option: str, what: str, names: Iterable[str]) -> None:
        listed = list(names)
        _LOGGER.info(
            "%s: %s: %s %s: %s", self.prefix, option, len(listed), what, _log.names(listed)
        )


def _section(title: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = len(names) - _MOST_LISTED
    lines = [f"  {title} ({len(names)}):", *(f"    {name}" for name in names[:_MOST_LISTED])]
    return [*lines, f"    and {more} more"] if more > 0 else lines
