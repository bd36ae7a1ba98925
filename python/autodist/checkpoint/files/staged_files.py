"""Stages files: writes them whole under temporary names, then renames them."""

from __future__ import annotations

import contextlib
from types import TracebackType

import tensorflow as tf

from autodist import _native


class StagedFiles(contextlib.AbstractContextManager["StagedFiles"]):
    """Writes files under temporary names, and renames them to their real names one after the other.

    A context manager: at its end it removes the files that were not committed.

    Args:
        durable: Whether files, and then names, are synced.
    """

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._files: dict[str, _native.StagedFile] = {}
        self._moved: set[str] = set()

    @property
    def moved(self) -> frozenset[str]:
        """The paths of the committed files, also of one whose commit was interrupted."""
        return frozenset(self._moved)

    def add(self, path: str, contents: bytes) -> None:
        """Writes a file under a temporary name.

        Args:
            path: Its path, on any file system that TensorFlow knows.
            contents: All of it.

        Raises:
            tf.errors.OpError: It cannot be written.
        """
        file = self._files[path] = _native.StagedFile()
        try:
            file.stage(path, contents, durable=self._durable)
        except Exception:
            del self._files[path]
            raise

    def commit(self) -> None:
        """Renames the files to their real names, in the order in which they were added.

        Those that have them stay as they are.

        Raises:
            tf.errors.OpError: One cannot be renamed; those before it have their names.
        """
        for path, file in self._files.items():
            if path in self._moved:
                continue
            self._moved.add(path)
            try:
                file.commit()
            except tf.errors.OpError:
                self._moved.discard(path)
                raise

    def discard(self) -> None:
        """Removes the files that were not committed."""
        for file in self._files.values():
            file.discard()
        self._files.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()


def write(path: str, contents: bytes, *, durable: bool) -> None:
    """Replaces a file at once: a reader sees the former contents or the new, never a part.

    Args:
        path: Its path.
        contents: All of it.
        durable: Whether it is synced.

    Raises:
        tf.errors.OpError: It cannot be written.
    """
    with StagedFiles(durable=durable) as files:
        files.add(path, contents)
        files.commit()
