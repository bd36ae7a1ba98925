"""What a save of autodist noted of a checkpoint's values, in a file beside it."""

from __future__ import annotations

from autodist._log import printable
from autodist.evidence import text
from autodist.evidence.figures import Evidence
from autodist.workbench import errors
from autodist.workbench.storage import places


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
