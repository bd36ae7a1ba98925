"""The one door to the op library `_autodist_ops.so`: its ops, and its C functions by ctypes."""

from __future__ import annotations

import atexit
import ctypes
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

# Longer messages are cut.
_MESSAGE_BYTES = 8192
# What the kernel takes.
_PATH_BYTES = 4096


class _CSaveReport(ctypes.Structure):
    """`AutodistSaveReport` of cc/ops."""

    _fields_ = (
        ("written_bytes", ctypes.c_int64),
        ("seconds", ctypes.c_double),
        ("max_lock_seconds", ctypes.c_double),
        ("variable_count", ctypes.c_int64),
        ("shard_count", ctypes.c_int64),
        ("replica_count", ctypes.c_int64),
    )


class NotTakenBackError(errors.AutoDistError, OSError):
    """A file has got its name, or may have it after a power cut, though committing it failed."""


class _CRestoreReport(ctypes.Structure):
    """`AutodistRestoreReport` of cc/ops."""

    _fields_ = (
        ("read_bytes", ctypes.c_int64),
        ("seconds", ctypes.c_double),
        ("variable_count", ctypes.c_int64),
        ("target_count", ctypes.c_int64),
    )


@dataclasses.dataclass(frozen=True)
class SaveReport:
    """What one save did.

    Attributes:
        written_bytes: size of the data written, the index not counted.
        seconds: wall time of the op.
        max_lock_seconds: the longest time that any variable was locked.
        variable_count: logical variables.
        shard_count: shards of all variables; a variable in one piece counts one.
        replica_count: values read: the replicas of all shards.
    """

    written_bytes: int
    seconds: float
    max_lock_seconds: float
    variable_count: int
    shard_count: int
    replica_count: int


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What one restore did.

    Attributes:
        read_bytes: bytes of the data files that were read, in all passes, the index not counted; 0
            for a checkpoint of the V1 format.
        seconds: wall time of the op.
        variable_count: names that were restored.
        target_count: shards, replicas and tensors that were filled.
    """

    read_bytes: int
    seconds: float
    variable_count: int
    target_count: int


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
    """Loads autodist's ops as `load_ops` does; where they cannot be loaded it warns, and a `Saver` raises the error.

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


def last_save(prefix: str | os.PathLike[str]) -> SaveReport | None:
    """The report of the last save in this process to `prefix`, or None if there was none."""
    report = _CSaveReport()
    if not _c_library().autodist_last_save(os.fsencode(prefix), ctypes.byref(report)):
        return None
    return SaveReport(**_fields(report))


def last_restore(prefix: str | os.PathLike[str]) -> RestoreReport | None:
    """The report of the last restore in this process from `prefix`, or None if there was none."""
    report = _CRestoreReport()
    if not _c_library().autodist_last_restore(os.fsencode(prefix), ctypes.byref(report)):
        return None
    return RestoreReport(**_fields(report))


def _fields(report: ctypes.Structure) -> dict[str, Any]:
    return {field[0]: getattr(report, field[0]) for field in report._fields_}


class StagedFile:
    """A file that is written under a temporary name before it gets its own.

    The library notes in this object what there is, so that nothing is lost where an exception (such as
    `KeyboardInterrupt`) comes between a call of the library and the statement after it.
    """

    def __init__(self) -> None:
        self._file = ctypes.c_void_p()

    def stage(self, path: str, contents: bytes, *, durable: bool) -> None:
        """Writes the file under a temporary name. Once.

        Args:
            path: Its path on any file system that TensorFlow knows.
            contents: All of it.
            durable: Whether it, and later its name, are synced.

        Raises:
            tf.errors.OpError: It cannot be written; nothing is left behind.
        """
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        code = _c_library().autodist_stage_file(
            os.fsencode(path),
            contents,
            len(contents),
            durable,
            ctypes.byref(self._file),
            message,
            len(message),
        )
        _check(code, message)

    def commit(self) -> None:
        """Gives the staged file its name, which replaces what had it at one instant.

        Raises:
            tf.errors.OpError: It cannot be renamed, or its directory cannot be synced. The file is
                gone, and what had its name has it.
            NotTakenBackError: The same, and that could not be undone for certain.
        """
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        is_moved = ctypes.c_int()
        code = _c_library().autodist_commit_file(
            ctypes.byref(self._file), ctypes.byref(is_moved), message, len(message)
        )
        try:
            _check(code, message)
        except Exception as error:
            if is_moved.value:
                raise NotTakenBackError(str(error)) from error
            raise

    def discard(self) -> None:
        """Removes the file if it is staged."""
        _c_library().autodist_discard_file(ctypes.byref(self._file))


