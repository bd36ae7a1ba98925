"""Processes by number: whether they run, and their end."""

import time
from pathlib import Path


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_end(pids: list[int], seconds: float = 10) -> list[int]:
    """Waits until processes have ended; returns those that have not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]
