"""`AsyncCheckpointSaverHook`: TensorFlow's `CheckpointSaverHook`, which saves in the background."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist import _log, errors
from autodist.checkpoint import options
from autodist.checkpoint.hooks.running_saves import Request, RunningSaves, raise_error
from autodist.checkpoint.hooks.termination import Termination
from autodist.checkpoint.saver import Saver

_LOGGER = _log.get_logger()

# The errors of a session whose tasks were lost. The next session trains from the last checkpoint.
_LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.CancelledError)


class AsyncCheckpointSaverHook(tf.compat.v1.train.CheckpointSaverHook):
    """Saves checkpoints every so many steps or seconds while the program trains on.

    A `tf.compat.v1.train.CheckpointSaverHook` with an `autodist.Saver`. Give it to
    `MonitoredTrainingSession(save_checkpoint_secs=None, hooks=[...])`. Without that `None` the
    session also makes a hook of TensorFlow's. One save runs at a time. `end`, the end of the
    program and SIGTERM wait for it. The next save or `end` raises the error of a failed save; else
    the program logs it when it ends.
    """

    # Of the base class.
    _saver: Any
    _scaffold: Any
    _save_path: str
    _listeners: Any
    _summary_writer: Any
    _global_step_tensor: Any
    _save_graph_def: bool

    def __init__(  # noqa: PLR0917 TensorFlow's signature
        self,
        checkpoint_dir: str,
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Any = None,
        save_graph_def: bool = True,
        *,
        consistency: str = "instant",
        when_busy: str = "skip",
        sigterm_seconds: float = 20.0,
    ) -> None:
        """Creates a hook; the arguments up to `save_graph_def` are TensorFlow's.

        Args:
            checkpoint_dir: Directory of the checkpoints.
            save_secs: Save every so many seconds.
            save_steps: Save every so many steps.
            saver: An `autodist.Saver`; `None`: that of the scaffold or of the graph, or a new one
                for all variables.
            checkpoint_basename: Name of the files, without the step.
            scaffold: A `Scaffold` with the saver.
            listeners: `CheckpointSaverListener` objects. The thread that trains calls
                `before_save`, before a save begins. The thread that saves calls `after_save`, after
                the commit, with the step that was saved.
            save_graph_def: Whether to write `graph.pbtxt`, and `.meta` with each checkpoint.
            consistency: As in `SaveOptions`.
            when_busy: What happens when a save is due while another one runs. `'skip'`: the due
                save is left out; `'wait'`: training waits, then the hook saves; `'queue'`: the hook
                saves when the other save has ended.
            sigterm_seconds: How long a save may go on after SIGTERM; 0: SIGTERM is left alone.

        Raises:
            ValueError: Not one of `save_secs` and `save_steps` is given, or both `saver` and
                `scaffold` are.
            ArgumentError: Another argument has a value that cannot be used.
        """
        super().__init__(
            checkpoint_dir,
            save_secs,
            save_steps,
            saver,
            checkpoint_basename,
            scaffold,
            listeners,
            save_graph_def,
        )
        options.check_consistency(consistency)
        if not sigterm_seconds >= 0:
            raise errors.ArgumentError(f"sigterm_seconds must be 0 or more, not {sigterm_seconds}")
        self._consistency = consistency
        self._saves = RunningSaves(when_busy, self._after_commit)
        self._termination = Termination(sigterm_seconds)
        self._coordinator: Any = None
        self._is_stop_requested = False

    def begin(self) -> None:
        """Makes a saver if neither the hook, the scaffold nor the graph has one."""
        graph = tf.compat.v1.get_default_graph()
        is_given = self._saver is not None or getattr(self._scaffold, "saver", None) is not None
        if not is_given and not graph.get_collection(tf.compat.v1.GraphKeys.SAVERS):
            made = Saver(allow_empty=True, defer_build=True)
            graph.add_to_collection(tf.compat.v1.GraphKeys.SAVERS, made)
        super().begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Writes the graph, and saves once."""
        self._coordinator = coord
        self._termination.install()
        saver = self._get_saver()
        if not hasattr(saver, "save_async"):
            raise errors.GraphStateError(
                f"AsyncCheckpointSaverHook needs an autodist.Saver, not {saver!r}. Give it one as "
                "saver, or give Scaffold(saver=autodist.Saver()) to the session"
            )
        self._tell_of_lost_session()
        super().after_create_session(session, coord)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Saves if a save is due, or if one has waited for its turn."""
        super().after_run(run_context, run_values)
        if self._saves.is_due:
            step = run_context.session.run(self._global_step_tensor)
            self._save(run_context.session, step)
        if self._is_stop_requested:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Waits for the save that runs, and saves the last step.

        Raises:
            Exception: The error of a failed save that was not raised before.
        """
        last_step = session.run(self._global_step_tensor)
        self._saves.wait()
        former = self._saves.take_error()
        try:
            if self._saves.saved_step != last_step:
                self._save(session, last_step)
                self._saves.wait()
                self._saves.raise_error()
        except Exception as error:
            raise error from former
        finally:
            self._termination.remove()
        for listener in self._listeners:
            listener.end(session, last_step)
        raise_error(former)

    def _save(self, session: Any, step: int) -> bool:
        """Saves in the background; tells whether a listener has asked to stop."""
        if self._saves.may_begin():
            for listener in self._listeners:
                listener.before_save(session, step)
            request = Request(
                session,
                self._save_path,
                self._global_step_tensor,
                self._consistency,
                self._save_graph_def,
            )
            self._saves.begin(self._get_saver(), request)
        return self._is_stop_requested

    def _after_commit(self, request: Request, step: int) -> None:
        self._summary_writer.add_session_log(
            tf.compat.v1.SessionLog(
                status=tf.compat.v1.SessionLog.CHECKPOINT, checkpoint_path=self._save_path
            ),
            step,
        )
        for listener in self._listeners:
            if listener.after_save(request.session, step):
                _LOGGER.info("%r has asked to stop the training", listener)
                self._is_stop_requested = True
        if self._is_stop_requested and self._coordinator is not None:
            self._coordinator.request_stop()

    def _tell_of_lost_session(self) -> None:
        """Logs the error of a save of a former session, which was lost with its tasks."""
        self._saves.wait()
        error = self._saves.take_error()
        if isinstance(error, _LOST):
            _LOGGER.error("the save of a lost session failed: %s", error.message)
        else:
            raise_error(error)
