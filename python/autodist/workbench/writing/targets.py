"""Where a command may write: on this machine, at a prefix or a file that a directory can hold."""

from __future__ import annotations

import os

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.storage import places


def prefix_on_this_machine(path: str) -> str:
    """Returns the prefix of a checkpoint that is to be written, without a scheme.

    Its directory need not be there, but that above it must be, as for TensorFlow's savers.

    Raises:
        UnsupportedError: it is not on this machine.
        ArgumentError: it names a directory.
        NotFoundError: there is no directory to make its directory in.
    """
    prefix = _on_this_machine(path)
    if places.split(prefix)[1] in ("", ".", ".."):
        raise errors.ArgumentError(
            f"{printable(path)!r} is a directory. Give a prefix in it, such as "
            f"{printable(places.join(prefix, 'model.ckpt'))!r}"
        )
    directory = os.path.dirname(os.path.abspath(prefix))  # noqa: PTH100, PTH120
    _refuse_if_missing(directory if places.is_directory(directory) else os.path.dirname(directory))  # noqa: PTH120
    return prefix


def file_on_this_machine(path: str) -> str:
    """Returns the path of a file that is to be written, without a scheme; see above for errors."""
    file = _on_this_machine(path)
    if places.is_directory(file):
        raise errors.ArgumentError(f"{printable(path)!r} is a directory. Give a file in it")
    _refuse_if_missing(os.path.dirname(file) or ".")  # noqa: PTH120
    return file


def _on_this_machine(path: str) -> str:
    if places.is_remote(path):
        raise errors.UnsupportedError(
            f"{printable(path)!r} is not on this machine, and this command writes here only. Give a "
            "path of this machine, and copy the files"
        )
    return places.local(path)


def _refuse_if_missing(directory: str) -> None:
    if not places.is_directory(directory):
        raise errors.NotFoundError(
            f"there is no directory {printable(directory)!r} to write in. Make it first"
        )
