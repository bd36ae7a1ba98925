"""Leases that commands hold while they read a checkpoint, so that no saver removes it meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from autodist import errors
from autodist.workbench.reading import finding
from autodist.workbench.storage import places


@contextlib.contextmanager
def found(path: str) -> Iterator[str]:
    """Finds a checkpoint, and holds a lease on it if that is possible.

    Args:
        path: What stands for a checkpoint.

    Yields:
        Its prefix, so that the lease and the command mean the same one; for what has no lease
        the path.

    Raises:
        NotFoundError: It stands for nothing that the workbench knows.
        DamagedError: The directory's state file cannot be read.
    """
    prefix = finding.find(path).prefix
    if not prefix or not _is_leased(prefix):
        yield path
        return
    with held(prefix):
        yield prefix


@contextlib.contextmanager
def held(prefix: str) -> Iterator[None]:
    """Holds a lease on a checkpoint, if it is a local one of the V2 format and may be written beside.

    Args:
        prefix: Its prefix.
    """
    with contextlib.ExitStack() as stack:
        if _is_leased(prefix):
            from autodist.checkpoint.keeping import leases

            # Without a lease the command reads all the same; what is gone it tells itself.
            with contextlib.suppress(errors.LeaseError, errors.MissingCheckpointError, OSError):
                stack.enter_context(leases.reading(prefix))
        yield


def _is_leased(prefix: str) -> bool:
    return not places.is_remote(prefix) and places.is_file(prefix + ".index")
