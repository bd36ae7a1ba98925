"""The options of a `Saver` beyond TensorFlow's arguments, checked when they are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint.evidence.stock_proof import Proof
from autodist.checkpoint.evidence.trial import Terms
from autodist.checkpoint.flexible_options import FlexibleOptions, Growth
from autodist.checkpoint.keeping.best_checkpoints import KeepBest
from autodist.evidence.rules import Refuse

__all__ = [
    "Growth",
    "KeepBest",
    "Proof",
    "Refuse",
    "RestoreOptions",
    "SaveOptions",
    "SaverOptions",
]

LAYOUTS = ("original", "slices")
LOCKS = ("block", "copy")
CONSISTENCIES = ("shard", "instant", "step")
SNAPSHOT_METHODS = ("pages", "fork", "copy")
VERIFY = ("before", "during", "swap")
TRANSPORTS = ("shared", "stream", "files")

# Tasks send parts of variables. With less memory than this the parts would be too small to be fast.
LEAST_MEMORY_BYTES = 16 << 20

_AGGREGATIONS = ("MEAN", "SUM", "ONLY_FIRST_REPLICA")
_AGGREGATION_TYPES = (tf.VariableAggregation, tf.compat.v1.VariableAggregation)


class _NotGiven:
    """The default of keywords for which `None` is a value."""

    def __repr__(self) -> str:
        return "<default>"


NOT_GIVEN: Any = _NotGiven()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TransferOptions:
    """What `SaveOptions` and `RestoreOptions` have in common.

    Attributes:
        threads: Number of threads; 0 lets the machine decide.
        transport: How the bytes of variables on several tasks travel.
        memory_bytes: Peak transfer memory per task, in bytes.
        timeout_seconds: How long a task may take to answer.
    """

    threads: int = 0
    transport: str | None = None
    memory_bytes: int = 256 << 20
    timeout_seconds: float = 120.0

    def __post_init__(self) -> None:
        if isinstance(self.threads, bool) or not isinstance(self.threads, int):
            raise errors.ArgumentTypeError(f"threads must be an int, not {self.threads!r}")
        if self.threads < 0:
            raise errors.ArgumentError(
                f"threads must be 0 (the machine decides) or more, not {self.threads}"
            )
        if self.transport is not None:
            _check_choice("transport", self.transport, TRANSPORTS, or_none=True)
        _check_bytes("memory_bytes", self.memory_bytes, LEAST_MEMORY_BYTES)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaveOptions(_TransferOptions):
    """How a `Saver` writes checkpoints.

    Attributes:
        threads: Number of threads that write a checkpoint; 0 lets the machine decide.
        transport: How the bytes of variables on several tasks of a cluster travel. `'shared'`:
            every task writes to the one data file. `'stream'`: the task of the saver's node writes,
            and the others send. `'files'`: every task writes a data file of its own. `None`: every
            task that can open the file writes to it, if its file system lets several tasks do so.
            On a file system that is not POSIX, `None` means `'files'`.
        memory_bytes: Peak transfer memory per task, in bytes, beside the variables.
        timeout_seconds: How long a task may take to answer before the save fails and names it. Also
            how long a save waits for another thread that saves to its prefix, and for the steps
            that are on their way with `'step'`.
        aggregation: How the replicas of a variable become the value that is saved. A
            `tf.VariableAggregation` for all variables, or a mapping to one from each variable, or
            from its name in the checkpoint. Other variables have `MEAN`.
        lock: How long an update in place waits while the save reads its variable. `'block'`: until
            the variable is written, with no extra memory. `'copy'`: until it is copied, with memory
            for one variable.
        layout: `'original'` writes whole variables. `'slices'` writes what stock TensorFlow writes
            from the same graph. `None` writes whole variables of the dtypes that stock TensorFlow
            can restore into slices, and slices of the others: float16, uint16, uint32, uint64,
            string, float8, float4, qint16, quint16 and two-bit integers. A distributed session
            writes whole variables unless told otherwise.
        consistency: What a checkpoint holds if training goes on meanwhile. `'shard'`: variables with
            dense updates as they were at one instant, and each shard of a variable that is updated
            by rows as it was at an instant of its own. `'instant'`: all variables as they were at
            one instant. On a cluster all tasks take theirs together. `'step'`: the same, at an
            instant when no training step is on its way. New steps wait for that.
        snapshot_method: How `'instant'` keeps variables that are updated by rows. `'pages'`: their
            memory is write-protected, and a page is copied before it is overwritten. `'fork'`: a
            forked process keeps it. `'copy'`: all of it is copied while updates wait. `'auto'`: the
            first of these that the machine allows.
        snapshot_memory_bytes: What `'pages'` may keep in memory; the rest goes to a file beside the
            checkpoint until the save ends. Also the most that `'copy'` copies.
        durable: Whether all files are synced, so that a checkpoint survives a power cut once `save`
            has returned. Without syncs the order of the steps is the same, and a checkpoint
            survives a killed process.
        keep_best: Which checkpoints stay beyond `max_to_keep` because they are the best: a
            `KeepBest`, or `(metric, n, mode)`; `None`: none.
        check: Whether figures of the values are computed while they are written, into a small file
            beside the checkpoint: `True`: of all variables. Names or patterns: of these.
        refuse: Which checkpoints never become the latest one: a `Refuse`, a mapping such as
            `{'nonfinite': True, 'norm_jump': 10}`, or names such as `{'nonfinite'}`. `None`: none.
            It computes figures as `check` does.
        proof: `'stock'`: before a checkpoint becomes the latest one, a process with TensorFlow alone
            loads the graph and restores everything. A `Proof` says more. `None`: nothing of that.
        evidence_logdir: A directory to which figures are written as scalars for TensorBoard; `None`:
            they are not.

    Raises:
        ArgumentError: A value is not one of those allowed.
        ArgumentTypeError: A value is of the wrong type.
    """

    aggregation: Any = None
    lock: str = "block"
    layout: str | None = None
    consistency: str = "shard"
    snapshot_method: str = "auto"
    snapshot_memory_bytes: int = 256 << 20
    durable: bool = True
    keep_best: Any = None
    check: bool | Collection[str] = False
    refuse: Any = None
    proof: Any = None
    evidence_logdir: str | None = None

    def __post_init__(self) -> None:
        if self.layout is not None:
            _check_choice("layout", self.layout, LAYOUTS, or_none=True)
        _check_choice("lock", self.lock, LOCKS)
        check_consistency(self.consistency)
        _check_choice("snapshot_method", self.snapshot_method, ("auto", *SNAPSHOT_METHODS))
        _check_bytes("snapshot_memory_bytes", self.snapshot_memory_bytes, 0)
        super().__post_init__()
        if not isinstance(self.durable, bool):
            raise errors.ArgumentTypeError(f"durable must be True or False, not {self.durable!r}")
        if self.keep_best is not None:
            KeepBest.of(self.keep_best)
        Terms.of(self.check, self.refuse, self.proof, self.evidence_logdir)
        if isinstance(self.aggregation, Mapping):
            for value in self.aggregation.values():
                aggregation_name(value)
        elif self.aggregation is not None:
            aggregation_name(self.aggregation)

    def of_call(self, **given: Any) -> SaveOptions:
        """Returns the options of one save.

        Args:
            **given: What the call was told, by the names of fields; `None`: nothing.

        Raises:
            ArgumentError: A value is not one of those allowed.
            ArgumentTypeError: A value is of the wrong type.
        """
        told = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(self, **told) if told else self

    @property
    def terms(self) -> Terms | None:
        """What checkpoints are checked for; `None`: nothing."""
        return Terms.of(self.check, self.refuse, self.proof, self.evidence_logdir)

    @property
    def leaves_gaps_to_stock(self) -> bool:
        """Whether TensorFlow saves a variable of which slices are missing, as slices.

        The layout `'original'` and aggregations need all slices of a variable.
        """
        return self.layout != "original" and self.aggregation is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestoreOptions(FlexibleOptions, _TransferOptions):
    """How a `Saver` reads checkpoints.

    The options from `missing` on say what to do where the checkpoint does not fit the graph. A restore
    with one of them is planned first: a plan that is wrong is an error before any variable changes.

    Attributes:
        threads: Number of threads that read a checkpoint; 0 lets the machine decide.
        transport: How the bytes of variables on several tasks of a cluster travel. `'shared'`:
            every task reads its own. `'stream'`: the task of the saver's node reads, and sends to
            the others. `None` and `'files'`: every task that sees the files reads its own.
        memory_bytes: Peak transfer memory per task, in bytes, beside the variables.
        timeout_seconds: How long a task may take to answer before the restore fails and names it.
        verify: `'before'` reads and checks the whole checkpoint before it writes a variable that
            has a value, so it reads twice. `'swap'` reads once, into new memory. If all bytes are
            right, the new memory replaces that of the variables, in one process at one instant.
            Where that takes more than half of the memory that is available, it does as `'before'`
            does, with a warning. `'during'` reads once, in place. It leaves a variable with
            damaged bytes uninitialized, and the restore raises.
        missing: What becomes of a variable that the checkpoint lacks. `'error'`: the restore is
            refused. `'keep'`: it keeps its value. `'initialize'`: its initializer runs.
        unexpected: What happens if the checkpoint has names that no variable takes. `'ignore'`
            them, `'warn'`, or refuse with an `'error'`.
        name_map: From a variable's name to the name in the checkpoint: a dict, a list of (regular
            expression, replacement) of whole names, or a callable. Others keep their name.
        grow: From a variable's name or glob to the axis along which it is longer than in the
            checkpoint, a `Growth`, or a `tf.compat.v1.train.VocabInfo`. Slots follow.
        cast: Whether a float dtype is restored from another.
        dry_run: Whether to return the report and leave all variables as they are.

    Raises:
        ArgumentError: A value is not one of those allowed.
        ArgumentTypeError: A value is of the wrong type.
    """

    verify: str = "before"

    def __post_init__(self) -> None:
        _check_choice("verify", self.verify, VERIFY)
        _TransferOptions.__post_init__(self)
        FlexibleOptions.__post_init__(self)

    def of_call(self, given: RestoreOptions | None) -> RestoreOptions:
        """Returns the options of one restore: what to do where the checkpoint does not fit.

        All else is fixed when the saver is built.

        Args:
            given: What the call was given; `None`: nothing.

        Raises:
            ArgumentError: Something else was given that differs.
            ArgumentTypeError: It is not a `RestoreOptions`.
        """
        if given is None:
            return self
        if not isinstance(given, RestoreOptions):
            raise errors.ArgumentTypeError(f"options must be a RestoreOptions, not {given!r}")
        flexible = {field.name for field in dataclasses.fields(FlexibleOptions)}
        told: dict[str, Any] = {}
        for field in dataclasses.fields(RestoreOptions):
            value, own = getattr(given, field.name), getattr(self, field.name)
            if field.name in flexible:
                told[field.name] = value
            elif value not in (field.default, own):
                raise errors.ArgumentError(
                    f"options of a restore: {field.name}={value!r} differs from the Saver's "
                    f"{own!r}, which is fixed when it is built. Give it to Saver"
                )
        return dataclasses.replace(self, **told)


@dataclasses.dataclass(frozen=True)
class SaverOptions:
    """All options of one `Saver`.

    Attributes:
        save: How it writes checkpoints.
        restore: How it reads them.
    """

    save: SaveOptions = dataclasses.field(default_factory=SaveOptions)
    restore: RestoreOptions = dataclasses.field(default_factory=RestoreOptions)

    @staticmethod
    def of(
        options: SaveOptions | None, restore_options: RestoreOptions | None, **keywords: Any
    ) -> SaverOptions:
        """Returns the options that a `Saver` was given, as objects and as keywords.

        Args:
            options: How it writes; `None`: as the keywords say.
            restore_options: How it reads; `None`: as the keywords say.
            **keywords: Fields of either, by name; `NOT_GIVEN` for those that were not given.

        Raises:
            ArgumentError: A value is not one of those allowed, or a keyword and an object disagree.
            ArgumentTypeError: A value is of the wrong type.
        """
        given = {name: value for name, value in keywords.items() if value is not NOT_GIVEN}
        return SaverOptions(
            _merged("options", SaveOptions, options, given),
            _merged("restore_options", RestoreOptions, restore_options, given),
        )


def check_consistency(consistency: Any) -> None:
    """Raises if a consistency is not one of those that there are.

    Args:
        consistency: As in `SaveOptions`.

    Raises:
        ArgumentError: It is not.
    """
    _check_choice("consistency", consistency, CONSISTENCIES)


def aggregation_name(aggregation: Any) -> str:
    """Returns the name under which the save op knows an aggregation.

    Args:
        aggregation: A `tf.VariableAggregation`.

    Raises:
        ArgumentTypeError: It is something else.
        ArgumentError: It is `NONE`, which does not say how replicas become one value.
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


def _merged(argument: str, kind: Any, options: Any, given: Mapping[str, Any]) -> Any:
    """Returns the options of a kind; raises where an object and a keyword disagree."""
    names = {field.name for field in dataclasses.fields(kind)}
    fields = {name: value for name, value in given.items() if name in names}
    if options is None:
        return kind(**fields)
    if not isinstance(options, kind):
        raise errors.ArgumentTypeError(
            f"Saver: {argument} must be a {kind.__name__}, not {options!r}"
        )
    for name, value in fields.items():
        other = getattr(options, name)
        if value is not other and value != other:
            raise errors.ArgumentError(
                f"Saver: {name}={value!r} disagrees with {argument}, which has {name}={other!r}. "
                f"Give {name} in {argument} only"
            )
    return options


def _check_bytes(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.ArgumentTypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise errors.ArgumentError(f"{name} must be at least {least}, not {value}")


def _check_choice(
    name: str, value: Any, allowed: tuple[str, ...], *, or_none: bool = False
) -> None:
    if value not in allowed:
        what = f"{allowed} or None" if or_none else f"{allowed}"
        raise errors.ArgumentError(f"{name} must be one of {what}, not {value!r}")
