"""All programs of the corpus, by name."""

import importlib

from support.programs.registry import PROGRAMS

__all__ = ["FAMILIES", "PROGRAMS"]

# The modules, which enter their programs when they are imported.
FAMILIES = tuple(
    importlib.import_module(f"support.programs.{name}")
    for name in (
        "batch_statistics",
        "control_flow",
        "functions",
        "generative",
        "language_models",
        "metric_learning",
        "pipelines",
        "ranking",
        "recommenders",
        "recurrent",
        "reinforcement",
        "sequences",
        "single_ops",
        "training",
        "vision",
    )
)
