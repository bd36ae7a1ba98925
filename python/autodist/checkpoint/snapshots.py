"""The options of saves of one instant, and the errors where such a save is not possible."""

from __future__ import annotations

from typing import Any, NoReturn

from autodist import _native, errors
from autodist.checkpoint import options as save_options
from autodist.checkpoint.files import paths
from autodist.checkpoint.reports.report import SaveReport
from autodist.tf_nodes import save_nodes


class NotOneInstantError(errors.ArgumentError):
    """A save cannot take all variables at one instant.

    Attributes:
        why: The reason alone, as a clause.
    """

    def __init__(self, message: str, why: str = "") -> None:
        """Creates an error.

        Args:
            message: The text.
            why: The reason alone, as a clause.
        """
        super().__init__(message)
        self.why = why


def instant_of(options: save_options.SaveOptions, prefix: str) -> _native.Instant | None:
    """Returns how a save takes all variables at one instant; `None` if it does not.

    Args:
        options: The options of the save.
        prefix: The checkpoint's prefix.
    """
    if options.consistency == "shard":
        return None
    methods: tuple[str, ...] = save_options.SNAPSHOT_METHODS
    if options.snapshot_method != "auto":
        methods = (options.snapshot_method,)
    return _native.Instant(methods, options.snapshot_memory_bytes, paths.parent(prefix))


def refuse(why: str, outcome: str = "Nothing was saved") -> NoReturn:
    """Refuses a save of one instant.

    Args:
        why: The reason, as a clause.
        outcome: What became of the checkpoint.

    Raises:
        NotOneInstantError: Always.
    """
    raise NotOneInstantError(
        f"consistency='instant' is not possible: {why}. {outcome}. Save with "
        "consistency='shard'. While nothing trains, that gives one instant, too",
        why,
    )


def check(report: SaveReport) -> None:
    """Checks that a save took all variables at one instant.

    Args:
        report: What the save did.

    Raises:
        NotOneInstantError: Another process wrote the bundle, or no variable was read in place.
    """
    ops: Any = report.ops
    if ops is None or not ops.instant_method:
        refuse(
            "the save reads no resource variable of this process in place",
            "What was written is not of one instant, and the state file does not name it",
        )


def check_node(save_op: Any) -> None:
    """Checks that a node writes values that can be taken at one instant.

    Args:
        save_op: The `SaveV2`.

    Raises:
        NotOneInstantError: It writes ref variables and computed values only.
    """
    if not save_nodes.reads_resource_variables(save_op):
        refuse("the save reads no resource variable, but only ref variables or computed values")
