"""Plans saves and restores from shapes and boxes alone, without values, files or TensorFlow.

`plan_save` tells which device writes which bytes of a checkpoint's data file, `plan_restore` which
bytes of which file each device reads and where they go. Both take and give NumPy arrays, and plan a
million shards in seconds.
"""

from autodist.planning.restores import RestorePlan, StoredVariable, WantedVariable, plan_restore
from autodist.planning.saves import (
    HeldVariable,
    SavePlan,
    WriteUnit,
    choose_writers,
    plan_save,
)

__all__ = [
    "HeldVariable",
    "SavePlan",
    "WriteUnit",
    "plan_save",
    "choose_writers",
    "StoredVariable",
    "WantedVariable",
    "RestorePlan",
    "plan_restore",
]
