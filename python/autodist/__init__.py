"""Saves a distributed TensorFlow training as the original, single-node model.

`import autodist` is quick: TensorFlow is imported by the first use of `AutoDist`, of
`autodist.checkpoint` or of another part that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autodist import _compat

_compat.check_build()

if TYPE_CHECKING:
    from autodist._native import load_ops
    from autodist.autodist import AutoDist

__all__ = ["AutoDist", "__version__", "load_ops"]

__version__ = _compat.build_info().VERSION


def __getattr__(name: str) -> Any:
    if name == "AutoDist":
        from autodist.autodist import AutoDist

        return AutoDist
    if name == "load_ops":
        from autodist._native import load_ops

        return load_ops
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
