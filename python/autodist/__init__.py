"""Saves a distributed TensorFlow training as the original, single-node model.

`import autodist` is quick: TensorFlow is imported by the first use of `AutoDist`, of
`autodist.checkpoint` or of another part that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autodist import _installation

# In a wheel for several versions of TensorFlow the modules of each are in a directory of their own.
__path__ = [*__path__, *_installation.check_build()]

if TYPE_CHECKING:
    from autodist._native import load_ops
    from autodist.autodist import AutoDist, explain
    from autodist.checkpoint.hooks.keras_callback import (
        AsyncCheckpointCallback as AsyncCheckpointCallback,
    )
    from autodist.checkpoint.hooks.saver_hook import AsyncCheckpointSaverHook
    from autodist.checkpoint.saved_model_builder import SavedModelBuilder
    from autodist.checkpoint.saver import Saver
    from autodist.steps.api import StepGateHook, step_gate, training_step

__all__ = [
    "AsyncCheckpointSaverHook",
    "AutoDist",
    "SavedModelBuilder",
    "Saver",
    "StepGateHook",
    "__version__",
    "explain",
    "load_ops",
    "step_gate",
    "training_step",
]

# Where the names are that need TensorFlow.
_MODULES = {
    "AsyncCheckpointCallback": "autodist.checkpoint.hooks.keras_callback",
    "AsyncCheckpointSaverHook": "autodist.checkpoint.hooks.saver_hook",
    "AutoDist": "autodist.autodist",
    "SavedModelBuilder": "autodist.checkpoint.saved_model_builder",
    "Saver": "autodist.checkpoint.saver",
    "StepGateHook": "autodist.steps.api",
    "explain": "autodist.autodist",
    "load_ops": "autodist._native",
    "step_gate": "autodist.steps.api",
    "training_step": "autodist.steps.api",
}

__version__ = _installation.build_info().VERSION


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
