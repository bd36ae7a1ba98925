"""A save or restore with the tasks on which its variables lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from autodist.checkpoint.distributed.tasks import control_session, task_names


class Placed(Protocol):
    """A save or restore, with the devices that the user's session has assigned."""

    @property
    def device(self) -> str:
        """The device of the saver's node; empty: at the session's master."""

    @property
    def variable_devices(self) -> Sequence[str | None]:
        """For each value the device of its variable; `None` for a value that is no variable."""


PlacedT = TypeVar("PlacedT", bound=Placed)


@dataclasses.dataclass(frozen=True)
class Located(Generic[PlacedT]):
    """A save or restore of variables that lie on several tasks.

    Attributes:
        placed: The save or restore.
        target: The target of the user's session.
        master: The task of its master.
        chief: The task of the saver's node.
        homes: The task of each value; the chief for a value that is no variable.
        without_ops: The tasks that have not loaded our ops.
    """

    placed: PlacedT
    target: task_names.SessionTarget
    master: str
    chief: str
    homes: list[str]
    without_ops: list[str]

    def open_session(self, timeout_seconds: float) -> control_session.ControlSession:
        """Opens a session of our own that sees the master, the chief and the homes.

        Args:
            timeout_seconds: For how long a task may not answer.
        """
        return control_session.ControlSession(
            self.target, self.master, {self.chief, *self.homes}, timeout_seconds
        )
