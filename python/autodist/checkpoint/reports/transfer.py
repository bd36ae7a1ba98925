"""One save or restore while it runs: how many bytes of it are done, and what it did in the end."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.reports import progress

# As the ops tell them; `Transfer.bytes` hides the type's own name there.
_Figures = bytes

_collected: contextvars.ContextVar[list[_native.OpReport] | None] = contextvars.ContextVar(
    "collected", default=None
)


class Transfer:
    """The bytes of one save or restore.

    The ops of this process count their bytes by themselves. For the tasks of a cluster, `begin` and
    `tell` count.

    Attributes:
        wants_figures: Whether a save computes figures of what it writes.
    """

    def __init__(
        self, prefix: str, slot: _native.ReportSlot, *, is_save: bool, wants_figures: bool = False
    ) -> None:
        """Begins with no bytes done.

        Args:
            prefix: The checkpoint's prefix.
            slot: The slot of the ops of this process.
            is_save: Whether it is a save, or a restore.
            wants_figures: Whether a save computes figures of what it writes.
        """
        self.wants_figures = wants_figures
        self._figures: _Figures | None = None
        self._judge: Callable[[str | None], None] | None = None
        self._slot = slot
        self._is_cancelled = False
        self._outlives_session = False
        self._check_commit: Callable[[], None] | None = None
        self._total = 0
        self._told = 0
        self._report: _native.OpReport | None = None
        self._progress = progress.show(prefix, self.bytes, is_save=is_save)

    def begin(self, total_bytes: int) -> None:
        """Begins, or begins again, to count the bytes of tasks.

        Args:
            total_bytes: How many bytes the tasks have in all; 0 if that is not known.
        """
        self._total, self._told = total_bytes, 0

    def tell(self, byte_counts: Iterable[int]) -> None:
        """Notes how many bytes tasks have done.

        Args:
            byte_counts: The bytes of each task since the save or restore began there.

        Raises:
            tf.errors.CancelledError: `cancel` was called.
        """
        self._told = sum(int(count) for count in byte_counts)
        self.check_cancelled()

    def bytes(self) -> tuple[int, int]:
        """Returns how many bytes are done, and how many there are; 0 if that is not known yet."""
        done, total = self._slot.bytes()
        return done + self._told, total + self._total

    def add_prefix(self, prefix: str) -> None:
        """Says that the ops write the bundle under this other prefix first."""
        for name in _written_prefixes(prefix):
            self._slot.add_prefix(name)

    def wait_until_taken(self, seconds: float) -> bool:
        """Waits until a save has all values that it writes; returns whether it has them.

        Args:
            seconds: How long to wait at most.
        """
        return self._slot.wait_until_taken(seconds)

    def note_taken(self) -> None:
        """Says that the tasks of a cluster have all values that the save writes."""
        self._slot.note_taken()

    def cancel(self) -> None:
        """Asks the save to fail before its commit."""
        self._is_cancelled = True
        self._slot.cancel()

    def outlive_session(self) -> None:
        """Lets a save that has its values go on if the session is closed."""
        self._outlives_session = True
        self._slot.outlive_session()

    def has_outlived_session(self) -> bool:
        """Tells whether the op wrote the bundle, although the session was closed meanwhile."""
        if not self._outlives_session:
            return False
        self._slot.wait_until_idle()
        return self.report() is not None

    def check_cancelled(self) -> None:
        """Raises if `cancel` was called.

        Raises:
            tf.errors.CancelledError: It was called.
        """
        if self._is_cancelled:
            raise tf.errors.CancelledError(
                None, None, "the save was cancelled; nothing was written"
            )

    def set_commit_check(self, check: Callable[[], None]) -> None:
        """Says what is to be called before a cluster or a staged save commits its bundle.

        Args:
            check: Cancels the save, if it is not to be committed. May be called again.
        """
        self._check_commit = check

    def check_commit(self) -> None:
        """Has it decided now whether the save may commit its bundle.

        Raises:
            tf.errors.CancelledError: It may not.
        """
        if self._check_commit is not None:
            self._check_commit()
        self.check_cancelled()

    def note_figures(self, figures: _Figures) -> None:
        """Notes the figures of what the tasks of a cluster have written.

        Args:
            figures: Of all tensors, as in `OpReport`.
        """
        self._figures = figures

    def figures(self) -> _Figures:
        """Returns the figures of what was written; empty if the save has computed none."""
        if self._figures is not None:
            return self._figures
        report = self.report() if self.wants_figures else None
        return b"" if report is None else report.figures

    def set_judge(self, judge: Callable[[str | None], None]) -> None:
        """Says what decides, before a bundle replaces another, whether it may.

        Args:
            judge: Raises if it may not. Its argument is the prefix under which the bundle can be
                read already; `None`: it cannot.
        """
        self._judge = judge

    def judge(self, prefix: str | None) -> None:
        """Has it decided now, from the figures, whether the bundle may be committed.

        Args:
            prefix: Where the bundle can be read already; `None`: it cannot.

        Raises:
            Exception: It may not.
        """
        if self._judge is not None:
            self._judge(prefix)

    def end(self) -> None:
        """Stops showing progress; may be called again. Call it before you log the end."""
        ended, self._progress = self._progress, None
        if ended is not None:
            ended.end()

    def report(self) -> _native.OpReport | None:
        """Calls `end`, and returns what the ops of this process did; `None` if they did nothing."""
        self.end()
        if self._report is None:
            self._report = self._slot.take_report()
        return self._report


@contextlib.contextmanager
def watched(
    prefix: str,
    *,
    is_save: bool,
    instant: _native.Instant | None = None,
    wants_figures: bool = False,
) -> Iterator[Transfer]:
    """Watches the save or restore that the block runs; shows its progress if it takes long.

    Args:
        prefix: The checkpoint's prefix.
        is_save: Whether it is a save, or a restore.
        instant: How a save takes all variables at one instant; `None`: it does not.
        wants_figures: Whether a save computes figures of what it writes.
    """
    prefixes = _written_prefixes(prefix) if is_save else [prefix]
    slot = _native.ReportSlot(
        *prefixes, is_save=is_save, instant=instant, wants_figures=wants_figures
    )
    with contextlib.closing(slot):
        transfer = Transfer(prefix, slot, is_save=is_save, wants_figures=wants_figures)
        try:
            yield transfer
        finally:
            transfer.end()
        reports, report = _collected.get(), transfer.report()
        if reports is not None and report is not None:
            reports.append(report)


def _written_prefixes(prefix: str) -> list[str]:
    # With `sharded=True` and one device, stock nodes write one part, and then merge it under the
    # final name.
    return [prefix, prefix + "_temp/part-00000-of-00001"]


@contextlib.contextmanager
def collected() -> Iterator[list[_native.OpReport]]:
    """Collects the reports of the saves and restores that this thread runs in the block."""
    reports: list[_native.OpReport] = []
    token = _collected.set(reports)
    try:
        yield reports
    finally:
        _collected.reset(token)
