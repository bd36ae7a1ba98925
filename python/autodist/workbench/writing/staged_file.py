"""One file that is written beside its name, and renamed when it is whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from autodist.workbench.writing.temporary_names import (
    NameLock,
    TargetInUseError,
    create_locked,
    remove_abandoned,
    sync_directory,
    temporary_name,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class StagedFile:
    """A file that appears under its name at one instant, durable, or not at all.

    Used as a context: what is not committed is removed at its end.
    """

    def __init__(self, path: str, *, overwrite: bool) -> None:
        self._path = Path(path)
        self._directory = self._path.parent
        self._overwrite = overwrite
        self._staged: Path | None = None
        self._held = contextlib.ExitStack()
        self.descriptor = -1

    def __enter__(self) -> Self:
        """Creates the file under a temporary name.

        Raises:
            TargetInUseError: the name is taken, and `overwrite` is not set.
            OSError: the file cannot be created.
        """
        self._refuse_if_there()
        name = self._path.name
        self._held.enter_context(NameLock(self._directory, name))
        try:
            remove_abandoned(self._directory)
            self._staged = self._directory / temporary_name(name)
            self.descriptor = create_locked(self._staged)
        except BaseException:
            self._held.close()
            raise
        return self

    def commit(self) -> None:
        """Syncs the file and renames it to its name, in place of the former file."""
        os.fsync(self.descriptor)
        self._refuse_if_there()
        assert self._staged is not None
        self._staged.replace(self._path)
        self._staged = None
        sync_directory(self._directory)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._staged:
                self._staged.unlink(missing_ok=True)
            if self.descriptor >= 0:
                os.close(self.descriptor)
        finally:
            self._held.close()

    def _refuse_if_there(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise TargetInUseError(
                f"{str(self._path)!r} is there already. Give --overwrite to replace it."
            )
