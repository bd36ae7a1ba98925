"""Warns of updates for which a batch is not split, or whose value may differ from one node's."""

from __future__ import annotations

from typing import Any

from autodist import _log
from autodist.graph.analysis.batch_analysis import BatchAnalysis
from autodist.graph.analysis.choices import choices
from autodist.graph.kinds.kind import RANDOM_NUMBERS, STATISTICS

_logger = _log.get_logger()
_MOST_NAMES = 5


class UpdateReport:
    """Logs each decision on an update of a variable once.

    Args:
      batch: knows what depends on the batch.
    """

    def __init__(self, batch: BatchAnalysis) -> None:
        self._batch = batch
        self._logged: set[Any] = set()

    def log_new(self) -> None:
        """Logs the decisions that are new."""
        self._warn_of_whole_batches()
        self._warn_of_copies()
        self._warn_of_choices()
        self._warn_of_own_statistics()

    def _warn_of_whole_batches(self) -> None:
        updates = self._batch.updates
        for _, taker in self._batch.fed_whole:
            obstacle = updates.obstacles.get(taker)
            if obstacle is None or not self._is_new(("whole", taker)):
                continue
            roots = [t.name for t, op in self._batch.fed_whole if op is taker]
            _logger.warning(
                "the batch %s is not split over the replicas, each step computes it once: op %r "
                "(%s) %s, and its value for the whole batch does not follow from the replicas', "
                "since %s",
                _list(roots),
                taker.name,
                taker.type,
                _does(updates.variables_of(taker)),
                obstacle,
            )

    def _warn_of_copies(self) -> None:
        updates = self._batch.updates
        for op, obstacle in updates.obstacles.items():
            for variable in updates.variables_of(op):
                if variable.handle_op in self._batch.decisions.local and self._is_new(
                    variable.handle_op
                ):
                    _logger.warning(
                        "each replica updates a copy of variable %r, and their aggregate is "
                        "fetched and saved, as aggregation=%s declares; one node may have another "
                        "value: %s",
                        variable.name,
                        variable.aggregation.name,
                        obstacle,
                    )

    def _warn_of_choices(self) -> None:
        updates = self._batch.updates
        names: dict[str, None] = {}
        choices: dict[str, None] = {}
        for op in updates.in_order():
            choice = updates.choice_behind(op)
            if choice is not None and self._is_new(op):
                names.update(dict.fromkeys(v.name for v in updates.variables_of(op)))
                choices[f"{choice.name!r} ({choice.type})"] = None
        if names:
            _logger.warning(
                "each replica has batch statistics or random numbers of its own, in %s: what they "
                "give to variable %s is not exactly what one node would have",
                _list(list(choices), quoted=False),
                _list(list(names)),
            )

    def _warn_of_own_statistics(self) -> None:
        made = [c for c in choices(self._batch) if self._is_new(c)]
        statistics = [f"{c.op!r}" for c in made if c.what == STATISTICS]
        if statistics:
            _logger.warning(
                "batch normalisation uses each replica's own statistics, not those of the whole "
                "batch, in %s; AutoDist(batch_statistics='global') uses the whole batch's",
                _list(statistics, quoted=False),
            )
        numbers = [f"{c.op!r} ({c.op_type})" for c in made if c.what == RANDOM_NUMBERS]
        if numbers:
            _logger.warning(
                "each replica draws random numbers of its own for its rows, one node would draw "
                "others, in %s",
                _list(numbers, quoted=False),
            )

    def _is_new(self, what: Any) -> bool:
        is_new = what not in self._logged
        self._logged.add(what)
        return is_new


def _does(variables: list[Any]) -> str:
    if not variables:
        return "has an effect"
    return f"updates variable {_list([v.name for v in variables])}"


def _list(names: list[str], *, quoted: bool = True) -> str:
    shown = [repr(n) if quoted else n for n in names[:_MOST_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
