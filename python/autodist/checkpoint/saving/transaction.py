"""One save, from the lock of its prefix to its report.

::

    lock            no other save writes to the prefix
    write           data and index, by an op; they are whole or not there
    stage           .meta and checkpoint, under temporary names
    try             with check, refuse or proof: figures, rules, proof (`evidence.trial`)
    commit          both are renamed; of a refused checkpoint the state file is not
    roll back       files that are not committed are removed, if a step fails

A bundle that is whole stays, whatever fails afterwards: the variables of a finished training are
worth more than the files beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from autodist import _log, _native, errors
from autodist.checkpoint.errors import final_errors, no_space
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.evidence.trial import Trial
from autodist.checkpoint.files import bundle, paths, prefix_lock, staged_files, values_file
from autodist.checkpoint.keeping import metrics_file
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.reports.report import SaveReport
from autodist.checkpoint.saving.companion_files import CompanionFiles
from autodist.evidence import text

_LOGGER = _log.get_logger()


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
            Then only renames follow the bundle. Not if there is a trial.
        trial: Decides, before the state file names the checkpoint, whether it may; `None`: it may.
        global_step: The step in the prefix.
    """

    prefix: str
    companions: CompanionFiles
    durable: bool
    timeout_seconds: float
    is_v2: bool
    makes_directory: bool
    instant: _native.Instant | None
    stages_early: bool
    trial: Trial | None = None
    global_step: int | None = None

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
        if self.trial is not None:
            self.trial.begin(is_overwritten=is_overwritten)
        with staged_files.StagedFiles(durable=self.durable) as files:
            is_early = is_overwritten and self.stages_early and self.trial is None
            is_staged = is_early and self._stage_early(files)
            beside = _ValuesFiles(self)
            try:
                beside.begin(is_overwritten=is_overwritten)
                report, told = self._write(write_bundle)
                lock.take_back_directory()
                if report.prefix is not None:
                    beside.settle()
                    check()
            except BaseException as error:
                self._roll_back(lock, error, is_overwritten=is_overwritten)
                beside.put_back()
                if isinstance(error, errors.RefusedCheckpointError):
                    return self._refused(error)
                if no_space.is_cause(error):
                    state_path = self.companions.state_path
                    raise no_space.explained(error, self.prefix, state_path) from error
                raise
            try:
                if self.trial is not None and report.prefix is not None:
                    report = self._try(self.trial, files, report, told)
                elif not is_staged:
                    self.companions.stage(files, report.prefix)
                files.commit()
            except BaseException as error:
                # Once the state file names it, a checkpoint is recorded.
                if self.companions.state_path not in files.moved:
                    self.companions.unrecord()
                if report.prefix is None or not isinstance(error, Exception):
                    raise
                message = final_errors.text_of(error)
                told_text = f"{message}\n\n{self._what_is_saved(files.moved)}"
                raise final_errors.with_message(error, told_text) from error
        return report if self.trial is None else self._decided(self.trial, report)

    def _write(
        self, write_bundle: Callable[[transfer.Transfer], SaveReport]
    ) -> tuple[SaveReport, bytes]:
        """Writes the bundle; returns its report and the figures of what was written."""
        trial = self.trial
        with transfer.watched(
            self.prefix,
            is_save=True,
            instant=self.instant,
            wants_figures=trial is not None and trial.terms.has_figures,
        ) as running:
            if trial is not None:
                running.set_judge(lambda at: trial.judge_before_commit(running.figures(), at))
            report = write_bundle(running)
            return report, running.figures()

    def _decided(self, trial: Trial, report: SaveReport) -> SaveReport:
        """Returns the report of a checkpoint whose files are committed; raises if it is refused."""
        if report.is_refused:
            return self._refused(trial.error(is_kept=True))
        if report.prefix is not None:
            trial.note_committed()
        return report

    def _try(
        self,
        trial: Trial,
        files: staged_files.StagedFiles,
        report: SaveReport,
        told: bytes,
    ) -> SaveReport:
        """Decides about a bundle that is written; stages the state file if it may name it.

        Args:
            trial: Decides.
            files: What to add files to.
            report: Of the bundle.
            told: Its figures.
        """
        self.companions.stage_graph(files, report.prefix)
        files.commit()
        evidence = trial.evidence or trial.judge(told, report.prefix)
        if self.is_v2:
            index = values_file.digest_of_index(self.prefix)
            trial.evidence = evidence = dataclasses.replace(evidence, index=index)
            files.add(self.prefix + evidence_file.SUFFIX, text.contents(evidence))
        if not evidence.is_refused:
            self.companions.stage_state(files, report.prefix)
        return dataclasses.replace(report, evidence=evidence)

    def _refused(self, error: errors.RefusedCheckpointError) -> SaveReport:
        """Raises the error of a refused checkpoint, or logs it and returns the report.

        Args:
            error: The error.

        Raises:
            RefusedCheckpointError: That is what was asked for.
        """
        assert self.trial is not None
        refuse = self.trial.terms.refuse
        if refuse is None or refuse.action == "error":
            raise error
        _LOGGER.warning("%s", error)
        return SaveReport(self.prefix, evidence=self.trial.evidence)

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


class _ValuesFiles:
    """The files beside a bundle that belong to its values, while a save replaces these.

    Metrics go before the values do. Evidence names the index that it is about. So it stays until
    the new values are there: a refused checkpoint is never without it, wherever a save is killed.
    """

    def __init__(self, transaction: Transaction) -> None:
        """Has changed nothing yet.

        Args:
            transaction: The save.
        """
        self._of = transaction
        self._metrics: values_file.Taken | None = None
        self._has_former_evidence = False
        self._former_index: str | None = None
        self._is_marked = False

    def begin(self, *, is_overwritten: bool) -> None:
        """Removes former metrics; marks a checkpoint that may be refused as not decided.

        Args:
            is_overwritten: Whether there is a bundle.

        Raises:
            tf.errors.OpError: A file cannot be removed or written.
        """
        save, trial = self._of, self._of.trial
        if not save.is_v2:
            return
        self._metrics = metrics_file.FILE.take(
            save.prefix, is_replaced=bool(save.companions.metrics)
        )
        found = evidence_file.FILE.find(save.prefix, is_replaced=trial is not None)
        if trial is not None and trial.terms.is_strict and not trial.replaces:
            self._is_marked = True
            evidence_file.mark_pending(save.prefix, save.global_step, durable=save.durable)
        elif found is not None:
            self._has_former_evidence = True
            if is_overwritten:
                self._former_index = values_file.digest_of_index(save.prefix)
                evidence_file.name_index(
                    save.prefix, found, self._former_index, durable=save.durable
                )

    def settle(self) -> None:
        """Removes evidence of former values, once others are there."""
        if self._has_former_evidence:
            bundle.remove_file(self._of.prefix + evidence_file.SUFFIX)

    def put_back(self) -> None:
        """Puts back what belongs to the values that are there, after a save that failed."""
        save = self._of
        metrics_file.FILE.put_back(save.prefix, self._metrics, durable=save.durable)
        if self._is_marked:
            if not bundle.exists(save.prefix):
                bundle.remove_file(save.prefix + evidence_file.SUFFIX)
        elif self._former_index is not None:
            index = values_file.digest_of_index(save.prefix)
            # Where the index cannot be read, the evidence stays: it names its own.
            if index is not None and index != self._former_index:
                self.settle()


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
