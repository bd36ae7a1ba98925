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
from pathlib import Path
from types import ModuleType

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
    """The directory that holds the compiled parts.

    It is that of `_build_info.py`, which the build writes beside them: in an editable install not
    the directory of the sources.

    Raises:
        ImportError: nothing was built.
    """
    return Path(str(build_info().__file__)).parent


def import_dir() -> Path:
    """The directory that `import autodist` finds the package in."""
    return Path(__file__).parents[1]


def check_build() -> None:
    """Refuses a copy of autodist that cannot work in this environment.

    Raises:
        ImportError: a compiled part is missing, or TensorFlow is not installed, or it is not the
            major.minor that autodist was built against. Says what to run.
    """
    directory = library_dir()
    info = build_info()
    built_version = info.TENSORFLOW_VERSION
    built = (
        f"autodist {info.VERSION} was built against {info.TENSORFLOW_DISTRIBUTION} {built_version} "
        f"({info.COMPILER}, C++11 ABI {info.CXX11_ABI})"
    )
    requirement = f"{info.TENSORFLOW_DISTRIBUTION}{specifier(built_version)}"
    found = installed_tensorflow(info.TENSORFLOW_DISTRIBUTION)
    if found is None:
        raise ImportError(
            f"{built}, but no TensorFlow is installed. Run: pip install '{requirement}'"
        )
    tensorflow, installed = found
    if _interface(installed) != _interface(built_version):
        raise ImportError(
            f"{built}, but {tensorflow} {installed} is installed. "
            f"Run: {_replacement(tensorflow, requirement, built_version)}, "
            f"or build autodist against {tensorflow} {installed}: {_REBUILD}"
        )
    missing = _missing_libraries(directory)
    if missing:
        raise ImportError(
            f"{built}, and {tensorflow} {installed} is installed, but "
            f"{' and '.join(missing)} is missing from {directory}. Run: {_REBUILD}"
        )


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


def _replacement(installed: str, requirement: str, built_version: str) -> str:
    """Returns the command that installs a TensorFlow that fits.

    Releases of `tensorflow`, `tensorflow-cpu` and `tensorflow-rocm` have one interface, so the
    installed distribution stays, in another version. Nightly builds and releases are different
    distributions, and both hold the package `tensorflow`: one has to go first.
    """
    if ("nightly" in installed) == ("dev" in built_version):
        return f"pip install '{installed}{specifier(built_version)}'"
    return f"pip uninstall {installed}; pip install '{requirement}'"


def _missing_libraries(directory: Path) -> list[str]:
    missing = [] if (directory / OP_LIBRARY).is_file() else [OP_LIBRARY]
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    missing.extend(
        f"{module}{suffixes[0]}"
        for module in ("_bundle", "_planning", "_runtime", "_tables")
        if not any((directory / f"{module}{suffix}").is_file() for suffix in suffixes)
    )
    return missing
