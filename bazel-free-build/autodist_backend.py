"""The PEP 517 backend: scikit-build-core, which also asks for TensorFlow."""

from __future__ import annotations

from scikit_build_core import build as _build
from scikit_build_core.build import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from tensorflow_pin import build_requirement

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ConfigSettings = dict[str, list[str] | str]


def get_requires_for_build_wheel(config_settings: ConfigSettings | None = None) -> list[str]:
    """What scikit-build-core needs, and TensorFlow."""
    return [*_build.get_requires_for_build_wheel(config_settings), build_requirement()]


def get_requires_for_build_editable(config_settings: ConfigSettings | None = None) -> list[str]:
    """What scikit-build-core needs, and TensorFlow."""
    return [*_build.get_requires_for_build_editable(config_settings), build_requirement()]
