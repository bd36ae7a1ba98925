"""Lets a save in the background end when the process gets SIGTERM, within a deadline.

Kubernetes, batch systems and `docker stop` send SIGTERM and, some seconds later, SIGKILL. Python
calls the handler of a signal in the main thread, and only once that thread has left its C++ call.
So a thread of ours waits for the signal, too. It ends the process if the main thread stays in its
call.
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

# How long our thread waits, once no save runs, for the main thread to call the handler.
_GRACE_SECONDS = 1.0

# The exit status that a shell reports for a process that SIGTERM has ended.
_EXIT_STATUS = 128 + signal.SIGTERM


class Termination:
    """Makes SIGTERM wait for saves in the background."""

    def __init__(self, seconds: float) -> None:
        """Changes nothing; `install` does.

        Args:
            seconds: How long a save may go on after the signal; 0: SIGTERM is left alone.
        """
        self._seconds = seconds
        self._former: Any = None
        self._is_installed = False
        self._is_handled = threading.Event()
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def install(self) -> None:
        """From now on SIGTERM waits for saves, and then does what it did before.

        Does nothing but log a line in another thread than the main one.
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
            # C++ has set the handler, and Python cannot call that.
            return
        signal.signal(signal.SIGTERM, self._handle)
        self._is_installed = True
        if self._former is signal.SIG_DFL:
            self._watch()

    def remove(self) -> None:
        """Gives SIGTERM its former handler back."""
        if not self._is_installed or threading.current_thread() is not threading.main_thread():
            return
        self._is_installed = False
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._former)
        if self._sockets is not None:
            used = signal.set_wakeup_fd(-1)
            if used != self._sockets[1].fileno():
                # Another part of the program uses the wakeup descriptor by now.
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
        """Starts the thread that ends the process if the main thread cannot."""
        reading, writing = socket.socketpair()
        writing.settimeout(0)
        former = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if former != -1:
            # An event loop has set it, and needs it.
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
