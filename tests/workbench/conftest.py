"""Checkpoints that stock TensorFlow makes, once a session; the tests import no TensorFlow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodist import cli
from support.python_programs import run_python, stock_environment


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `support.workbench.stock_checkpoints`."""
    directory = tmp_path_factory.mktemp("stock")
    run_python("-m", "support.workbench.stock_checkpoints", directory, env=stock_environment())
    return directory


@pytest.fixture(scope="session")
def expected(stock: Path) -> dict[str, Any]:
    """What stock's tools say of each checkpoint."""
    contents: dict[str, Any] = json.loads((stock / "expected.json").read_text())
    return contents


@pytest.fixture
def copied(stock: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies a directory of `stock`, so that a test may change its files."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(stock / name, tmp_path / name))

    return copy


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; returns exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return call
