"""What the choice of a way to save and that of a way to restore have in common."""

from __future__ import annotations

import abc
import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from autodist import _log
from autodist.checkpoint.distributed.tasks import masters, op_support, task_names
from autodist.checkpoint.distributed.tasks.transport import Transport

_LOGGER = _log.get_logger()


class Placed(Protocol):
    """A save or restore, with the devices that the user's session has assigned."""

    @property
    def device(self) -> str:
        """The device of the saver's node; empty: at the session's master."""

    @property
    def variable_devices(self) -> Sequence[str | None]:
        """The device of each variable; `None` for another value."""


PlacedT = TypeVar("PlacedT", bound=Placed)


@dataclasses.dataclass(frozen=True)
class Located(Generic[PlacedT]):
    """A save or restore of variables that lie on several tasks.

    Attributes:
        placed: The save or restore.
        master: The task of the session's master.
        chief: The task of the saver's node.
        homes: The task of each value; the chief for one that is no variable.
        without_ops: The tasks that have not loaded our ops.
    """

    placed: PlacedT
    master: str
    chief: str
    homes: list[str]
    without_ops: list[str]


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
        self, session: Any, target: task_names.SessionTarget, place: Callable[[float], PlacedT]
    ) -> Located[PlacedT] | None:
        """Returns the tasks of a save or restore.

        Returns `None` if all is on one task, or if only the user's session itself sees the
        variables.

        Args:
            session: The user's session.
            target: Its target.
            place: Returns the save or restore with its devices; takes a timeout in seconds.
        """
        timeout = self._transport.timeout_seconds
        try:
            placed = place(timeout)
            devices = placed.variable_devices
            if task_names.are_of_one([placed.device, *(d for d in devices if d is not None)]):
                return None
            master = masters.shared_task(target, timeout)
        except task_names.UnreachableStateError as error:
            self._warn_of_unreachable(session, str(error))
            return None
        chief = task_names.task_of(placed.device, master)
        homes = [chief if d is None else task_names.task_of(d, master) for d in devices]
        involved = sorted({chief, *homes})
        if involved == [chief]:
            return None
        without_ops = op_support.find(target, master, involved, timeout)
        return Located(placed, master, chief, homes, without_ops)

    @abc.abstractmethod
    def _warn_of_unreachable(self, session: Any, why: str) -> None:
        """Warns, once for each session, that only the session itself sees the variables."""

    def _warn(self, session: Any, message: str) -> None:
        """Warns, once for each session."""
        if self._warned.get(session) != message:
            self._warned[session] = message
            _LOGGER.warning("%s", message)
