"""`AsyncCheckpointCallback`: a callback of Keras 2 that saves in the background."""

from __future__ import annotations

from typing import Any

from autodist import _log, errors
from autodist.checkpoint import options
from autodist.checkpoint.hooks.running_saves import Request, RunningSaves, raise_error
from autodist.checkpoint.hooks.termination import Termination
from autodist.checkpoint.saver import Saver
from autodist.private_apis import keras_internals

_LOGGER = _log.get_logger()


_Callback: Any = keras_internals.callback_class()


class AsyncCheckpointCallback(_Callback):
    """Saves checkpoints of `fit` in a graph, while it trains on.

    A callback of `tf_keras`, and of `tf.keras` where that is Keras 2. The model is compiled in the
    scope of an `AutoDist`, or in a graph and session of the program. The step in the names of the
    files is the optimizer's `iterations`. One save runs at a time. The end of the training, the end
    of the program and SIGTERM wait for it.
    """

    def __init__(
        self,
        path: str,
        *,
        saver: Any = None,
        save_freq: str | int = "epoch",
        consistency: str = "instant",
        when_busy: str = "skip",
        sigterm_seconds: float = 20.0,
    ) -> None:
        """Creates a callback.

        Args:
            path: Prefix of the files, without the step.
            saver: An `autodist.Saver`; `None`: one for all variables, which is made at the first
                save.
            save_freq: `'epoch'`: save after each epoch; a number: after so many batches.
            consistency: As in `SaveOptions`.
            when_busy: As in `AsyncCheckpointSaverHook`.
            sigterm_seconds: As in `AsyncCheckpointSaverHook`.

        Raises:
            ArgumentError: An argument has a value that cannot be used.
        """
        super().__init__()
        options.check_consistency(consistency)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise errors.ArgumentError(
                f"save_freq must be 'epoch' or a number of batches, not {save_freq!r}"
            )
        self._path = path
        self._saver = saver
        self._save_freq = save_freq
        self._consistency = consistency
        self._batches = 0
        self._saves = RunningSaves(when_busy, _nothing_more)
        self._termination = Termination(sigterm_seconds)

    def on_train_begin(self, logs: Any = None) -> None:
        """From now on, SIGTERM waits for saves."""
        del logs
        self._termination.install()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if `save_freq` batches have passed, or if a save has waited for its turn."""
        del batch, logs
        self._batches += 1
        is_time = isinstance(self._save_freq, int) and self._batches % self._save_freq == 0
        if is_time or self._saves.is_due:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves if `save_freq` is `'epoch'`."""
        del epoch, logs
        if self._save_freq == "epoch":
            self._save()

    def on_train_end(self, logs: Any = None) -> None:
        """Waits for the save that runs, and saves the last step.

        Raises:
            Exception: The error of a failed save that was not raised before.
        """
        del logs
        self._saves.wait()
        former = self._saves.take_error()
        try:
            session = self._session()
            if self._saves.saved_step != session.run(self._iterations()):
                self._save()
                self._saves.wait()
                self._saves.raise_error()
        except Exception as error:
            raise error from former
        finally:
            self._termination.remove()
        raise_error(former)

    def _session(self) -> Any:
        return keras_internals.keras2_of(self.model).backend().get_session()

    def _iterations(self) -> Any:
        return self.model.optimizer.iterations

    def _save(self) -> None:
        if not self._saves.may_begin():
            return
        session = self._session()
        if self._saver is None:
            with session.graph.as_default():
                self._saver = Saver()
        request = Request(
            session, self._path, self._iterations(), self._consistency, write_meta_graph=True
        )
        self._saves.begin(self._saver, request)


def _nothing_more(request: Request, step: int) -> None:
    _LOGGER.debug("step %d of %s is saved", step, request.path)
