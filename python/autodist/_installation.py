"""Checks that this copy of autodist is complete and stands beside the TensorFlow it was built for.

TensorFlow promises no stable C++ interface between minor versions: a library built for another one
fails with a missing symbol at best. The check imports neither TensorFlow nor our libraries.

The build loads this file by its path, before the package exists: it imports the standard library
only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

OP_LIBRARY = "_autodist_ops.so"
# Distributions that hold the package `tensorflow`, with its C++ headers.
DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-rocm",
    "tf-nightly",
    "tf-nightly-cpu",
    "tf-nightly-rocm",
)
_REBUILD = "pip install --force-reinstall --no-deps --no-build-isolation <autodist's sources>"


class Build(NamedTuple):
    """The compiled parts for one version of TensorFlow.

    Attributes:
        directory: Where they are.
        info: What `_build_info.py` there says.
    """

    directory: Path
    info: Any

    @property
    def interface(self) -> str:
        """The minor version of TensorFlow, or the whole version of a nightly build."""
        return _interface(self.info.TENSORFLOW_VERSION)

    @property
    def requirement(self) -> str:
        """What pip installs to have the TensorFlow that these parts need."""
        return f"{self.info.TENSORFLOW_DISTRIBUTION}{specifier(self.info.TENSORFLOW_VERSION)}"


def build_info() -> ModuleType:
    """The module `_build_info`, which the build writes: what this copy was built from.

    It is imported by name, so that tools which read the sources need no build.

    Raises:
        ImportError: nothing was built.
    """
    try:
        return importlib.import_module("autodist._build_info")
    except ImportError as error:
        raise ImportError(
            f"autodist in {Path(__file__).parent} has not been built: _build_info.py is missing. "
            "Run `pip install .` in its sources, or `make build` to build in place"
        ) from error


def library_dir() -> Path:
    """The directory that holds the compiled parts for the installed TensorFlow.

    It is that of `_build_info.py`, which the build writes beside them: in an editable install not
    the directory of the sources.

    Raises:
        ImportError: nothing was built.
    """
    return Path(str(build_info().__file__)).parent


def import_dir() -> Path:
    """The directory that `import autodist` finds the package in."""
    return Path(__file__).parents[1]


def check_build() -> list[str]:
    """Refuses a copy of autodist that cannot work in this environment.

    Returns:
        The directories besides the package's own that hold modules of the package: in a wheel for
        several versions of TensorFlow, that of the installed version.

    Raises:
        ImportError: a compiled part is missing, or TensorFlow is not installed, or autodist was not
            built against its major.minor. Says what to run.
    """
    builds = _builds()
    newest = builds[0]
    built = _describe(builds)
    found = installed_tensorflow(newest.info.TENSORFLOW_DISTRIBUTION)
    if found is None:
        raise ImportError(
            f"{built}, but no TensorFlow is installed. Run: pip install '{newest.requirement}'"
        )
    tensorflow, installed = found
    fitting = [each for each in builds if each.interface == _interface(installed)]
    if not fitting:
        raise ImportError(
            f"{built}, but {tensorflow} {installed} is installed. "
            f"Run: {_replacement(tensorflow, newest)}, "
            f"or build autodist against {tensorflow} {installed}: {_REBUILD}"
        )
    directory = fitting[0].directory
    missing = _missing_libraries(directory)
    if missing:
        raise ImportError(
            f"{built}, and {tensorflow} {installed} is installed, but "
            f"{' and '.join(missing)} is missing from {directory}. {_advice(directory)}"
        )
    return [str(directory)] if directory.parent == _builds_dir() else []


def _builds_dir() -> Path:
    """Where a wheel for several versions of TensorFlow has a directory for each."""
    return Path(__file__).parent / "for_tensorflow"


def _builds() -> list[Build]:
    """The builds of this copy, the one for the newest TensorFlow first.

    Raises:
        ImportError: nothing was built.
    """
    if not _builds_dir().is_dir():
        info = build_info()
        return [Build(Path(str(info.__file__)).parent, info)]
    found = [
        Build(path.parent, SimpleNamespace(**runpy.run_path(str(path))))
        for path in _builds_dir().glob("*/_build_info.py")
    ]
    return sorted(found, key=lambda each: _numbers(each.interface), reverse=True)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _describe(builds: list[Build]) -> str:
    """What was built, for messages."""
    info = builds[0].info
    if len(builds) == 1:
        return (
            f"autodist {info.VERSION} was built against {info.TENSORFLOW_DISTRIBUTION} "
            f"{info.TENSORFLOW_VERSION} ({info.COMPILER}, C++11 ABI {info.CXX11_ABI})"
        )
    versions = ", ".join(each.interface for each in reversed(builds))
    return f"autodist {info.VERSION} was built against TensorFlow {versions} ({info.COMPILER})"


def _advice(directory: Path) -> str:
    """What to do where a compiled part is missing."""
    tags = [path.name.split(".")[1] for path in directory.glob("_bundle.cpython-*.so")]
    pythons = sorted(int(tag.split("-")[1][1:]) for tag in tags)
    if not pythons or sys.version_info.minor in pythons:
        return f"Run: {_REBUILD}"
    versions = ", ".join(f"3.{minor}" for minor in pythons)
    return f"It has them for Python {versions}. Use one of these, or run: {_REBUILD}"


def installed_tensorflow(*first: str) -> tuple[str, str] | None:
    """Returns the distribution and version of the installed TensorFlow; `None` if there is none.

    Args:
        *first: The distribution to look for first, if there is one. `check_build` gives the one
            that autodist was built against: the distribution `tensorflow` may only require another.
    """
    for distribution in (*first, *DISTRIBUTIONS):
        version = _installed_version(distribution)
        if version is not None:
            return distribution, version
    return None


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _interface(version: str) -> str:
    """Returns what has to be equal: the minor version, or the whole version of a nightly build."""
    return version if "dev" in version else ".".join(version.split(".")[:2])


def specifier(version: str) -> str:
    """Returns pip's specifier for the TensorFlow versions with the C++ interface of `version`."""
    return f"=={version}" if "dev" in version else f"=={_interface(version)}.*"


def _replacement(installed: str, build: Build) -> str:
    """Returns the command that installs a TensorFlow that fits a build.

    Releases of `tensorflow`, `tensorflow-cpu` and `tensorflow-rocm` have one interface, so the
    installed distribution stays, in another version. Nightly builds and releases are different
    distributions, and both hold the package `tensorflow`: one has to go first.
    """
    version = build.info.TENSORFLOW_VERSION
    if ("nightly" in installed) == ("dev" in version):
        return f"pip install '{installed}{specifier(version)}'"
    return f"pip uninstall {installed}; pip install '{build.requirement}'"


def _missing_libraries(directory: Path) -> list[str]:
    """The names of compiled parts that are neither in a directory of a build nor in the package."""
    missing = [] if (directory / OP_LIBRARY).is_file() else [OP_LIBRARY]
    places = [directory]
    if directory.parent == _builds_dir():
        places.append(directory.parents[1])
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    missing.extend(
        f"{module}{suffixes[0]}"
        for module in ("_bundle", "_planning", "_runtime", "_tables")
        if not any(
            (place / f"{module}{suffix}").is_file() for suffix in suffixes for place in places
        )
    )
    return missing
