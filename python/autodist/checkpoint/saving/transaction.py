"""One save, from the lock of its prefix to its report.

::

    lock            no other save writes to the prefix
    write           data and index, by an op; they are whole or not there
    stage           .meta and checkpoint, under temporary names
    commit          both are renamed
    roll back       files that are not committed are removed, if a step fails

A bundle that is whole stays, whatever fails afterwards: the variables of a finished training are
worth more than the files beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.errors import final_errors, no_space
from autodist.checkpoint.files import bundle, paths, prefix_lock, staged_files
from autodist.checkpoint.keeping import metrics_file
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.reports.report import SaveReport
from autodist.checkpoint.saving.companion_files import CompanionFiles


@dataclasses.dataclass(frozen=True)
class Transaction:
    """One save.

    Attributes:
        prefix: The checkpoint's prefix.
        companions: The files beside the bundle.
        durable: Whether all files are synced.
        timeout_seconds: How long to wait for another thread that saves to the prefix.
        is_v2: Whether the bundle is of the format that has an index. Only such a save is locked.
        makes_directory: Whether to make the directory of the prefix if it is missing.
        instant: How the save takes all variables at one instant; `None`: it does not.
        stages_early: Whether to stage before the bundle is written, if a checkpoint is overwritten.
            Then only renames follow the bundle.
    """

    prefix: str
    companions: CompanionFiles
    durable: bool
    timeout_seconds: float
    is_v2: bool
    makes_directory: bool
    instant: _native.Instant | None
    stages_early: bool

    def run(
        self,
        write_bundle: Callable[[transfer.Transfer], SaveReport],
        check: Callable[[], None],
    ) -> SaveReport:
        """Saves, and returns the report of `write_bundle`.

        Args:
            write_bundle: Writes the bundle, whole or not at all, and tells how far it is.
            check: Called once a bundle is written; raises if the files beside it cannot be written.

        Raises:
            tf.errors.AlreadyExistsError: Another save writes to the prefix; nothing was written.
            Exception: What `write_bundle` raises, or what failed after it. Then the text says what
                is saved.
        """
        # Of two processes that save to one prefix at once, one gets an error here, before it writes
        # anything.
        with prefix_lock.held(
            self.prefix,
            durable=self.durable,
            timeout_seconds=self.timeout_seconds,
            makes_directory=self.makes_directory,
            is_needed=self.is_v2,
        ) as lock:
            return self._run(lock, write_bundle, check)

    def _run(
        self,
        lock: prefix_lock.HeldPrefix,
        write_bundle: Callable[[transfer.Transfer], SaveReport],
        check: Callable[[], None],
    ) -> SaveReport:
        is_overwritten = self.is_v2 and bundle.exists(self.prefix)
        with staged_files.StagedFiles(durable=self.durable) as files:
            is_staged = is_overwritten and self.stages_early and self._stage_early(files)
            former_metrics: metrics_file.TakenMetrics | None = None
            try:
                # Those that are there belong to other values.
                if self.is_v2:
                    former_metrics = metrics_file.take(
                        self.prefix, is_replaced=bool(self.companions.metrics)
                    )
                with transfer.watched(self.prefix, is_save=True, instant=self.instant) as running:
                    report = write_bundle(running)
                lock.take_back_directory()
                if report.prefix is not None:
                    check()
            except BaseException as error:
                self._roll_back(lock, error, is_overwritten=is_overwritten)
                metrics_file.put_back(self.prefix, former_metrics, durable=self.durable)
                if no_space.is_cause(error):
                    state_path = self.companions.state_path
                    raise no_space.explained(error, self.prefix, state_path) from error
                raise
            try:
                if not is_staged:
                    self.companions.stage(files, report.prefix)
                files.commit()
            except BaseException as error:
                # Once the state file names it, a checkpoint is recorded.
                if self.companions.state_path not in files.moved:
                    self.companions.unrecord()
                if report.prefix is None or not isinstance(error, Exception):
                    raise
                message = final_errors.text_of(error)
                text = f"{message}\n\n{self._what_is_saved(files.moved)}"
                raise final_errors.with_message(error, text) from error
        return report

    def _stage_early(self, files: staged_files.StagedFiles) -> bool:
        """Stages the files beside the bundle before it is written.

        Returns whether that was possible.
        """
        try:
            self.companions.stage(files, self.prefix)
        except Exception:  # noqa: BLE001 tried again after the variables, and raised then
            files.discard()
            self.companions.unrecord()
            return False
        return True

    def _roll_back(
        self, lock: prefix_lock.HeldPrefix, error: BaseException, *, is_overwritten: bool
    ) -> None:
        """Removes the files of a failed save, but never those of another save."""
        self.companions.unrecord()
        is_anothers = isinstance(error, tf.errors.AlreadyExistsError) or lock.has_saved_within
        if self.is_v2 and not is_overwritten and not is_anothers:
            bundle.remove(self.prefix)

    def _what_is_saved(self, moved: frozenset[str]) -> str:
        lines = [describe_saved(self.prefix)]
        meta_path, state_path = self.companions.meta_path, self.companions.state_path
        if meta_path is not None and meta_path not in moved:
            # The former graph belongs to other values, but often fits.
            is_former = tf.io.gfile.exists(meta_path) and not tf.io.gfile.isdir(meta_path)
            lines.append(
                f"{meta_path!r} is the graph of the save before."
                if is_former
                else f"Their graph, {meta_path!r}, is missing."
            )
        if state_path is not None and state_path not in moved:
            lines.append(_what_is_named(state_path))
        return " ".join(lines)


def describe_saved(prefix: str) -> str:
    """Returns a sentence that says that a bundle is there, and how to restore it.

    Args:
        prefix: Its prefix.
    """
    return f"The variables are saved all the same: saver.restore(sess, {prefix!r}) restores them."


def _what_is_named(state_path: str) -> str:
    state = tf.train.get_checkpoint_state(paths.parent(state_path), paths.name(state_path))
    if state is None:
        return f"No state file {state_path!r} names them."
    return f"The state file {state_path!r} names {state.model_checkpoint_path!r}, as before."
