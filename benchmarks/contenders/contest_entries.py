"""What the entries of a contest of saves and those of one of restores have in common."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from contenders.cases import Contest, Layout, Setting
from contenders.contender import Entry

if TYPE_CHECKING:
    import numpy as np

# Of a session of AutoDist that cuts its variables.
SESSION_CPUS = 2


class ContestEntries(abc.ABC):
    """Makes everybody who saves or restores the contest's model.

    Args:
        contest: The contest.
        setting: Of the run.
        values: The model's.
        reference: A directory with a stock save of the model from a single node.
    """

    def __init__(
        self, contest: Contest, setting: Setting, values: np.ndarray, reference: Path
    ) -> None:
        self._contest, self._setting, self._reference = contest, setting, reference
        self._model, self._place, self._values = contest.model, contest.place, values
        self._views = self._model.views(values)

    def make(self) -> Iterator[Entry]:
        """Yields the entries, those of each layout first."""
        for layout in self._contest.layouts:
            if layout.is_own_graph:
                yield from self._of_own_graph(layout)
            else:
                yield from self._of_session(layout)
        yield from self._of_context()
        yield from self._limits()

    @abc.abstractmethod
    def _of_own_graph(self, layout: Layout) -> Iterator[Entry]: ...

    @abc.abstractmethod
    def _of_session(self, layout: Layout) -> Iterator[Entry]: ...

    @abc.abstractmethod
    def _of_context(self) -> Iterator[Entry]: ...

    @abc.abstractmethod
    def _limits(self) -> Iterator[Entry]: ...
