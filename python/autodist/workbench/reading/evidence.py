"""What a save of autodist noted of a checkpoint's values, in a file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from autodist._log import printable
from autodist.evidence import text
from autodist.evidence.figures import Evidence
from autodist.workbench import errors
from autodist.workbench.reading import v2
from autodist.workbench.reading.checkpoint import Variable
from autodist.workbench.storage import places

_PIECE_BYTES = 1 << 20


def read(prefix: str) -> Evidence | None:
    """Returns the evidence of a checkpoint; `None` if there is none.

    Args:
        prefix: Its prefix.

    Raises:
        DamagedError: The file is not one of ours, or says what none says.
        UnreadableError: It cannot be read.
    """
    path = prefix + text.SUFFIX
    if not places.is_file(path):
        return None
    data = places.read_whole(path, text.MOST_BYTES)
    try:
        return text.parse(data) if data else None
    except text.EvidenceError as error:
        raise errors.DamagedError(
            f"the evidence {printable(path)!r} is of no use: {error}"
        ) from None


def is_current(found: Evidence, prefix: str) -> bool:
    """Tells whether evidence is about the values that a checkpoint has now.

    Args:
        found: The evidence beside it.
        prefix: The checkpoint's prefix.

    Raises:
        UnreadableError: The index cannot be read.
    """
    path = prefix + ".index"
    if found.index is None or not places.is_file(path):
        return True
    digest = hashlib.sha256()
    with places.open_file(path) as file:
        for begin in range(0, file.size, _PIECE_BYTES):
            digest.update(file.read(begin, min(_PIECE_BYTES, file.size - begin)))
    return found.is_of(digest.hexdigest(), lambda: _checksums(prefix))


def _checksums(prefix: str) -> dict[str, list[int]]:
    try:
        checkpoint = v2.from_index(prefix, v2.read_index(prefix))
    except errors.AutoDistError:
        return {}
    return checksums_of(checkpoint.variables)


def checksums_of(variables: Iterable[Variable]) -> dict[str, list[int]]:
    """Returns the checksums that an index has of variables, by name."""
    return {variable.name: [piece.crc for piece in variable.pieces] for variable in variables}
