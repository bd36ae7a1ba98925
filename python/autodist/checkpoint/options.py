"""What a `Saver` of ours can be told beyond TensorFlow's arguments, checked when it is given."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist import errors

LAYOUTS = ("original", "slices")
LOCKS = ("block", "copy")
VERIFY = ("before", "during")
TRANSPORTS = ("shared", "stream", "files")

# Of what travels between tasks, some parts are under way at a time; smaller ones would take forever.
LEAST_MEMORY_BYTES = 16 << 20

# What stock TensorFlow can restore into slices again is written whole, the rest as slices.
DEFAULT_LAYOUT = "restorable"

_AGGREGATIONS = ("MEAN", "SUM", "ONLY_FIRST_REPLICA")
_AGGREGATION_TYPES = (tf.VariableAggregation, tf.compat.v1.VariableAggregation)


@dataclasses.dataclass(frozen=True)
class SaveOptions:
    """How the values of a checkpoint are read and written.

    Attributes:
        aggregation: How replicas become one value, as `tf.VariableAggregation`: one for all
            variables, or a mapping from the name in the checkpoint, or from the variable, to its
            own. `None`, and what a mapping leaves out, is `MEAN`.
        threads: Number of threads that write or read; 0 lets the machine decide.
        lock: What a variable that is updated in place waits for: `'block'`, until it is written;
            `'copy'`, until it is copied.
        layout: `'original'` writes whole variables, `'slices'` what stock TensorFlow writes from
            the same graph. `None` writes whole what stock TensorFlow can restore into slices again,
            and the rest as slices.
        durable: Whether all is synced to the device; else only the order of the steps is kept.
        verify: When what is read is found right: `'before'` a variable that has a value is written,
            or `'during'` that.
        transport: How the bytes of variables on several tasks travel: `'shared'`, every task writes to the file;
            `'stream'`, one does, and the others send; `'files'`, every task writes a data file of its own; `None`,
            whoever reaches the file writes, if its file system lets several tasks do so, and `'files'` where it is
            not on a POSIX file system.
        memory_bytes: Peak memory for that on a task beside the variables, in bytes.
        timeout_seconds: For how long a task may not answer.
    """

    aggregation: Any = None
    threads: int = 0
    lock: str = "block"
    layout: str | None = None
    durable: bool = True
    verify: str = "before"
    transport: str | None = None
    memory_bytes: int = 256 << 20
    timeout_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuses values that mean nothing.

        Raises:
            ArgumentError: A value is not one of those allowed.
            ArgumentTypeError: `threads` is not an integer, `durable` no bool, or `aggregation` holds no
                `tf.VariableAggregation`.
        """
        if self.layout is not None and self.layout not in LAYOUTS:
            raise errors.ArgumentError(
                f"layout must be one of {LAYOUTS} or None, not {self.layout!r}"
            )
        if self.lock not in LOCKS:
            raise errors.ArgumentError(f"lock must be one of {LOCKS}, not {self.lock!r}")
        if self.verify not in VERIFY:
            raise errors.ArgumentError(f"verify must be one of {VERIFY}, not {self.verify!r}")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int):
            raise errors.ArgumentTypeError(f"threads must be an int, not {self.threads!r}")
        if self.threads < 0:
            raise errors.ArgumentError(
                f"threads must be 0 (the machine decides) or more, not {self.threads}"
            )
        if not isinstance(self.durable, bool):
            raise errors.ArgumentTypeError(f"durable must be True or False, not {self.durable!r}")
        if isinstance(self.aggregation, Mapping):
            for value in self.aggregation.values():
                aggregation_name(value)
        elif self.aggregation is not None:
            aggregation_name(self.aggregation)
        self._check_transport()

    def _check_transport(self) -> None:
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise errors.ArgumentError(
                f"transport must be one of {TRANSPORTS} or None, not {self.transport!r}"
            )
        if isinstance(self.memory_bytes, bool) or not isinstance(self.memory_bytes, int):
            raise errors.ArgumentTypeError(
                f"memory_bytes must be an int, not {self.memory_bytes!r}"
            )
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise errors.ArgumentError(
                f"memory_bytes must be at least {LEAST_MEMORY_BYTES}, not {self.memory_bytes}"
            )
        if isinstance(self.timeout_seconds, bool) or not isinstance(
            self.timeout_seconds, (int, float)
        ):
            raise errors.ArgumentTypeError(
                f"timeout_seconds must be a number, not {self.timeout_seconds!r}"
            )
        if not self.timeout_seconds > 0:
            raise errors.ArgumentError(
                f"timeout_seconds must be more than 0, not {self.timeout_seconds}"
            )

    @property
    def leaves_gaps_to_stock(self) -> bool:
        """Whether a variable of which slices are missing is saved by TensorFlow, as slices.

        What is asked for here can only be done for variables that are all there.
        """
        return self.layout != "original" and self.aggregation is None


def aggregation_name(aggregation: Any) -> str:
    """Returns the name under which the save op knows an aggregation.

    Args:
        aggregation: A `tf.VariableAggregation`.

    Raises:
        ArgumentTypeError: It is something else.
        ArgumentError: It is `NONE`, which says nothing about how to make one value.
    """
    if not isinstance(aggregation, _AGGREGATION_TYPES):
        raise errors.ArgumentTypeError(
            "aggregation must be a tf.VariableAggregation or a mapping to such, "
            f"not {aggregation!r}"
        )
    name: str = aggregation.name
    if name not in _AGGREGATIONS:
        raise errors.ArgumentError(f"aggregation must be one of {_AGGREGATIONS}, not {name}")
    return name
