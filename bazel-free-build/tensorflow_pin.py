"""Which TensorFlow autodist is built against, and which one it then requires.

The one fact is `tensorflow-version.txt`: an isolated build (`pip install .`) gets exactly that
version. A build without isolation takes the TensorFlow it finds installed. Either way the package
that comes out requires the major.minor it was compiled against, for TensorFlow's C++ interface
changes between minor versions. Of a nightly build it requires the whole version.
"""

from __future__ import annotations

import importlib.util
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


class InstalledTensorFlow(NamedTuple):
    """A TensorFlow found in this environment."""

    distribution: str  # the name it has for pip
    version: str  # in full, e.g. `2.21.0`
    location: str  # the directory of the package `tensorflow`


def pinned_version() -> str:
    """The full version, e.g. `2.21.0`, that an isolated build uses."""
    return (_HERE / "tensorflow-version.txt").read_text(encoding="utf-8").strip()


def find_installed() -> InstalledTensorFlow | None:
    """The TensorFlow installed for this interpreter, found without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        return None
    found = _INSTALLATION.installed_tensorflow()
    return InstalledTensorFlow(*found, str(Path(spec.origin).parent)) if found else None


def build_requirement() -> str:
    """The requirement of an isolated build."""
    return f"tensorflow=={pinned_version()}"


def run_requirement() -> str:
    """The requirement of the built package."""
    found = find_installed()
    distribution, version = found[:2] if found else ("tensorflow", pinned_version())
    return f"{distribution}{_INSTALLATION.specifier(version)}"


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
