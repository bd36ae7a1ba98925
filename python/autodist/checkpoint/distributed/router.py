"""What the choice of a way to save and that of a way to restore have in common."""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable
from typing import Any

from autodist import _log
from autodist.checkpoint.distributed.tasks import masters, op_support, task_names
from autodist.checkpoint.distributed.tasks.transport import Transport
from autodist.checkpoint.distributed.variables.located import Located, PlacedT

_LOGGER = _log.get_logger()


class Router(abc.ABC):
    """Finds out on which tasks the variables of a saver lie; warns once for each session."""

    def __init__(self, transport: Transport) -> None:
        """Has warned of nothing yet.

        Args:
            transport: How the bytes travel.
        """
        self._transport = transport
        self._warned: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def _locate(
        self,
        session: Any,
        target: task_names.SessionTarget,
        place: Callable[[float], PlacedT],
        *,
        for_instant: bool = False,
        even_one: bool = False,
    ) -> Located[PlacedT] | None:
        """Returns the tasks of a save or restore.

        Returns `None` if all is on one task, or if only the user's session itself sees the
        variables.

        Args:
            session: The user's session.
            target: Its target.
            place: Returns the save or restore with its devices; takes a timeout in seconds.
            for_instant: Whether all variables are taken at one instant. Then one task is returned,
                too.
            even_one: Whether one task in another process is returned, too.

        Raises:
            task_names.UnreachableStateError: Only the user's session itself sees the variables, and
                they are to be taken at one instant.
        """
        timeout = self._transport.timeout_seconds
        try:
            placed = place(timeout)
            devices = placed.variable_devices
            whole = [placed.device, *(d for d in devices if d is not None)]
            if not (for_instant or even_one) and task_names.are_of_one(whole):
                return None
            master = masters.shared_task(target, timeout)
        except task_names.UnreachableStateError as error:
            if for_instant:
                raise
            self._warn_of_unreachable(session, str(error))
            return None
        chief = task_names.task_of(placed.device, master)
        homes = [chief if d is None else task_names.task_of(d, master) for d in devices]
        involved = sorted({chief, *homes})
        if not (for_instant or even_one) and involved == [chief]:
            return None
        without_ops = op_support.find(target, master, involved, timeout, for_instant=for_instant)
        return Located(placed, target, master, chief, homes, without_ops)

    @abc.abstractmethod
    def _warn_of_unreachable(self, session: Any, why: str) -> None:
        """Warns, once for each session, that only the session itself sees the variables."""

    def _warn(self, session: Any, message: str) -> None:
        """Warns, once for each session."""
        if self._warned.get(session) != message:
            self._warned[session] = message
            _LOGGER.warning("%s", message)
