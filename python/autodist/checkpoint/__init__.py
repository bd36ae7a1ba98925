"""Saving and exporting the original graph: `Saver` and `SavedModelBuilder`; which checkpoints live.

The names here are imported by their first use: importing the package imports no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

# Where the names are. Those of pins and leases need TensorFlow only for paths such as gs://.
_MODULES = {
    "KeepBest": "autodist.checkpoint.keeping.best_checkpoints",
    "best": "autodist.checkpoint.keeping.best_checkpoints",
    "latest": "autodist.checkpoint.keeping.latest",
    "pin": "autodist.checkpoint.keeping.pins",
    "pins": "autodist.checkpoint.keeping.pins",
    "reading": "autodist.checkpoint.keeping.leases",
    "unpin": "autodist.checkpoint.keeping.pins",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