class PrefixLock:
    """The lock on the prefix of a checkpoint, which ends with this process."""

    def __init__(self) -> None:
        self._lock = ctypes.c_void_p()

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
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        excludes_processes = ctypes.c_int()
        code = _c_library().autodist_lock_prefix(
            os.fsencode(prefix),
            durable,
            ctypes.byref(self._lock),
            ctypes.byref(excludes_processes),
            message,
            len(message),
        )
        _check(code, message)
        return bool(excludes_processes.value)

    def release(self) -> None:
        """Ends the lock, if it is held."""
        _c_library().autodist_unlock_prefix(ctypes.byref(self._lock))


class StagedBundle:
    """A checkpoint's bundle that TensorFlow's own ops write beside its prefix before it replaces what is there.

    Attributes:
        staged_prefix: Where it is to be written; empty before there is such a place.
    """

    def __init__(self) -> None:
        self._bundle = ctypes.c_void_p()
        self.staged_prefix = ""

    def stage(self, prefix: str, *, durable: bool) -> None:
        """Makes a place for it, which is locked while this process lives. Once.

        Args:
            prefix: The prefix it is to have, on a POSIX file system, in a directory that is there.
            durable: Whether everything is synced.

        Raises:
            tf.errors.OpError: There is no place for it; nothing is left behind.
        """
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        staged = ctypes.create_string_buffer(_PATH_BYTES)
        code = _c_library().autodist_stage_bundle(
            os.fsencode(prefix),
            durable,
            ctypes.byref(self._bundle),
            staged,
            len(staged),
            message,
            len(message),
        )
        _check(code, message)
        self.staged_prefix = os.fsdecode(staged.value)

    def commit(self) -> None:
        """Makes the bundle appear under its prefix at one instant.

        Raises:
            tf.errors.OpError: It cannot; what was there before is.
        """
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        code = _c_library().autodist_commit_bundle(
            ctypes.byref(self._bundle), message, len(message)
        )
        _check(code, message)

    def discard(self) -> None:
        """Removes what is still staged."""
        _c_library().autodist_discard_bundle(ctypes.byref(self._bundle))


def _check(code: int, message: ctypes.Array[ctypes.c_char]) -> None:
    """Raises the error that TensorFlow has for a status code."""
    if code == 0:
        return
    import tensorflow as tf

    text = message.value.decode(errors="replace")
    raise tf.compat.v1.errors.exception_type_from_error_code(code)(None, None, text)


@functools.cache
def _load_ops() -> ModuleType:
    import tensorflow as tf

    module: ModuleType = tf.load_op_library(_library_path())
    # Every save and every distributed session needs the library.
    atexit.register(ctypes.CDLL(_library_path()).autodist_hold_ending_threads)
    return module


@functools.cache
def _c_library() -> ctypes.CDLL:
    ops()
    library = ctypes.CDLL(_library_path())
    library.autodist_last_save.argtypes = (ctypes.c_char_p, ctypes.POINTER(_CSaveReport))
    library.autodist_last_save.restype = ctypes.c_int
    library.autodist_stage_file.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_int64,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_char_p,
        ctypes.c_int64,
    )
    library.autodist_stage_file.restype = ctypes.c_int
    library.autodist_commit_file.argtypes = (
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_int),
        ctypes.c_char_p,
        ctypes.c_int64,
    )
    library.autodist_commit_file.restype = ctypes.c_int
    library.autodist_discard_file.argtypes = (ctypes.POINTER(ctypes.c_void_p),)
    library.autodist_discard_file.restype = None
    library.autodist_lock_prefix.argtypes = (
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_int),
        ctypes.c_char_p,
        ctypes.c_int64,
    )
    library.autodist_lock_prefix.restype = ctypes.c_int
    library.autodist_unlock_prefix.argtypes = (ctypes.POINTER(ctypes.c_void_p),)
    library.autodist_unlock_prefix.restype = None
    library.autodist_stage_bundle.argtypes = (
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_char_p,
        ctypes.c_int64,
        ctypes.c_char_p,
        ctypes.c_int64,
    )
    library.autodist_stage_bundle.restype = ctypes.c_int
    library.autodist_commit_bundle.argtypes = (
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_char_p,
        ctypes.c_int64,
    )
    library.autodist_commit_bundle.restype = ctypes.c_int
    library.autodist_discard_bundle.argtypes = (ctypes.POINTER(ctypes.c_void_p),)
    library.autodist_discard_bundle.restype = None
    library.autodist_last_restore.argtypes = (ctypes.c_char_p, ctypes.POINTER(_CRestoreReport))
    library.autodist_last_restore.restype = ctypes.c_int
    return library


def _library_path() -> str:
    return str(_installation.library_dir() / _installation.OP_LIBRARY)
