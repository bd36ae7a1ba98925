"""Which TensorFlow autodist is built against, and which one it then requires.

The one fact is `tensorflow-version.txt`: an isolated build (`pip install .`) gets exactly that
version. A build without isolation takes the TensorFlow it finds installed. Either way the package
that comes out requires the major.minor it was compiled against, for TensorFlow's C++ interface
changes between minor versions. Of a nightly build it requires the whole version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = Path(__file__).resolve().parent
# Wheels that provide the package `tensorflow` with C++ headers.
_DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-rocm",
    "tf-nightly",
    "tf-nightly-cpu",
    "tf-nightly-rocm",
)


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
    location = str(Path(spec.origin).parent)
    for distribution in _DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return InstalledTensorFlow(distribution, version, location)
    return None


def build_requirement() -> str:
    """The requirement of an isolated build."""
    return f"tensorflow=={pinned_version()}"


def run_requirement() -> str:
    """The requirement of the built package."""
    found = find_installed()
    distribution, version = found[:2] if found else ("tensorflow", pinned_version())
    if "dev" in version:
        # Two nightly builds need not have the same C++ interface.
        return f"{distribution}=={version}"
    major, minor = version.split(".")[:2]
    return f"{distribution}=={major}.{minor}.*"


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
