"""Gives errors of saves and restores types that do not end or restart a monitored training.

TensorFlow's monitored sessions and coordinators take an `OutOfRangeError` or `StopIteration` for
the end of the data. They take an `AbortedError` or `UnavailableError` for a task that was lost:
they train again from the last checkpoint. File systems raise these for reasons of their own
(`EFBIG`, `ESTALE`, an object store that does not answer).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint.errors import run_errors
from autodist.checkpoint.files import paths

# Errors of lost tasks. They keep their type if the session has other tasks and no op raised them.
_LOST = (tf.errors.AbortedError, tf.errors.UnavailableError)

# Errors about files, whose text may lack the path.
_OF_FILES = (
    tf.errors.DataLossError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnimplementedError,
    tf.errors.UnknownError,
)

_HasTasks = Callable[[], bool]


def _has_no_tasks() -> bool:
    return False


@contextlib.contextmanager
def of_save(path: str, has_tasks: _HasTasks = _has_no_tasks) -> Iterator[None]:
    """Gives the errors of a save a final type and a text that names what is saved.

    Args:
        path: The checkpoint's prefix or the export's directory.
        has_tasks: Tells whether the session has tasks in other processes, which may be lost.

    Raises:
        tf.errors.ResourceExhaustedError: In place of an `OutOfRangeError`: a file became too large.
        tf.errors.UnknownError: In place of an `AbortedError` or `UnavailableError` of a file
            system.
        RuntimeError: In place of a `StopIteration`.
    """
    with _final(f"cannot save {path}", tf.errors.ResourceExhaustedError, has_tasks):
        try:
            yield
        except _OF_FILES as error:
            if paths.name(path) in error.message:
                raise
            raise with_message(error, f"cannot save {path}: {error.message}") from error


@contextlib.contextmanager
def of_restore(path: Any, has_tasks: _HasTasks = _has_no_tasks) -> Iterator[None]:
    """Gives the errors of a restore a final type.

    Args:
        path: The checkpoint's prefix.
        has_tasks: As in `of_save`.

    Raises:
        tf.errors.DataLossError: In place of an `OutOfRangeError`: a file ends too early.
        tf.errors.UnknownError: As in `of_save`.
        RuntimeError: As in `of_save`.
    """
    with _final(f"cannot restore {path}", tf.errors.DataLossError, has_tasks):
        yield


@contextlib.contextmanager
def _final(doing: str, out_of_range: Any, has_tasks: _HasTasks) -> Iterator[None]:
    try:
        yield
    except StopIteration as error:
        raise errors.GraphStateError(f"{doing}: {error!r}") from error
    except tf.errors.OutOfRangeError as error:
        raise out_of_range(error.node_def, error.op, f"{doing}: {error.message}") from error
    except _LOST as error:
        if error.op is None and has_tasks():
            raise
        message = f"{doing}: {type(error).__name__}: {run_errors.text_of(error)}"
        raise tf.errors.UnknownError(None, None, message) from error


def text_of(error: BaseException) -> str:
    """Returns the text of an error, of TensorFlow's without node and stack."""
    text: str = getattr(error, "message", None) or str(error)
    return text


def with_message(error: Exception, message: str) -> Exception:
    """Returns an error of the same type with another text.

    Where the type's constructor takes more than a text, the error itself gets the text.

    Args:
        error: The error.
        message: The text.
    """
    if isinstance(error, tf.errors.OpError):
        of_op: Exception = type(error)(error.node_def, error.op, message)
        return of_op
    if isinstance(error, OSError) and error.errno is not None:
        return type(error)(error.errno, message)
    try:
        copy = type(error)(message)
    except TypeError:
        error.args = (message,)
        return error
    return copy
