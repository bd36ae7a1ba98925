"""Checks that this copy of autodist is complete and stands beside the TensorFlow it was built for.

TensorFlow promises no stable C++ interface between minor versions: a library built for another one
fails with a missing symbol at best. The check imports neither TensorFlow nor our libraries.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
from pathlib import Path
from types import ModuleType

OP_LIBRARY = "_autodist_ops.so"
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


def check_build() -> None:
    """Refuses a copy of autodist that cannot work in this environment.

    Raises:
        ImportError: a compiled part is missing, or TensorFlow is not installed, or it is not the
            major.minor that autodist was built against. Says what to run.
    """
    directory = library_dir()
    info = build_info()
    tensorflow = info.TENSORFLOW_DISTRIBUTION
    built_version = info.TENSORFLOW_VERSION
    built = (
        f"autodist {info.VERSION} was built against {tensorflow} {built_version} "
        f"({info.COMPILER}, C++11 ABI {info.CXX11_ABI})"
    )
    requirement = f"{tensorflow}=={_minor(built_version)}.*"
    installed = _installed_version(tensorflow)
    if installed is None:
        raise ImportError(
            f"{built}, but {tensorflow} is not installed. Run: pip install '{requirement}'"
        )
    if _minor(installed) != _minor(built_version):
        raise ImportError(
            f"{built}, but {tensorflow} {installed} is installed. "
            f"Run: pip install '{requirement}', or build autodist against {installed}: {_REBUILD}"
        )
    missing = _missing_libraries(directory)
    if missing:
        raise ImportError(
            f"{built}, and {tensorflow} {installed} is installed, but "
            f"{' and '.join(missing)} is missing from {directory}. Run: {_REBUILD}"
        )


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _missing_libraries(directory: Path) -> list[str]:
    missing = [] if (directory / OP_LIBRARY).is_file() else [OP_LIBRARY]
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    missing.extend(
        f"{module}{suffixes[0]}"
        for module in ("_bundle", "_planning")
        if not any((directory / f"{module}{suffix}").is_file() for suffix in suffixes)
    )
    return missing
