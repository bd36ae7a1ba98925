"""Decides which old checkpoints a saver may remove.

A saver may know what to remove from a state file: `MonitoredTrainingSession` calls
`recover_last_checkpoints` by itself. A state file may come from elsewhere. A prefix in it may lead
out of the directory, may hold `*`, or may be another spelling of the checkpoint that was just
saved. TensorFlow removes all of these.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.files import paths, prefix_lock
from autodist.checkpoint.keeping import leases, metrics_file, pins
from autodist.checkpoint.keeping.best_checkpoints import BestCheckpoints, KeepBest
from autodist.private_apis import tf_variables

_LOGGER = _log.get_logger()

_SaverDef = tf.compat.v1.train.SaverDef

_V1_SHARDS = re.compile(r"(.*)-\?{5}-of-(\d{5})", re.DOTALL)


class RetainingSaver(tf.compat.v1.train.Saver):
    """TensorFlow's `Saver`, which removes fewer old checkpoints."""

    # These belong to the base class. The lists hold (prefix, time) of the checkpoints that are
    # kept, and of those that are to be removed.
    _last_checkpoints: list[tuple[str, float]]
    _checkpoints_to_be_deleted: list[tuple[str, float]]
    _next_checkpoint_time: float
    _is_empty: bool | None
    _write_version: int

    def __init__(self, *args: Any, keep_best: KeepBest | None, **kwargs: Any) -> None:
        """Takes the arguments of TensorFlow's.

        Args:
            *args: Of the base class.
            keep_best: Which checkpoints stay because they are the best; `None`: none.
            **kwargs: Of the base class.
        """
        self._best = None if keep_best is None else BestCheckpoints(keep_best)
        # Those that somebody reads: absolute prefix, whether this saver saved it, suffix of its
        # graph.
        self._leased: list[tuple[str, bool, str]] = []
        # Absolute prefixes, by prefix: the current directory may change before a checkpoint is
        # removed.
        self._own_checkpoints: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def recover_last_checkpoints(self, checkpoint_paths: Iterable[str]) -> None:
        """Takes over the checkpoints of a former saver, which this one then keeps and removes.

        Unlike TensorFlow's saver, it removes only those in the directory that it saves to.

        Args:
            checkpoint_paths: Their prefixes, as in a state file. Those that are not there are left
                out.
        """
        prefixes = [paths.text(path) for path in checkpoint_paths]
        # Before the first save, executing eagerly or with `defer_build`, there is no `SaverDef`.
        if self._write_version == _SaverDef.V2:
            self._last_checkpoints = recover(prefixes)
            if self._best is not None:
                self._best.recover(prefix for prefix, _ in self._last_checkpoints)
        else:
            own = dict(self._own_checkpoints)
            super().recover_last_checkpoints(prefixes)
            self._own_checkpoints = own

    def set_last_checkpoints(self, last_checkpoints: list[Any]) -> None:
        """Sets the checkpoints that are kept. None of these is ever removed.

        Args:
            last_checkpoints: Their prefixes, oldest first.

        Raises:
            AssertionError: It is not a list.
        """
        if isinstance(last_checkpoints, list):
            last_checkpoints = [paths.text(path) for path in last_checkpoints]
        super().set_last_checkpoints(last_checkpoints)

    def set_last_checkpoints_with_time(
        self, last_checkpoints_with_time: list[tuple[Any, float]]
    ) -> None:
        """Sets the checkpoints that are kept, and removed like those that the saver saved itself.

        Args:
            last_checkpoints_with_time: Their prefixes and the times they were saved at, in seconds,
                oldest first.

        Raises:
            AssertionError: It is not a list.
        """
        if isinstance(last_checkpoints_with_time, list):
            last_checkpoints_with_time = [
                (paths.text(path), saved_at) for path, saved_at in last_checkpoints_with_time
            ]
        super().set_last_checkpoints_with_time(last_checkpoints_with_time)
        waiting = {prefix for prefix, _ in self._checkpoints_to_be_deleted}
        own = {prefix: path for prefix, path in self._own_checkpoints.items() if prefix in waiting}
        for prefix, _ in last_checkpoints_with_time:
            own[prefix] = paths.absolute(prefix)
        self._own_checkpoints = own

    def _writes_v2(self) -> bool:
        """Tells whether the saver saves anything, in a format with an index."""
        return not self._is_empty and self._write_version == _SaverDef.V2

    def _RecordLastCheckpoint(self, latest_save_path: str) -> None:  # noqa: N802 of the base class
        super()._RecordLastCheckpoint(latest_save_path)
        if self.saver_def.max_to_keep:  # Else none is ever removed.
            self._own_checkpoints[latest_save_path] = paths.absolute(latest_save_path)

    def _record(self, prefix: str, metrics: Mapping[str, float]) -> Callable[[], None]:
        """Records a checkpoint, and returns a function that undoes it.

        That function keeps what other threads recorded meanwhile.

        Args:
            prefix: The checkpoint's prefix.
            metrics: What it is saved with.
        """
        undo_best = None
        if self._best is not None:
            undo_best = self._best.note(paths.absolute(prefix), metrics)
        before = list(self._last_checkpoints)
        self._RecordLastCheckpoint(prefix)
        after = self._last_checkpoints
        pushed_out = [each for each in before if each not in after and each[0] != prefix]

        def unrecord() -> None:
            kept = [each for each in self._last_checkpoints if each[0] != prefix]
            for each in reversed(pushed_out):
                # One that is no longer listed was removed meanwhile.
                if each in self._checkpoints_to_be_deleted:
                    self._checkpoints_to_be_deleted.remove(each)
                    kept.insert(0, each)
            for place, each in enumerate(before):
                if each[0] == prefix:
                    # Insert it after the older ones.
                    older = [other for other in kept if other in before[:place]]
                    kept.insert(len(older), each)
            self._last_checkpoints = kept
            if all(each[0] != prefix for each in kept):
                self._own_checkpoints.pop(prefix, None)
            if undo_best is not None:
                undo_best()

        return unrecord

    def _MaybeDeleteOldCheckpoints(  # noqa: N802 of the base class
        self, meta_graph_suffix: str = "meta"
    ) -> None:
        """Removes the oldest checkpoint beyond `max_to_keep`, unless it must be kept.

        Also those that stayed because they were among the best, or were being read.
        """
        if not self.saver_def.max_to_keep:
            return
        if self._best is not None and self._write_version == _SaverDef.V2:
            self._best.reread()
        leased, self._leased = self._leased, []
        for prefix, is_own, suffix in leased:
            self._remove(prefix, is_own=is_own, meta_graph_suffix=suffix)
        self._remove_pushed_out(meta_graph_suffix)
        for prefix, is_own in [] if self._best is None else self._best.take_surpassed():
            self._remove(prefix, is_own=is_own, meta_graph_suffix=meta_graph_suffix)

    def _remove_pushed_out(self, meta_graph_suffix: str) -> None:
        """Removes the oldest checkpoint beyond `max_to_keep`, unless it is one of the best."""
        if not self._checkpoints_to_be_deleted:
            return
        prefix, saved_at = self._checkpoints_to_be_deleted.pop(0)
        if saved_at > self._next_checkpoint_time:
            self._next_checkpoint_time += self.saver_def.keep_checkpoint_every_n_hours * 3600
            prefix = self._own_checkpoints.pop(prefix, prefix)
            if self._best is not None:
                # It stays for good, and takes no place of the best.
                self._best.forget(paths.absolute(prefix))
            return
        is_own = prefix in self._own_checkpoints
        prefix = self._own_checkpoints.pop(prefix, prefix)
        if self._best is not None and self._best.is_unread(paths.absolute(prefix)):
            _LOGGER.warning(
                "the old checkpoint %r is not removed: its metrics are not known", prefix
            )
            return
        if self._best is not None and self._best.is_best(paths.absolute(prefix)):
            self._best.put_aside(paths.absolute(prefix), is_own=is_own)
            return
        self._remove(prefix, is_own=is_own, meta_graph_suffix=meta_graph_suffix)

    def _remove(self, prefix: str, *, is_own: bool, meta_graph_suffix: str) -> None:
        """Removes a checkpoint, unless it must be kept."""
        reason = reason_to_keep(prefix, self.last_checkpoints, is_own=is_own)
        if reason is not None:
            _LOGGER.warning("the old checkpoint %r is not removed: %s", prefix, reason)
            return
        if pins.is_pinned(prefix):
            _LOGGER.info("the old checkpoint %r is not removed: it is pinned", prefix)
            return
        with leases.removing(prefix) as may_remove:
            if not may_remove:
                self._leased.append((paths.absolute(prefix), is_own, meta_graph_suffix))
                _LOGGER.info("the old checkpoint %r is not removed yet: somebody reads it", prefix)
                return
            # Between the look before and the lock somebody may have pinned it.
            if not pins.is_pinned(prefix):
                self._remove_files(prefix, meta_graph_suffix)

    def _remove_files(self, prefix: str, meta_graph_suffix: str) -> None:
        if self._best is not None:
            self._best.forget(paths.absolute(prefix))
        meta_path = tf_variables.meta_graph_filename(prefix, meta_graph_suffix)
        others = [meta_path]
        others += [
            prefix + file.suffix
            for file in (metrics_file.FILE, evidence_file.FILE)
            if file.is_there(prefix)
        ]
        is_v2 = self._write_version == _SaverDef.V2
        prefix_lock.remove_unless_held(prefix, *others, *([] if is_v2 else [prefix]))


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
    place, file = paths.place(prefix), _file(prefix)
    if any(place == paths.place(other) or (file and file == _file(other)) for other in kept):
        return "it is the same as one that is kept"
    if not is_own and (not kept or place[0] != paths.place(kept[-1])[0]):
        return "this saver did not save it, and it lies in another directory"
    return None


def recover(prefixes: Iterable[str]) -> list[tuple[str, float]]:
    """Returns the checkpoints that exist, in the V2 or V1 format, with their times.

    Args:
        prefixes: Their prefixes, taken literally. Only in a state file of the V1 format `?????`
            stands for the number of a shard.
    """
    found = []
    for prefix in prefixes:
        for file in (prefix + ".index", _first_file_of_v1(prefix)):
            try:
                status = tf.io.gfile.stat(file)
            except (tf.errors.OpError, ValueError):
                continue
            if not status.is_directory:
                found.append((prefix, status.mtime_nsec / 1e9))
                break
    return found


def _first_file_of_v1(prefix: str) -> str:
    """Returns the first file of a checkpoint of the V1 format.

    A sharded one is called `m-?????-of-00002`.
    """
    sharded = _V1_SHARDS.fullmatch(prefix)
    return prefix if sharded is None else f"{sharded[1]}-00000-of-{sharded[2]}"


def _file(prefix: str) -> tuple[int, int] | None:
    """Returns device and inode of a local index: two spellings may name one file."""
    if not paths.is_local(prefix):
        return None
    try:
        status = os.lstat(paths.for_system_calls(prefix) + ".index")
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
