"""What the tests of accelerators share: a device whose memory the host cannot touch."""

from collections.abc import Iterator

import pytest

from support.accelerators.hidden import Hidden, compile_device


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compile_device(tmp_path_factory.mktemp("accelerator"))


@pytest.fixture(scope="session")
def loaded(library: str) -> Hidden:
    return Hidden(library)


@pytest.fixture
def hidden(loaded: Hidden) -> Iterator[Hidden]:
    """Devices for the sessions of a test."""
    with loaded.present(count=2):
        yield loaded
