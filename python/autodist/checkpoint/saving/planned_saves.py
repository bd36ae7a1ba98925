"""Plans a save, so that this thread or another one can run it later."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint import options as save_options
from autodist.checkpoint import snapshots
from autodist.checkpoint.distributed import save_router
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.errors import final_errors
from autodist.checkpoint.evidence.trial import Memory, Terms, Trial
from autodist.checkpoint.files import paths, state_file
from autodist.checkpoint.keeping import metrics_file, retention
from autodist.checkpoint.keeping.best_checkpoints import KeepBest
from autodist.checkpoint.reports.report import SaveReport
from autodist.checkpoint.reports.transfer import Transfer
from autodist.checkpoint.saving import companion_files, save_arguments, step_saves
from autodist.checkpoint.saving.bundle_saves import BundleSave
from autodist.checkpoint.saving.transaction import Transaction
from autodist.private_apis import tf_variables
from autodist.steps import step


def _tell_nobody(transfer: Transfer) -> None:
    del transfer


@dataclasses.dataclass(frozen=True)
class PlannedSave:
    """One save that has not begun.

    Attributes:
        transaction: Locks, stages and commits its files.
        bundle_save: Writes the bundle.
        check: See `Transaction.run`.
        clean_up: Removes old checkpoints; called after the commit.
    """

    transaction: Transaction
    bundle_save: BundleSave
    check: Callable[[], None]
    clean_up: Callable[[], None]

    @property
    def prefix(self) -> str:
        """The checkpoint's prefix."""
        return self.bundle_save.prefix

    @property
    def global_step(self) -> int | None:
        """The step in its name; `None` if it has none."""
        return self.bundle_save.global_step

    def run(self, begin: Callable[[Transfer], None] = _tell_nobody) -> SaveReport:
        """Saves, and returns what was saved.

        Args:
            begin: Is called, with the `Transfer` of this save, before the bundle is written.

        Raises:
            Exception: See `Transaction.run`.
        """

        def write_bundle(running: Transfer) -> SaveReport:
            begin(running)
            running.check_cancelled()
            rest = self.bundle_save.rest
            with contextlib.nullcontext() if rest is None else rest.of(running):
                return self.bundle_save.run(running)

        saved = self.transaction.run(write_bundle, self.check)
        # Nothing good is removed because of a checkpoint that is refused.
        if saved.prefix is not None and not saved.is_refused:
            self.clean_up()
        return saved

    def wait_until_trained_on(self) -> None:
        """Waits until training goes on; only a save of one step has stopped it."""
        if self.bundle_save.rest is not None:
            self.bundle_save.rest.wait_until_ended()


@dataclasses.dataclass(frozen=True)
class SaveArguments:
    """Arguments of `Saver.save`.

    Attributes:
        save_path: Prefix of the files, without a step.
        latest_filename: Name of the state file; `None`: `'checkpoint'`.
        meta_graph_suffix: Suffix of the graph's file.
        write_meta_graph: Whether to write the graph.
        write_state: Whether to write the state file and delete old checkpoints.
        meta_graph_options: How the graph is exported.
        options: How the checkpoint is written.
        metrics: Metrics of the checkpoint by name.
    """

    save_path: str
    latest_filename: str | None
    meta_graph_suffix: str
    write_meta_graph: bool
    write_state: bool
    meta_graph_options: dict[str, Any]
    options: save_options.SaveOptions
    metrics: Mapping[str, float]


