"""Sets and reads what `hidden_device.cc` does and counts."""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tensorflow as tf

from support.c_programs import compile_library
from support.python_programs import ROOT

DEVICE = "/device:HIDDEN:0"
BLOCK_BYTES = 1 << 20
RING_BYTES = 8 * BLOCK_BYTES

# All counters and settings, and what a setting is without a test.
_COUNTERS = (
    "copies_out", "copies_in", "copies_inside", "largest_copy_bytes", "most_pending_bytes", "most_pinned_bytes",
)  # fmt: skip
_SETTINGS = {
    "memory_bytes": 512 << 20, "copy_us": 0, "failing_copy": -1, "hands_on": 0, "tells_memory": 1,
}  # fmt: skip


def compile_device(directory: Path) -> str:
    """Compiles the library; returns its path."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    flags = (*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags())
    return compile_library(
        "accelerators/hidden_device.cc", directory / "hidden_device.so",
        "-w", "-O1", "-DNDEBUG", f"-I{ROOT / 'cc'}", *flags, compiler=compiler,
    )  # fmt: skip


class Hidden:
    """The devices of this process. There are none unless they are `present`."""

    def __init__(self, library: str) -> None:
        """Loads the library."""
        self.library = library
        self.ops: ModuleType = tf.load_op_library(library)
        self._library = ctypes.CDLL(library)
        self._library.hidden_get.restype = ctypes.c_int64

    def get(self, name: str) -> int:
        """Returns a counter or setting."""
        return int(self._library.hidden_get(name.encode()))

    def set(self, name: str, value: int) -> None:
        """Changes a counter or setting."""
        self._library.hidden_set(name.encode(), ctypes.c_int64(value))

    def forget(self) -> None:
        """Sets all counters to 0."""
        for name in _COUNTERS:
            self.set(name, 0)

    @contextlib.contextmanager
    def present(self, count: int = 1, accelerators: str = "HIDDEN") -> Iterator[None]:
        """Has new sessions and processes find devices while it lasts.

        Args:
            count: How many.
            accelerators: The devices whose memory is copied block by block.
        """
        settings = {"HIDDEN_DEVICES": str(count), "AUTODIST_ACCELERATORS": accelerators}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        self.forget()
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            for name, value in _SETTINGS.items():
                self.set(name, value)

    def add(self, variable: Any, delta: float, *, in_place: bool) -> Any:
        """Returns an op that adds a number to all elements of a variable of floats.

        Args:
            variable: The variable, on a device.
            delta: The number.
            in_place: Whether it is an update by rows.
        """
        with tf.device(variable.device):
            return self.ops.hidden_add(variable.handle, delta, in_place=in_place)
