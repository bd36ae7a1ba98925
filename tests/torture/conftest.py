"""One rig for all tests here: two processes with TensorFlow that live as long as the run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.torture.harness import Rig


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """In memory where that is possible: the order of calls is under test, not the disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(tempfile.mkdtemp(dir=memory))
    rig = Rig(root)
    yield rig
    rig.close()
    shutil.rmtree(root)