class PlanningSaver(retention.RetainingSaver):
    """TensorFlow's `Saver`, which can also plan a save that another thread runs."""

    # Our `Saver` sets it.
    _save_router: save_router.SaveRouter
    _checked: Memory

    # Of the base class.
    saver_def: Any
    _pad_step_number: bool
    _save_relative_paths: bool

    @contextlib.contextmanager
    def _planned_save(
        self, sess: Any, global_step: Any, arguments: SaveArguments
    ) -> Iterator[PlannedSave]:
        """Reads the step and yields a save that has not begun.

        A save of one step must have taken its values when the block ends: then training goes on.

        Args:
            sess: The session.
            global_step: As in `Saver.save`.
            arguments: The other arguments.

        Raises:
            tf.errors.DeadlineExceededError: A training step does not end.
            GraphStateError: A task that may train has no step gate.
        """
        options = arguments.options
        is_step = options.consistency == "step"
        with step_saves.at_rest(sess, options.timeout_seconds, is_step=is_step) as rest:
            yield self._plan(sess, global_step, arguments, rest)

    def _plan(
        self,
        sess: Any,
        global_step: Any,
        arguments: SaveArguments,
        rest: step_saves.Rest | None,
    ) -> PlannedSave:
        save_path, options = arguments.save_path, arguments.options
        # The step is read once, so that all files have the same step even if training goes on.
        if global_step is not None and not isinstance(global_step, tf.compat.integral_types):
            global_step = tf.compat.v1.train.global_step(sess, global_step)
        # A step of NumPy, too: JSON and others know integers of Python alone.
        global_step = None if global_step is None else int(global_step)
        prefix = save_arguments.prefix_of(save_path, global_step, is_padded=self._pad_step_number)
        metrics = dict(arguments.metrics)
        if options.keep_best is not None:
            metrics = KeepBest.of(options.keep_best).evaluate(sess, metrics)
        instant = snapshots.instant_of(options, prefix)
        companions = companion_files.CompanionFiles(
            getattr(sess, "graph", None),
            self.saver_def,
            tf_variables.meta_graph_filename(prefix, arguments.meta_graph_suffix)
            if arguments.write_meta_graph
            else None,
            state_file.path_of(paths.parent(save_path), arguments.latest_filename)
            if arguments.write_state
            else None,
            lambda recorded: self._record(recorded, metrics),
            lambda: self.last_checkpoints,
            self._save_relative_paths,
            arguments.meta_graph_options,
            metrics_path=prefix + metrics_file.SUFFIX,
            metrics=metrics,
        )
        trial = self._trial(options.terms, prefix, global_step, companions)
        bundle_save = BundleSave(
            sess,
            prefix,
            self.saver_def if self._writes_v2() else None,
            options.durable,
            self._save_router,
            functools.partial(
                super().save,
                latest_filename=arguments.latest_filename,
                write_meta_graph=False,
                write_state=False,
            ),
            save_path,
            global_step,
            instant,
            rest,
            trial,
        )
        stages_early = save_arguments.can_stage_early(sess, save_path, arguments.latest_filename)
        transaction = Transaction(
            prefix,
            companions,
            options.durable,
            options.timeout_seconds,
            self._writes_v2(),
            # Saves with `sharded=True` and of the V1 format make no directory.
            makes_directory=self._writes_v2() and not self.saver_def.sharded,
            instant=instant,
            stages_early=stages_early,
            trial=trial,
            global_step=global_step,
        )
        check = functools.partial(
            save_arguments.check_parent, save_path if arguments.write_state else ""
        )

        def clean_up() -> None:
            if arguments.write_state:
                self._MaybeDeleteOldCheckpoints(meta_graph_suffix=arguments.meta_graph_suffix)

        return PlannedSave(transaction, bundle_save, check, clean_up)

    def _trial(
        self,
        terms: Terms | None,
        prefix: str,
        global_step: int | None,
        companions: companion_files.CompanionFiles,
    ) -> Trial | None:
        """Returns what decides about the checkpoint; `None` if nothing is to be checked.

        Raises:
            ArgumentError: The format has no place for evidence.
        """
        if terms is None or self._is_empty:
            return None
        if not self._writes_v2():
            raise errors.ArgumentError(
                "check, refuse and proof need the format V2, of write_version. Nothing was saved"
            )

        def graph_file() -> contextlib.AbstractContextManager[str]:
            if companions.meta_path is not None and not trial.replaces:
                return contextlib.nullcontext(companions.meta_path)
            return companions.graph_file()

        trial = Trial(
            terms,
            prefix,
            global_step,
            self._checked,
            state_path=companions.state_path,
            graph_file=graph_file,
            lists_index=bool(self.saver_def.sharded),
        )
        return trial


@contextlib.contextmanager
def saving(sess: Any, save_path: str) -> Iterator[None]:
    """Gives errors in the block their final types, and enters the session's graph.

    Runs in the block do not count as training steps.

    Args:
        sess: The session.
        save_path: The path that the saver was given.
    """
    with (
        final_errors.of_save(save_path, functools.partial(sessions.has_tasks, sess)),
        save_arguments.inside_graph(sess),
        step.exempt(),
    ):
        yield
