"""The files of a checkpoint, written beside its prefix and committed by one rename.

The steps are those of a save (docs/design/durability.md): each is durable before the next begins.

    data staged, index staged | data renamed | index renamed | former data removed

An index says how many data files there are, and their names hold that number. Over a prefix in use
the new data files get a number that no file there has. The rename of the index then switches from
the former files to the new ones. Afterwards the new files get their usual number in the same way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
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

IndexOf = Callable[[int], bytes]
"""The bytes of the index of a checkpoint whose data files are named by this number of files."""


class StagedBundle:
    """The data files of a checkpoint on their way to its prefix.

    Used as a context: what is not committed is removed at its end, the directory too if it is new.
    """

    def __init__(self, prefix: str, file_count: int, *, overwrite: bool) -> None:
        """Prepares nothing yet.

        Args:
            prefix: where the checkpoint goes, on this machine.
            file_count: how many data files it has, at least 1.
            overwrite: whether a checkpoint that is there may be replaced.
        """
        self.prefix = prefix
        # Without `..`, as TensorFlow reads a prefix.
        path = Path(os.path.abspath(prefix))  # noqa: PTH100
        self._directory, self._name = path.parent, path.name
        self._file_count = file_count
        self._overwrite = overwrite
        self._held = contextlib.ExitStack()
        self._staged: list[Path | None] = []
        self.descriptors: list[int] = []

    def __enter__(self) -> Self:
        """Creates the data files under temporary names, in `descriptors`.

        Raises:
            TargetInUseError: the prefix is in use by another process, or there is a checkpoint and
                `overwrite` is not set.
            OSError: the files cannot be created.
        """
        try:
            self._make_directory()
            for name in (self._name, f"{self._name}.index"):
                self._held.enter_context(NameLock(self._directory, name))
            self._refuse_if_there()
            remove_abandoned(self._directory)
            for number in range(self._file_count):
                self._create(self._data_name(number, self._file_count))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def commit(self, index_of: IndexOf) -> None:
        """Makes the checkpoint appear under its prefix at one instant.

        Raises:
            OSError: it cannot; what was there before is, or the new checkpoint is there in full.
        """
        for descriptor in self.descriptors:
            os.fsync(descriptor)
        former = self._former_files()
        count = self._free_count(former)
        index = self._stage_index(index_of(count))
        names = [self._data_name(number, count) for number in range(self._file_count)]
        try:
            for number, name in enumerate(names):
                staged = self._staged[number]
                assert staged is not None
                staged.replace(self._path(name))
                self._staged[number] = None
            sync_directory(self._directory)
            index.replace(self._path(f"{self._name}.index"))
        except BaseException:
            for name in names:  # no file had these names before
                self._path(name).unlink(missing_ok=True)
            index.unlink(missing_ok=True)
            raise
        # From here on the new checkpoint is the one that is there.
        sync_directory(self._directory)
        for name in former:
            if not name.endswith(".index"):
                self._path(name).unlink(missing_ok=True)
        if count != self._file_count:
            self._take_usual_names(names, index_of)
        sync_directory(self._directory)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for path in filter(None, self._staged):
                path.unlink(missing_ok=True)
            for descriptor in self.descriptors:
                os.close(descriptor)
            self.descriptors = []
        finally:
            self._held.close()

    def _refuse_if_there(self) -> None:
        if not self._overwrite and self._former_files():
            raise TargetInUseError(
                f"there are files of a checkpoint at {self.prefix!r} already. Choose another "
                "prefix, or give --overwrite."
            )

    def _make_directory(self) -> None:
        """Makes the directory, one level, as TensorFlow does; it goes again if nothing is in it."""
        try:
            self._directory.mkdir()
        except FileExistsError:
            return
        sync_directory(self._directory.parent)
        self._held.callback(self._remove_empty_directory)

    def _remove_empty_directory(self) -> None:
        with contextlib.suppress(OSError):  # it is not empty: a checkpoint is in it
            self._directory.rmdir()

    def _create(self, name: str) -> None:
        path = self._path(temporary_name(name))
        self.descriptors.append(create_locked(path))
        self._staged.append(path)

    def _stage_index(self, contents: bytes) -> Path:
        path = self._path(temporary_name(f"{self._name}.index"))
        descriptor = create_locked(path)
        try:
            rest = memoryview(contents)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return path

    def _former_files(self) -> list[str]:
        """The names of the files that an index at the prefix may name, and of the index."""
        pattern = re.compile(re.escape(self._name) + r"\.data-\d{5,}-of-\d{5,}", re.DOTALL)
        there = [path.name for path in self._directory.iterdir()]
        data = sorted(name for name in there if pattern.fullmatch(name))
        return data + ([f"{self._name}.index"] if f"{self._name}.index" in there else [])

    def _free_count(self, former: list[str]) -> int:
        taken = {int(name.rsplit("-", 1)[1]) for name in former if not name.endswith(".index")}
        count = self._file_count
        while count in taken:
            count += 1
        return count

    def _take_usual_names(self, names: list[str], index_of: IndexOf) -> None:
        """Gives the data files the names that TensorFlow gives them.

        Files that cannot have two names keep those that they have: the checkpoint is whole.
        """
        usual = [self._data_name(number, self._file_count) for number in range(self._file_count)]
        linked: list[str] = []
        try:
            for name, new in zip(names, usual, strict=True):
                os.link(self._path(name), self._path(new))
                linked.append(new)
            sync_directory(self._directory)
            index = self._stage_index(index_of(self._file_count))
        except OSError:
            for new in linked:
                self._path(new).unlink(missing_ok=True)
            return
        index.replace(self._path(f"{self._name}.index"))
        sync_directory(self._directory)
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _data_name(self, number: int, count: int) -> str:
        return f"{self._name}.data-{number:05d}-of-{count:05d}"

    def _path(self, name: str) -> Path:
        return self._directory / name
