"""Loads the compiled parts: the ops of `_autodist_ops.so`, and `_runtime` and `_bundle`."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import importlib
import os
import threading
from typing import TYPE_CHECKING, Any

from autodist import _installation, _log, errors

if TYPE_CHECKING:
    from types import ModuleType

_lock = threading.Lock()


class NotTakenBackError(errors.AutoDistError, OSError):
    """A file has got its name, or may have it after a power cut, though committing it failed."""


@dataclasses.dataclass(frozen=True)
class OpReport:
    """What the ops of one save or restore did.

    Attributes:
        byte_count: Bytes of the data files that were written, or read in all passes; the index is
            not counted. 0 for a restore from the V1 format.
        seconds: Wall time from the begin of the first op to the end of the last.
        max_lock_seconds: The longest time that any variable was locked; of a save.
        variable_count: Logical variables.
        shard_count: Shards of all variables; a variable in one piece counts one. Of a save.
        value_count: Values that were read, the replicas of all shards; or shards, replicas and
            tensors that were filled.
        instant_method: How a save took all variables at one instant: `'pages'`, `'fork'`, `'copy'`,
            or `'references'` where none of them is updated in place; empty if it was not asked to.
        refused_methods: Which methods were not possible, and why. Of a restore: why it did not swap,
            as it was asked to.
        other_values: The names of what is not of that instant, such as computed values and tables.
        figures: Of a save that was asked for them, the figures of all tensors
            (cc/save/data/tensor_figures.h).
    """

    byte_count: int
    seconds: float
    max_lock_seconds: float
    variable_count: int
    shard_count: int
    value_count: int
    instant_method: str
    refused_methods: str
    other_values: str
    figures: bytes = b""


def ops() -> ModuleType:
    """The op library's generated Python functions. Loads the library once; thread-safe.

    Raises:
        tf.errors.NotFoundError: the library cannot be loaded.
    """
    with _lock:
        return _load_ops()


def load_ops() -> None:
    """Loads autodist's ops into this process, once; thread-safe.

    A server of one's own that has done this, before or after its `tf.distribute.Server` is made,
    saves what it holds itself. A program that imports `Saver` has done it.

    Raises:
        tf.errors.NotFoundError: the library cannot be loaded.
    """
    ops()


def load_ops_if_possible() -> None:
    """Loads autodist's ops as `load_ops` does.

    Where they cannot be loaded it warns, and a `Saver` raises the error.

    A program that only trains or serves needs no ops.
    """
    import tensorflow as tf

    try:
        ops()
    except (ImportError, tf.errors.OpError) as error:
        _log.get_logger().warning(
            "autodist's ops cannot be loaded, so that this process can save nothing itself: %s",
            error,
        )


@functools.cache
def bundle() -> ModuleType:
    """The module `_bundle`, which has no source for those who follow imports."""
    return importlib.import_module("autodist._bundle")


@functools.cache
def planning() -> ModuleType:
    """The module `_planning`, which has no source for those who follow imports."""
    return importlib.import_module("autodist._planning")


@dataclasses.dataclass(frozen=True)
class Instant:
    """How a save takes all variables of this process at one instant.

    Attributes:
        methods: Those to try, one after the other: `'pages'`, `'fork'`, `'copy'`.
        memory_bytes: What the copies of pages that are overwritten during the save may need.
        spill_directory: Where copies go that need more; a directory.
    """

    methods: tuple[str, ...]
    memory_bytes: int
    spill_directory: str


class ReportSlot:
    """Where the ops of one save or restore tell how far it is, and what it did.

    Open it before the run: ops of this process find it by the prefix that they are given. Close it
    afterwards.
    """

    def __init__(
        self,
        *prefixes: str | os.PathLike[str],
        is_save: bool,
        instant: Instant | None = None,
        wants_figures: bool = False,
    ) -> None:
        """Opens a slot.

        Args:
            prefixes: The prefixes under which the bundle may be written or read.
            is_save: Whether it is for a save, or for a restore.
            instant: How the save takes all variables at one instant; `None`: it does not.
            wants_figures: Whether the save computes figures of what it writes.
        """
        options = (
            None
            if instant is None
            else _runtime().InstantOptions(
                methods=list(instant.methods),
                memory_bytes=instant.memory_bytes,
                spill_directory=os.fsencode(instant.spill_directory),
            )
        )
        self._slot = _runtime().ReportSlot(
            is_save=is_save,
            paths=[os.fsencode(prefix) for prefix in prefixes],
            instant=options,
            wants_figures=wants_figures,
        )

    def wait_until_taken(self, seconds: float) -> bool:
        """Tells whether the save has all values that it writes.

        Args:
            seconds: How long to wait for that.
        """
        is_taken: bool = self._slot.wait_until_taken(seconds)
        return is_taken

    def note_taken(self) -> None:
        """Says that ops in other processes have all values that the save writes."""
        self._slot.note_taken()

    def cancel(self) -> None:
        """Asks the save to fail before its commit, if it is not too late."""
        self._slot.cancel()

    def outlive_session(self) -> None:
        """Has the save go on if the session is closed once it has its values."""
        self._slot.outlive_session()

    def wait_until_idle(self) -> None:
        """Returns once no op of this process is going on for the save or restore."""
        self._slot.wait_until_idle()

    def add_prefix(self, prefix: str) -> None:
        """Lets ops find it by another prefix, too."""
        self._slot.add_path(os.fsencode(prefix))

    def close(self) -> None:
        """Ends it: no op finds it any more."""
        self._slot.close()

    def bytes(self) -> tuple[int, int]:
        """Returns how many bytes are done, and of how many; 0 before that is known."""
        done, total = self._slot.bytes()
        return done, total

    def take_report(self) -> OpReport | None:
        """Returns, once, what the ops did; or None if none has ended well."""
        fields = self._slot.take_report()
        return None if fields is None else OpReport(**fields)


def open_report_slots() -> int:
    """Returns how many report slots are open in this process."""
    count: int = _runtime().open_report_slots()
    return count


class StagedFile:
    """A file that is written under a temporary name before it gets its real one.

    The C++ object owns the file before `stage` returns. An exception that comes right after it,
    such as `KeyboardInterrupt`, loses nothing.
    """

    def __init__(self) -> None:
        self._file: Any = None

    def stage(self, path: str, contents: bytes, *, durable: bool) -> None:
        """Writes the file under a temporary name. Once.

        Args:
            path: Its path on any file system that TensorFlow knows.
            contents: All of it.
            durable: Whether it, and later its name, are synced.

        Raises:
            tf.errors.OpError: It cannot be written; nothing is left behind.
        """
        self._file = _runtime().StagedFile()
        self._file.stage(os.fsencode(path), contents, durable=durable)

    def commit(self) -> None:
        """Renames the staged file to its real name, in place of the former file, at one instant.

        Raises:
            tf.errors.OpError: It cannot be renamed, or its directory cannot be synced. The file is
                gone, and the former file has its name.
            NotTakenBackError: The same, and that could not be undone for certain.
        """
        try:
            self._file.commit()
        except Exception as error:
            if self._file.is_moved:
                raise NotTakenBackError(str(error)) from error
            raise

    def discard(self) -> None:
        """Removes the file if it is staged."""
        if self._file is not None:
            self._file.discard()


class PrefixLock:
    """The lock on the prefix of a checkpoint, which ends with this process."""

    def __init__(self) -> None:
        self._lock: Any = None

    def acquire(self, prefix: str, *, durable: bool) -> bool:
        """Locks the prefix, and makes its directory if it is not there. Once.

        Args:
            prefix: The prefix, on any file system that TensorFlow knows.
            durable: Whether a new directory is made durable.

        Returns:
            Whether other processes are kept out, and not only the threads of this one.

        Raises:
            tf.errors.AlreadyExistsError: Another save has the lock; names its process.
            tf.errors.OpError: The lock's file cannot be written.
        """
        self._lock = _runtime().PrefixLock()
        excludes_processes: bool = self._lock.acquire(os.fsencode(prefix), durable=durable)
        return excludes_processes

    def release(self) -> None:
        """Ends the lock, if it is held."""
        if self._lock is not None:
            self._lock.release()


class StagedBundle:
    """A bundle that TensorFlow's ops write beside its prefix before it replaces the old one."""

    def __init__(self) -> None:
        self._bundle: Any = None

    @property
    def staged_prefix(self) -> str:
        """Where the bundle is to be written; empty before there is such a place."""
        return "" if self._bundle is None else os.fsdecode(self._bundle.staged_prefix)

    def stage(self, prefix: str, *, durable: bool) -> None:
        """Makes a place for it, which is locked while this process lives. Once.

        Args:
            prefix: The prefix it is to have, on a POSIX file system, in a directory that is there.
            durable: Whether everything is synced.

        Raises:
            tf.errors.OpError: There is no place for it; nothing is left behind.
        """
        self._bundle = _runtime().StagedBundle()
        self._bundle.stage(os.fsencode(prefix), durable=durable)

    def commit(self) -> None:
        """Makes the bundle appear under its prefix at one instant.

        Raises:
            tf.errors.OpError: It cannot; what was there before is.
        """
        self._bundle.commit()

    def discard(self) -> None:
        """Removes what is still staged."""
        if self._bundle is not None:
            self._bundle.discard()


@functools.cache
def _load_ops() -> ModuleType:
    import tensorflow as tf

    module: ModuleType = tf.load_op_library(_library_path())
    # Every save and every distributed session needs the library.
    atexit.register(_import_runtime().hold_ending_threads)
    return module


@functools.cache
def _runtime() -> ModuleType:
    """The module `_runtime`, after the op library that it is linked with."""
    ops()
    return _import_runtime()


def _import_runtime() -> ModuleType:
    return importlib.import_module("autodist._runtime")


def _library_path() -> str:
    return str(_installation.library_dir() / _installation.OP_LIBRARY)
