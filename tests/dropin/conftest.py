"""What the tests of the drop-in replacement share."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def assert_same_bundle() -> Callable[[str, str], None]:
    """Compares all data files and the index of two checkpoints, byte by byte."""

    def compare(ours: str, stock: str) -> None:
        def read(prefix: str) -> dict[str, bytes]:
            path = Path(prefix)
            files = path.parent.glob(path.name + ".*")
            kept = [file for file in files if file.suffix != ".meta"]
            return {file.name.removeprefix(path.name): file.read_bytes() for file in kept}

        assert read(ours) == read(stock)
        assert read(ours)

    return compare
