"""Ways to store arrays that are no checkpoints of TensorFlow, for context.

Each holds the variables whole; there is no other layout to gather from or to restore into.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
SaveArrays = Callable[[Path], None]
LoadArrays = Callable[[Path], Arrays]

# By the module that has to be installed, the name in the tables.
_NEEDED = {"safetensors": "safetensors", "orbax.checkpoint": "Orbax"}


def missing() -> list[str]:
    """The libraries that would be compared with but are not installed."""
    return [title for module, title in _NEEDED.items() if not _is_installed(module)]


def ways(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[SaveArrays, LoadArrays]]:
    """How to save the arrays into an empty directory, and to load them again, by the way's name."""
    found = {"numpy.save": (_numpy_save(arrays), _numpy_load)}
    if _is_installed("safetensors"):
        found["safetensors"] = _safetensors(arrays)
    if _is_installed("orbax.checkpoint"):
        found["Orbax"] = _orbax(arrays)
    return found


def _numpy_save(arrays: Mapping[str, np.ndarray]) -> SaveArrays:
    def save(directory: Path) -> None:
        for name, array in arrays.items():
            np.save(directory / f"{_file_name(name)}.npy", array)

    return save


def _numpy_load(directory: Path) -> Arrays:
    return {_array_name(path.stem): np.load(path) for path in directory.iterdir()}


def _safetensors(arrays: Mapping[str, np.ndarray]) -> tuple[SaveArrays, LoadArrays]:
    from safetensors.numpy import load_file, save_file

    name = "model.safetensors"
    return (
        lambda directory: save_file(dict(arrays), directory / name),
        lambda directory: load_file(directory / name),
    )


def _orbax(arrays: Mapping[str, np.ndarray]) -> tuple[SaveArrays, LoadArrays]:
    import orbax.checkpoint

    # Orbax has no file names with slashes; a nested tree would be another comparison.
    tree = {_file_name(name): array for name, array in arrays.items()}
    checkpointer = orbax.checkpoint.PyTreeCheckpointer()

    def load(directory: Path) -> Arrays:
        options: dict[str, Any] = {"restore_type": np.ndarray}
        as_arrays = {name: orbax.checkpoint.RestoreArgs(**options) for name in tree}
        restored = checkpointer.restore((directory / "tree").resolve(), restore_args=as_arrays)
        return {_array_name(name): array for name, array in restored.items()}

    return lambda directory: checkpointer.save((directory / "tree").resolve(), tree), load


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _file_name(name: str) -> str:
    return name.replace("/", "--")


def _array_name(file_name: str) -> str:
    return file_name.replace("--", "/")
