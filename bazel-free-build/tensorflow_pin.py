"""Which TensorFlow autodist is built against, and which one it then requires.

The one fact is `tensorflow-versions.txt`. A build takes the TensorFlow that is installed in the
environment it is made for. An isolated build (`pip install .`) asks for the same version there. If
none is installed, it asks for the newest one that has a package for this Python. The package that
comes out requires the major.minor it was compiled against, for TensorFlow's C++ interface changes
between minor versions. Of a nightly build it requires the whole version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = Path(__file__).resolve().parent


def _load_installation() -> Any:
    """Returns the package's module that knows TensorFlow's distributions, which is not built yet."""
    path = _HERE.parent / "python" / "autodist" / "_installation.py"
    spec = importlib.util.spec_from_file_location("_autodist_installation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_INSTALLATION = _load_installation()


class Supported(NamedTuple):
    """A TensorFlow that autodist is built and tested with."""

    version: str  # in full, e.g. `2.21.0`
    first_python: tuple[int, int]
    last_python: tuple[int, int]

    def has_package_for(self, python: tuple[int, int]) -> bool:
        """Whether there is a package of it for a Python, e.g. `(3, 11)`."""
        return self.first_python <= python <= self.last_python


class InstalledTensorFlow(NamedTuple):
    """A TensorFlow found in this environment."""

    distribution: str  # the name it has for pip
    version: str  # in full, e.g. `2.21.0`
    location: str  # the directory of the package `tensorflow`


def supported() -> list[Supported]:
    """What `tensorflow-versions.txt` says, newest first."""
    lines = (_HERE / "tensorflow-versions.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [Supported(row[0], _numbers(row[1]), _numbers(row[2])) for row in rows]


def default_version() -> str:
    """The newest version that has a package for this Python.

    Raises:
        RuntimeError: There is none.
    """
    python = sys.version_info[:2]
    for each in supported():
        if each.has_package_for(python):
            return each.version
    last = supported()[0].last_python
    raise RuntimeError(
        f"no TensorFlow that autodist supports has a package for Python {python[0]}.{python[1]}; "
        f"the last that one has is {last[0]}.{last[1]}"
    )


def find_installed() -> InstalledTensorFlow | None:
    """The TensorFlow installed for this interpreter, found without importing it.

    Raises:
        RuntimeError: autodist is not built with it.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        return None
    found = _INSTALLATION.installed_tensorflow()
    if found is None:
        return None
    _check_supported(*found)
    return InstalledTensorFlow(*found, str(Path(spec.origin).parent))


def build_requirement() -> str:
    """The requirement of an isolated build."""
    found = _installed_in_target()
    if found is None:
        return f"tensorflow=={default_version()}"
    _check_supported(*found)
    distribution, version = found
    return f"{distribution}=={version}"


def run_requirement() -> str:
    """The requirement of the built package."""
    found = find_installed()
    distribution, version = found[:2] if found else ("tensorflow", default_version())
    return f"{distribution}{_INSTALLATION.specifier(version)}"


def _installed_in_target() -> tuple[str, str] | None:
    """The distribution and version of TensorFlow in the environment that is built for.

    pip runs the backend with the interpreter of that environment but hides its packages.
    """
    paths = sysconfig.get_paths()
    found = {
        each.metadata["Name"].replace("_", "-"): each.version
        for each in importlib.metadata.distributions(path=[paths["purelib"], paths["platlib"]])
        if each.metadata["Name"] is not None
    }
    for distribution in _INSTALLATION.DISTRIBUTIONS:
        if distribution in found:
            return distribution, found[distribution]
    return None


def _check_supported(distribution: str, version: str) -> None:
    """Refuses a minor version that is not in the list; one after the newest may fit."""
    known = [_numbers(each.version) for each in supported()]
    if _numbers(version) not in known and _numbers(version) < known[0]:
        names = ", ".join(_minor(each.version) for each in reversed(supported()))
        raise RuntimeError(
            f"{distribution} {version} is installed; autodist is built with TensorFlow {names}. "
            "Run: pip install "
            f"'{distribution}{_INSTALLATION.specifier(default_version())}'"
        )


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


class Provider:
    """scikit-build-core's dynamic-metadata provider for `project.dependencies`."""

    def dynamic_metadata(
        self, settings: Mapping[str, Any], project: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Adds the TensorFlow requirement to the static dependencies in `settings`."""
        del project
        return {"dependencies": [run_requirement(), *settings["static"]]}

    def dynamic_wheel(self, settings: Mapping[str, Any]) -> dict[str, bool]:
        """Says that a wheel's dependencies may differ from those of the source archive."""
        del settings
        return {"dependencies": True}


if __name__ == "__main__":
    print(find_installed())
