"""Writes the bundle of one save: by our op, by all tasks of a cluster, or by TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist import _log, _native, errors
from autodist.checkpoint import snapshots
from autodist.checkpoint.distributed import save_router
from autodist.checkpoint.evidence.trial import Trial
from autodist.checkpoint.files import bundle
from autodist.checkpoint.reports import report, transfer
from autodist.checkpoint.saving import save_arguments, step_saves
from autodist.tf_nodes import marks, save_nodes

_LOGGER = _log.get_logger()


@dataclasses.dataclass(frozen=True)
class BundleSave:
    """One bundle that is to be written.

    Attributes:
        session: The session.
        prefix: The checkpoint's prefix.
        saver_def: The saver's `SaverDef`; `None` for a format without an index.
        durable: Whether all files are synced.
        router: Chooses how variables on several tasks are saved.
        save: `Saver.save` of the base class, told to write the bundle alone. Takes a session, a
            path and a step.
        save_path: The path that the saver was given.
        global_step: The step that was read; `None` if there is none.
        instant: How all variables are taken at one instant; `None`: they are not.
        trial: Decides about the checkpoint; `None`: nobody does.
        rest: For a save of one step, the time in which no training step is on its way. Values that
            cannot be taken at one instant are read before this time ends.
    """

    session: Any
    prefix: str
    saver_def: Any
    durable: bool
    router: save_router.SaveRouter
    save: Callable[..., Any]
    save_path: str
    global_step: int | None
    instant: _native.Instant | None
    rest: step_saves.Rest | None
    trial: Trial | None = None

    def run(self, running: transfer.Transfer) -> report.SaveReport:
        """Runs the nodes that write the bundle, logs a line, and returns what was written.

        Args:
            running: The bytes of this save.
        """
        try:
            return self._run(running)
        except snapshots.NotOneInstantError as error:
            if self.rest is None or not self.rest.keep():
                raise
            # While no step is on its way, all values stay the same, however they are read.
            _LOGGER.info(
                "consistency='step': %s; so training waits until %s is written",
                error.why,
                self.prefix,
            )
        again = dataclasses.replace(self, instant=None)
        return again._run(running)  # noqa: SLF001 our own class

    def _run(self, running: transfer.Transfer) -> report.SaveReport:
        found: list[Any] = []
        if self.saver_def is not None:
            found = save_nodes.find(getattr(self.session, "graph", None), self.saver_def)
        is_ours = any(map(marks.is_marked, found))
        # The base class refuses an object that is no session.
        is_session = hasattr(self.session, "graph")
        if self.instant is not None and is_session:
            if not (is_ours and len(found) == 1):
                snapshots.refuse("TensorFlow's own ops write this checkpoint")
            snapshots.check_node(found[0])
        replaces = self.trial is not None and self.trial.replaces
        if (
            (replaces or not is_ours)
            and self.saver_def is not None
            and save_arguments.can_stage_bundle(self.session, self.prefix)
        ):
            return self._run_staged(self.session, running)
        node = found[0] if is_ours and len(found) == 1 else None
        try:
            return self._run_in(self._route(node, running), running, is_ours=is_ours)
        except save_router.InOrderOnlyError as error:
            self.router.write_in_order(self.prefix, error)
        return self._run_in(self._route(node, running), running, is_ours=is_ours)

    def _route(self, node: Any, running: transfer.Transfer) -> Any:
        """Returns the session to save in, or its proxy if the variables lie on several tasks."""
        if node is None:
            return self.session
        return self.router.route(self.session, node, self.prefix, running, self.instant)

    def _run_in(
        self, session: Any, running: transfer.Transfer, *, is_ours: bool
    ) -> report.SaveReport:
        is_proxy = session is not self.session
        if self.trial is not None and self.trial.replaces:
            self._check_judged_in_time(
                self.trial, stages=is_proxy and session.stages_bundle, judges=is_proxy
            )
        if is_proxy and session.stages_bundle:
            return self._run_staged(session, running)
        self._end_rest_once_taken(running)
        try:
            path: str | None = self.save(session, self.save_path, self.global_step)
        except tf.errors.CancelledError:
            is_one_op = is_ours and not is_proxy and not self.saver_def.sharded
            if not (is_one_op and running.has_outlived_session()):
                raise
            path = self.prefix
        if path is None:
            return report.SaveReport(None)
        if self.durable and not is_ours:
            bundle.sync(self.prefix)
        # The proxy has logged the save of all tasks.
        if not is_proxy:
            report.SaveReport(self.prefix, running.report()).log()
        # TensorFlow's path of a sharded V1 checkpoint is a pattern, not the prefix.
        saved = report.SaveReport(path, running.report())
        # In a cluster, `JointInstant.check` has done this.
        if self.instant is not None and self.rest is None and not is_proxy:
            snapshots.check(saved)
        return saved

    def _end_rest_once_taken(self, running: transfer.Transfer) -> None:
        """Lets training go on once all values are taken, if they can be taken at one instant."""
        if self.rest is None or self.instant is None:
            return
        nodes = save_nodes.find(self.session.graph, self.saver_def)
        if not any(map(save_nodes.may_share_memory, nodes)):
            self.rest.end_once_taken(running)

    def _check_judged_in_time(self, trial: Trial, *, stages: bool, judges: bool) -> None:
        """Refuses a save that would replace a checkpoint before it is known to be good.

        Args:
            trial: Decides about it.
            stages: Whether the bundle can be read before it replaces the other.
            judges: Whether its figures are known before that.

        Raises:
            ArgumentError: It would.
        """
        if stages or (judges and trial.terms.proof is None):
            return
        what = "proof" if trial.terms.proof is not None else "refuse"
        raise errors.ArgumentError(
            f"{what} is not possible: there is a checkpoint {self.prefix} already, or the state file "
            "names it, and this save can be checked only once it is there. Nothing was saved. Save "
            "under another prefix, such as one with a global_step"
        )

    def _run_staged(self, session: Any, running: transfer.Transfer) -> report.SaveReport:
        """Saves under a temporary prefix, then renames: stock nodes replace files one by one."""
        staged = _native.StagedBundle()
        is_proxy = session is not self.session
        self._end_rest_once_taken(running)
        try:
            staged.stage(self.prefix, durable=self.durable)
            running.add_prefix(staged.staged_prefix)
            try:
                self.save(session, staged.staged_prefix, None)
            except tf.errors.CancelledError:
                if is_proxy or not running.has_outlived_session():
                    raise
            if self.instant is not None and self.rest is None and not is_proxy:
                snapshots.check(report.SaveReport(self.prefix, running.report()))
            running.check_commit()
            running.judge(staged.staged_prefix)
            staged.commit()
        finally:
            staged.discard()
        saved = report.SaveReport(self.prefix, running.report())
        if session is self.session:
            saved.log()
        return saved
