"""A small file beside a checkpoint that says something of its values, such as metrics.

It belongs to these values alone. So a save over the prefix removes it before it writes, and puts it
back if it fails (`take`); or, if the file names the index that it is about, once other values are
there (`find`). A file of that name that is somebody else's is neither read nor removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.files import staged_files

_LOGGER = _log.get_logger()


@dataclasses.dataclass(frozen=True)
class Taken:
    """A file that was removed before a save.

    Attributes:
        contents: Its contents.
        index: The digest of the index that it belongs to; `None` if that could not be read.
    """

    contents: bytes
    index: str | None


@dataclasses.dataclass(frozen=True)
class ValuesFile:
    """One kind of such files.

    Attributes:
        suffix: What follows the prefix in its name.
        what: What it holds, for messages.
        advice: How to save without one.
        is_ours: Tells whether contents are those of such a file.
    """

    suffix: str
    what: str
    advice: str
    is_ours: Callable[[bytes], bool]

    def is_there(self, prefix: str) -> bool:
        """Tells whether the file is there, and is one of these.

        Args:
            prefix: The checkpoint's prefix.
        """
        try:
            found = read(prefix + self.suffix)
        except tf.errors.OpError:
            return False
        return found is not None and self.is_ours(found)

    def find(self, prefix: str, *, is_replaced: bool) -> bytes | None:
        """Returns the contents of the file of a checkpoint that is overwritten; `None` without one.

        Args:
            prefix: The checkpoint's prefix.
            is_replaced: Whether the save writes such a file.

        Raises:
            tf.errors.FailedPreconditionError: The save writes one, and the file there is somebody
                else's, or cannot be read.
        """
        path = prefix + self.suffix
        found, why = None, "no save has written it"
        try:
            if not tf.io.gfile.exists(path):
                return None
            found = read(path)
        except tf.errors.OpError as error:
            why = f"it cannot be read ({error.message})"
        if found is None or not self.is_ours(found):
            if is_replaced:
                raise tf.errors.FailedPreconditionError(
                    None,
                    None,
                    f"{path!r} is in the place of the {self.what} of this save, but {why}. Nothing "
                    f"was saved. Move it away, or save without {self.advice}",
                )
            _LOGGER.warning(
                "%r is in the place of a checkpoint's %s, but %s. It stays as it is",
                path,
                self.what,
                why,
            )
            return None
        return found

    def take(self, prefix: str, *, is_replaced: bool) -> Taken | None:
        """Removes the file of a checkpoint that is overwritten; returns it; `None` without one.

        Args:
            prefix: As in `find`.
            is_replaced: As in `find`.

        Raises:
            tf.errors.FailedPreconditionError: As in `find`.
            tf.errors.OpError: It cannot be removed: it would belong to other values.
        """
        found = self.find(prefix, is_replaced=is_replaced)
        if found is None:
            return None
        index = digest_of_index(prefix)
        tf.io.gfile.remove(prefix + self.suffix)
        return Taken(found, index)

    def put_back(self, prefix: str, taken: Taken | None, *, durable: bool) -> None:
        """Writes what `take` returned, if the checkpoint is still the one it belongs to.

        Args:
            prefix: The checkpoint's prefix.
            taken: What `take` returned.
            durable: Whether the file is synced.
        """
        if taken is None or taken.index is None or taken.index != digest_of_index(prefix):
            return
        try:
            staged_files.write(prefix + self.suffix, taken.contents, durable=durable)
        except tf.errors.OpError:
            return  # The save has failed with an error of its own; the checkpoint lacks the file.


def read(path: str, most_bytes: int = -1) -> bytes | None:
    """Returns the contents of a file; `None` if there is none.

    Args:
        path: Its path.
        most_bytes: How much to read at most; -1: all.

    Raises:
        tf.errors.OpError: It cannot be read.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            found: bytes = file.read(most_bytes)
    except tf.errors.NotFoundError:
        return None
    except tf.errors.OpError:
        if tf.io.gfile.isdir(path):
            return None
        raise
    return found


def digest_of_index(prefix: str) -> str | None:
    """Returns the SHA-256 of an index, which has the checksums of all values, in hexadecimal.

    Args:
        prefix: The checkpoint's prefix.

    Returns:
        The digest; `None` if there is no index, or it cannot be read.
    """
    try:
        found = read(prefix + ".index")
    except tf.errors.OpError:
        return None
    return None if found is None else hashlib.sha256(found).hexdigest()
