"""Lets a save in the background end when the process gets SIGTERM, within a deadline.

Kubernetes, batch systems and `docker stop` send SIGTERM and, some seconds later, SIGKILL. Python
calls a signal's handler in the main thread, once that is not inside of a C++ call. So a thread of
ours waits for the signal too, and ends the process where the main thread stays in such a call.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType
from typing import Any

from autodist import _log
from autodist.checkpoint.hooks import running_saves
from autodist.process import background

_LOGGER = _log.get_logger()

# How long the main thread has to call the handler once no save runs.
_GRACE_SECONDS = 1.0

# What a shell says of a process that SIGTERM has ended.
_EXIT_STATUS = 128 + signal.SIGTERM


class Termination:
    """What SIGTERM does while a hook saves."""

    def __init__(self, seconds: float) -> None:
        """Does nothing yet.

        Args:
            seconds: How long a save may go on after the signal; 0: SIGTERM is left alone.
        """
        self._seconds = seconds
        self._former: Any = None
        self._is_installed = False
        self._is_handled = threading.Event()
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def install(self) -> None:
        """Waits for saves on SIGTERM from now on, then does what SIGTERM did before.

        Only the main thread can have it so.
        """
        if self._is_installed or not self._seconds:
            return
        if threading.current_thread() is not threading.main_thread():
            _LOGGER.info(
                "SIGTERM ends saves in the background: only the main thread can change that"
            )
            return
        self._former = signal.getsignal(signal.SIGTERM)
        if self._former is None:
            # Set by C++, which Python cannot call.
            return
        signal.signal(signal.SIGTERM, self._handle)
        self._is_installed = True
        if self._former is signal.SIG_DFL:
            self._watch()

    def remove(self) -> None:
        """Lets SIGTERM do again what it did before."""
        if not self._is_installed or threading.current_thread() is not threading.main_thread():
            return
        self._is_installed = False
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._former)
        if self._sockets is not None:
            used = signal.set_wakeup_fd(-1)
            if used != self._sockets[1].fileno():
                # Another part of the program waits for signals by now.
                signal.set_wakeup_fd(used)
            self._sockets[1].close()
            self._sockets = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._is_handled.set()
        if not running_saves.wait_for_all(self._seconds):
            _LOGGER.error(
                "SIGTERM: a save in the background did not end within %g s", self._seconds
            )
        if callable(self._former):
            self._former(number, frame)
        elif self._former is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _watch(self) -> None:
        """Has a thread end the process if the main thread cannot."""
        reading, writing = socket.socketpair()
        writing.settimeout(0)
        former = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if former != -1:
            # An event loop's, which it needs.
            signal.set_wakeup_fd(former)
            reading.close()
            writing.close()
            return
        self._sockets = reading, writing

        def wait() -> None:
            with reading:
                while numbers := reading.recv(64):
                    if signal.SIGTERM in numbers:
                        running_saves.wait_for_all(self._seconds)
                        if not self._is_handled.wait(_GRACE_SECONDS):
                            os._exit(_EXIT_STATUS)

        background.can_start(wait, "autodist-sigterm")
