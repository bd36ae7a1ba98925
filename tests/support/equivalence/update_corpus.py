"""All programs that update variables, by name."""

import importlib

from support.equivalence.update_programs import CHOSEN, PROGRAMS, SPLIT, WHOLE, Inputs, build

__all__ = ["CHOSEN", "FAMILIES", "PROGRAMS", "SPLIT", "WHOLE", "Inputs", "build"]

# The modules, which enter their programs when they are imported.
FAMILIES = tuple(
    importlib.import_module(f"support.equivalence.{name}")
    for name in ("row_updates", "average_updates", "branch_updates", "reduction_updates")
)
