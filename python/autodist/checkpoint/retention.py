"""Which old checkpoints a saver may remove.

What a saver is to remove it may know from a state file (`recover_last_checkpoints`, which a `MonitoredTrainingSession`
calls by itself), and state files are data from elsewhere: a prefix in one may lead out of the directory, may hold `*`,
or may be another spelling of the checkpoint that was just saved. TensorFlow removes all of these.
"""

import os
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist import _log, tf_internals
from autodist.checkpoint import paths, prefix_lock

_LOGGER = _log.get_logger()

_SaverDef = tf.compat.v1.train.SaverDef


class RetainingSaver(tf.compat.v1.train.Saver):
    """TensorFlow's `Saver`, but for what it removes."""

    # Of the base class: (prefix, time) of the checkpoints kept, and of those that are to go.
    _last_checkpoints: list[tuple[str, float]]
    _checkpoints_to_be_deleted: list[tuple[str, float]]
    _next_checkpoint_time: float
    _is_empty: bool | None
    _write_version: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of TensorFlow's."""
        self._own_checkpoints: set[str] = set()
        super().__init__(*args, **kwargs)

    def recover_last_checkpoints(self, checkpoint_paths: Iterable[str]) -> None:
        """Takes over the checkpoints of a former saver, which this one then keeps and removes.

        Of these, unlike TensorFlow's, it removes only those in the directory that it saves to.

        Args:
            checkpoint_paths: Their prefixes, as in a state file. Those that are not there are left out.
        """
        # Before the first save, executing eagerly or with `defer_build`, there is no `SaverDef`.
        if self._write_version == _SaverDef.V2:
            self.set_last_checkpoints_with_time(recover(checkpoint_paths))
        else:
            super().recover_last_checkpoints(checkpoint_paths)

    def _writes_v2(self) -> bool:
        """Tells whether there is something to save, and that in a format with an index."""
        return not self._is_empty and self._write_version == _SaverDef.V2

    def _RecordLastCheckpoint(self, latest_save_path: str) -> None:  # noqa: N802 of the base class
        super()._RecordLastCheckpoint(latest_save_path)
        self._own_checkpoints.add(latest_save_path)

    def _MaybeDeleteOldCheckpoints(  # noqa: N802 of the base class
        self, meta_graph_suffix: str = "meta"
    ) -> None:
        """Removes the checkpoint that is to go, if it is one that may."""
        if not self._checkpoints_to_be_deleted:
            return
        prefix, saved_at = self._checkpoints_to_be_deleted.pop(0)
        if saved_at > self._next_checkpoint_time:
            self._next_checkpoint_time += self.saver_def.keep_checkpoint_every_n_hours * 3600
            return
        is_own = prefix in self._own_checkpoints
        self._own_checkpoints.discard(prefix)
        reason = reason_to_keep(prefix, self.last_checkpoints, is_own=is_own)
        if reason is not None:
            _LOGGER.warning("the old checkpoint %r is not removed: %s", prefix, reason)
            return
        meta_path = tf_internals.meta_graph_filename(prefix, meta_graph_suffix)
        is_v2 = self._write_version == _SaverDef.V2
        prefix_lock.remove_unless_held(prefix, meta_path, *([] if is_v2 else [prefix]))


def reason_to_keep(prefix: str, kept: Iterable[str], *, is_own: bool) -> str | None:
    """Tells why a checkpoint must not be removed.

    Args:
        prefix: The checkpoint's prefix.
        kept: The prefixes of those that are kept, the one just saved last.
        is_own: Whether the saver saved it itself.

    Returns:
        The reason; `None` if there is none.
    """
    kept = list(kept)
    place = _place(prefix)
    if any(place == _place(other) for other in kept):
        return "it is the same as one that is kept"
    if not is_own and (not kept or place[0] != _place(kept[-1])[0]):
        return "this saver did not save it, and it lies in another directory"
    return None


def recover(prefixes: Iterable[str]) -> list[tuple[str, float]]:
    """Returns those checkpoints of the V2 format that are there, with the times they were saved at.

    Args:
        prefixes: Their prefixes, taken as they are: no character stands for others.
    """
    found = []
    for prefix in prefixes:
        try:
            status = tf.io.gfile.stat(prefix + ".index")
        except (tf.errors.OpError, ValueError):
            continue
        found.append((prefix, status.mtime_nsec / 1e9))
    return found


def _place(prefix: str) -> tuple[str, str]:
    """The directory of a prefix, the same for all ways to spell it, and its last part."""
    directory, name = paths.parent(prefix), paths.name(prefix)
    if not paths.is_local(prefix) or "\0" in prefix:
        return directory, name
    return os.path.realpath(directory or "."), name
