"""Ports for the servers of tests.

They lie below those that the system gives to outgoing connections, and each process of pytest-xdist has a range of its
own: between here and the server's start nobody takes one.
"""

import itertools
import os
import socket

_RANGE = 5_000
_FIRST = 10_000 + _RANGE * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4)
# Runs at the same time begin at different places.
_numbers = itertools.count(os.getpid() * 37)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, none of which was given before in this process."""
    found: list[int] = []
    while len(found) < count:
        port = _FIRST + next(_numbers) % _RANGE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
