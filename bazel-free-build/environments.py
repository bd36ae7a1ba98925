"""Environments with one version of TensorFlow each, for `make matrix` and `make wheel`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import print_requirements
from tensorflow_pin import Supported, supported

SOURCES = Path(__file__).resolve().parent.parent
# What a version of TensorFlow needs and does not require.
_ALSO_NEEDED = {"2.20": ("protobuf<7",)}


class Environment(NamedTuple):
    """An environment with one version of TensorFlow.

    Attributes:
        version: That of TensorFlow, in full.
        directory: Where the environment goes, and what is built with it.
        distribution: The name that TensorFlow has for pip.
    """

    version: str
    directory: Path
    distribution: str = "tensorflow-cpu"

    @property
    def interpreter(self) -> str:
        """Its Python."""
        return str(self.directory / "venv" / "bin" / "python")

    @property
    def minor(self) -> str:
        """The minor version of TensorFlow, such as `2.15`."""
        return minor_of(self.version)

    def pip_install(self, *arguments: str) -> None:
        """Installs packages.

        Raises:
            SystemExit: It failed.
        """
        quietly = ("-q", "--disable-pip-version-check")
        run([self.interpreter, "-m", "pip", "install", *quietly, *arguments])

    def pip_install_beside_tensorflow(self, requirements: Iterable[str]) -> None:
        """Installs packages in versions that TensorFlow works with, and TensorFlow.

        Raises:
            SystemExit: It failed.
        """
        tensorflow = f"{self.distribution}=={self.version}"
        self.pip_install(tensorflow, *_ALSO_NEEDED.get(self.minor, ()), *requirements)


def minor_of(version: str) -> str:
    """The minor version, such as `2.15`, of a version in full."""
    return ".".join(version.split(".")[:2])


def select(minors: list[str] | None) -> list[Supported]:
    """The supported versions with these minor versions, newest first; None: all.

    Raises:
        SystemExit: One is not supported.
    """
    known = {minor_of(each.version): each for each in supported()}
    for minor in minors or []:
        if minor not in known:
            raise SystemExit(f"TensorFlow {minor} is not supported; these are: {', '.join(known)}")
    return [each for minor, each in known.items() if minors is None or minor in minors]


def pythons_for(wanted: Supported) -> dict[int, str]:
    """The interpreters on this machine that a version has packages for, by minor version of Python.

    The newest comes first.
    """
    found = {}
    for minor in range(wanted.last_python[1], wanted.first_python[1] - 1, -1):
        interpreter = _find_python(minor)
        if interpreter is not None:
            found[minor] = interpreter
    return found


def make_environment(
    wanted: Supported, interpreter: str, directory: Path, distribution: str = "tensorflow-cpu"
) -> Environment:
    """Makes an environment with TensorFlow and what builds autodist; takes one that is there.

    Args:
        wanted: The TensorFlow.
        interpreter: A Python that it has a package for.
        directory: Where the environment goes, and what is built with it.
        distribution: The name that TensorFlow has for pip.
    """
    environment = Environment(wanted.version, directory, distribution)
    if not Path(environment.interpreter).exists():
        run([interpreter, "-m", "venv", str(directory / "venv")])
    tools = print_requirements.list_requirements("build")
    environment.pip_install_beside_tensorflow(
        requirement for requirement in tools if not requirement.startswith("tensorflow")
    )
    return environment


def run(
    command: list[str], *, is_checked: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in the directory of the sources; shows its output if it fails.

    Args:
        command: A program and its arguments.
        is_checked: Whether a failure ends this program.
        **variables: Environment variables that it gets besides.

    Raises:
        SystemExit: It failed, and `is_checked`.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    done = subprocess.run(
        command, cwd=SOURCES, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode and is_checked:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def _find_python(minor: int) -> str | None:
    """The path of Python 3.`minor`, with `venv`; None if there is none.

    A Python of pyenv that is not among its global ones is not in PATH.
    """
    if sys.version_info[:2] == (3, minor):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    of_pyenv = sorted(root.glob(f"versions/3.{minor}.*/bin/python3.{minor}"))
    code = "import ensurepip, sys; print(sys.executable)"
    for program in (f"python3.{minor}", *map(str, reversed(of_pyenv))):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                [program, "-c", code], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return done.stdout.strip()
    return None
