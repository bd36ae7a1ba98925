"""The order of a save: the bundle, what stands beside it, and what is taken back where that fails.

::

    data, index       written by an op
    .meta, checkpoint written under other names, then renamed

Once the bundle is whole it stays, whatever fails afterwards: the variables of a finished training are worth more than
the files beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from autodist.checkpoint.errors import final_errors, no_space
from autodist.checkpoint.files import bundle, paths, staged_files


@dataclasses.dataclass(frozen=True)
class Transaction:
    """One save.

    Attributes:
        prefix: The checkpoint's.
        meta_path: Where the graph is written; `None` if it is not.
        state_path: Where the state file is; `None` if it is not written.
        stage: Writes these under temporary names, for the prefix it is given, and records the checkpoint.
        unrecord: Takes back that it was recorded.
        durable: Whether all is synced.
        is_v2: Whether the bundle is of the format that has an index.
        is_anothers: Tells whether another save wrote the bundle that is there, within this one.
        stages_early: Whether, over a checkpoint in use, nothing but renames shall be left once the bundle is written.
    """

    prefix: str
    meta_path: str | None
    state_path: str | None
    stage: Callable[[staged_files.StagedFiles, str | None], None]
    unrecord: Callable[[], None]
    durable: bool
    is_v2: bool
    is_anothers: Callable[[], bool]
    stages_early: bool

    def run(self, write_bundle: Callable[[], str | None]) -> str | None:
        """Saves.

        Args:
            write_bundle: Writes the bundle, whole or not at all, and returns its prefix; `None` if it is empty.

        Raises:
            Exception: What it raises, or what failed after it; then the text says what is saved.
        """
        is_overwritten = self.is_v2 and bundle.exists(self.prefix)
        with staged_files.StagedFiles(durable=self.durable) as files:
            is_staged = is_overwritten and self.stages_early and self._stages(files)
            try:
                path = write_bundle()
            except BaseException as error:
                self.unrecord()
                # What another save writes there, whom the op left the prefix to, is not ours.
                is_another = isinstance(error, tf.errors.AlreadyExistsError) or self.is_anothers()
                if self.is_v2 and not is_overwritten and not is_another:
                    bundle.remove(self.prefix)
                if no_space.is_cause(error):
                    raise no_space.explained(error, self.prefix, self.state_path) from error
                raise
            try:
                if not is_staged:
                    self.stage(files, path)
                files.commit()
            except BaseException as error:
                # Once the state file names it, a checkpoint is recorded.
                if self.state_path not in files.moved:
                    self.unrecord()
                if path is None or not isinstance(error, Exception):
                    raise
                message = getattr(error, "message", None) or str(error)
                text = f"{message}\n\n{self._what_is_saved(files.moved)}"
                raise final_errors.with_message(error, text) from error
        return path

    def _stages(self, files: staged_files.StagedFiles) -> bool:
        """Stages what stands beside the bundle; tells whether that was possible before the bundle is written."""
        try:
            self.stage(files, self.prefix)
        except Exception:  # noqa: BLE001 the variables come first: it is tried again after them, and raised then
            files.discard()
            self.unrecord()
            return False
        return True

    def _what_is_saved(self, moved: frozenset[str]) -> str:
        lines = [describe_saved(self.prefix)]
        if self.meta_path is not None and self.meta_path not in moved:
            # A graph from before belongs to other values, though mostly it fits.
            is_former = tf.io.gfile.exists(self.meta_path) and not tf.io.gfile.isdir(self.meta_path)
            lines.append(
                f"{self.meta_path!r} is that of the save before."
                if is_former
                else f"There is no graph beside them, {self.meta_path!r}."
            )
        if self.state_path is not None and self.state_path not in moved:
            lines.append(_what_is_named(self.state_path))
        return " ".join(lines)


def describe_saved(prefix: str) -> str:
    """Returns a sentence that says that a bundle is there, and how to restore it.

    Args:
        prefix: Its prefix.
    """
    return f"The variables are saved all the same and stay: saver.restore(sess, {prefix!r}) restores them."


def _what_is_named(state_path: str) -> str:
    state = tf.train.get_checkpoint_state(paths.parent(state_path), paths.name(state_path))
    if state is None:
        return f"No state file {state_path!r} names them."
    return f"The state file {state_path!r} names {state.model_checkpoint_path!r}, as before."
