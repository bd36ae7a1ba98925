"""Tells which servers live, and whether they are still the same processes.

A server lives if it answers, however busy it is. If all its inter-op threads are at work, its
thread that reads requests answers (`server_status`). A server whose incarnation changed is another
process: the variables of the former one are lost. The chief of a distributed session and the saves
and restores of a cluster both decide by these two rules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from autodist.cluster.servers.server_status import NoAnswerError, ServerStub

Member = TypeVar("Member", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Absence:
    """Why a server cannot be used.

    Attributes:
      reason: the problem, in words.
      is_silent: whether it was asked, and did not answer for the whole time.
      is_restart: whether another process answered.
    """

    reason: str
    is_silent: bool = False
    is_restart: bool = False


class Members(Generic[Member]):
    """The servers of a cluster, with the address and the incarnation of each that is known."""

    def __init__(self) -> None:
        self._stubs: dict[Member, ServerStub] = {}
        self._incarnations: dict[Member, int] = {}
        self._lock = threading.Lock()

    def add(self, member: Member, address: str) -> None:
        """Notes where a server listens; a known one may have another address now."""
        with self._lock:
            known = self._stubs.get(member)
            if known is None or known.address != address:
                # The former connection is closed once no call uses it any more.
                self._stubs[member] = ServerStub(address)

    def stub(self, member: Member) -> ServerStub:
        """The connection to a server that was added."""
        return self._stubs[member]

    def incarnation(self, member: Member) -> int | None:
        """The incarnation that was noted last; None if there is none."""
        return self._incarnations.get(member)

    def note(self, member: Member, incarnation: int) -> bool:
        """Notes the incarnation of a server; returns whether it was another process before."""
        before = self._incarnations.get(member, incarnation)
        self._incarnations[member] = incarnation
        return before != incarnation

    def lives(self, member: Member, timeout_seconds: float) -> bool:
        """Whether a server lives, however busy it is; False for one whose address is not known."""
        known = self._stubs.get(member)
        return known is not None and known.answers(timeout_seconds)

    def begin_incarnations(
        self, members: Iterable[Member], timeout_seconds: float
    ) -> Callable[[], dict[Member, int]]:
        """Asks servers at once who they are.

        Returns a function that waits for the answers: the incarnations of those that tell them.

        Args:
          members: the servers to ask; those whose address is not known are left out.
          timeout_seconds: how long to wait for an answer.
        """
        known = [(member, self._stubs.get(member)) for member in members]
        pending = [(m, stub.begin_status(timeout_seconds)) for m, stub in known if stub is not None]

        def wait() -> dict[Member, int]:
            found = {}
            for member, answer in pending:
                with contextlib.suppress(NoAnswerError):
                    found[member] = answer().incarnation
            return found

        return wait

    def absences(self, members: Iterable[Member], timeout_seconds: float) -> dict[Member, Absence]:
        """Asks servers at once who they are.

        Returns those that do not live, or are other processes than noted.

        Args:
          members: the servers to ask.
          timeout_seconds: how long to wait for an answer.
        """
        pending = [(m, self._stubs[m].begin_status(timeout_seconds)) for m in members]
        found = {}
        for member, wait in pending:
            try:
                status = wait()
            except NoAnswerError as error:
                if not error.is_busy:
                    found[member] = Absence(str(error), is_silent=error.is_silence)
                continue
            if status.incarnation != self._incarnations.get(member):
                found[member] = Absence(
                    "the server was restarted, and its variables are lost", is_restart=True
                )
        return found


def lives_at(address: str, timeout_seconds: float) -> bool:
    """Whether a server lives at an address, or comes to live there within a time."""
    with contextlib.closing(ServerStub(address)) as stub:
        return stub.answers(timeout_seconds)


def is_at(address: str, incarnation: int, timeout_seconds: float) -> bool:
    """Whether the process with an incarnation serves at an address."""
    with contextlib.closing(ServerStub(address)) as stub:
        try:
            return stub.status(timeout_seconds).incarnation == incarnation
        except NoAnswerError:
            return False
