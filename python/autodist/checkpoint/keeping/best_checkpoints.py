"""Which checkpoints of a saver are the best, by a metric that each was saved with."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import _log, errors
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.files import bundle, paths
from autodist.checkpoint.keeping import metrics_file

_LOGGER = _log.get_logger()

MODES = ("min", "max")
_WITH_STEP = re.compile(r"(.*)-\d+", re.DOTALL)


@dataclasses.dataclass(frozen=True, eq=False)
class KeepBest:
    """Which checkpoints are kept because they are the best.

    Attributes:
        metric: A name, for which `save(metrics={name: value})` gives the value; a scalar tensor,
            which each save evaluates without feeds; or a callable of the session that returns a number.
        n: How many are kept.
        mode: `'min'` if less is better, `'max'` if more is.

    Raises:
        ArgumentError: A value is not one of those allowed.
        ArgumentTypeError: A value is of the wrong type.
    """

    metric: Any
    n: int
    mode: str

    def __post_init__(self) -> None:
        if not (isinstance(self.metric, str | tf.Tensor) or callable(self.metric)):
            raise errors.ArgumentTypeError(
                f"keep_best: the metric must be a name, a tensor or a callable, not {self.metric!r}"
            )
        if isinstance(self.metric, tf.Tensor) and self.metric.shape.rank not in {0, None}:
            raise errors.ArgumentError(
                f"keep_best: the metric must be a scalar, but {self.metric.name!r} has shape "
                f"{self.metric.shape}"
            )
        if isinstance(self.n, bool) or not isinstance(self.n, int):
            raise errors.ArgumentTypeError(f"keep_best: n must be an int, not {self.n!r}")
        if self.n < 1:
            raise errors.ArgumentError(f"keep_best: n must be 1 or more, not {self.n}")
        if self.mode not in MODES:
            raise errors.ArgumentError(f"keep_best: mode must be one of {MODES}, not {self.mode!r}")

    @property
    def name(self) -> str:
        """The name of the metric in the file beside the checkpoint."""
        if isinstance(self.metric, str):
            return self.metric
        if isinstance(self.metric, tf.Tensor):
            return str(self.metric.op.name)
        return str(getattr(self.metric, "__name__", type(self.metric).__name__))

    @staticmethod
    def of(value: Any) -> KeepBest:
        """Returns a value of `keep_best` as a `KeepBest`.

        Args:
            value: One, or its fields as a tuple.

        Raises:
            ArgumentError: A value is not one of those allowed.
            ArgumentTypeError: It is something else.
        """
        if isinstance(value, KeepBest):
            return value
        if not isinstance(value, tuple | list) or len(value) != 3:
            raise errors.ArgumentTypeError(
                f"keep_best must be a KeepBest or (metric, n, mode), not {value!r}"
            )
        return KeepBest(*value)

    def evaluate(self, session: Any, given: Mapping[str, float]) -> dict[str, float]:
        """Returns the metrics of a save, with this one if it is known.

        Args:
            session: The session of the save.
            given: What `save` was given.

        Raises:
            ArgumentTypeError: The metric is no number.
        """
        if self.name in given or isinstance(self.metric, str):
            return dict(given)
        is_tensor = isinstance(self.metric, tf.Tensor)
        value = session.run(self.metric) if is_tensor else self.metric(session)
        return {**given, self.name: number(self.name, value)}


def number(name: str, value: Any) -> float:
    """Returns a metric as a float.

    Args:
        name: Its name, for the message.
        value: The number.

    Raises:
        ArgumentTypeError: It is no number.
    """
    array = np.asarray(value)
    is_number = array.dtype.kind in "fiub" or hasattr(value, "__float__")
    if array.size != 1 or not is_number:
        raise errors.ArgumentTypeError(f"the metric {name!r} must be a number, not {value!r}")
    return float(array.reshape(()).astype(np.float64))


def checked(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Returns the metrics that a save was given, as floats.

    Args:
        metrics: The metrics by name; `None`: none.

    Raises:
        ArgumentTypeError: It is no mapping from names to numbers.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
        raise errors.ArgumentTypeError(f"metrics must be a dict by name, not {metrics!r}")
    return {name: number(name, value) for name, value in metrics.items()}


class BestCheckpoints:
    """The checkpoints of a saver that have the metric, by absolute prefix.

    Those that are kept only because they are the best are *aside*. Their files say so, for the
    time after a restart.
    """

    def __init__(self, keep: KeepBest) -> None:
        """Knows no checkpoint yet.

        Args:
            keep: Which are kept.
        """
        self._keep = keep
        self._known: dict[str, _Known] = {}
        # Recovered ones whose metrics could not be read.
        self._unread: set[str] = set()
        self._count = 0

    def note(self, prefix: str, metrics: Mapping[str, float]) -> Callable[[], None]:
        """Notes a checkpoint, which replaces a former one of the prefix.

        Returns a function that undoes it.

        Args:
            prefix: Its absolute prefix.
            metrics: What it was saved with.
        """
        former = self._known.pop(prefix, None)
        value = metrics.get(self._keep.name)
        if value is None:
            _LOGGER.warning(
                "%s was saved without the metric %r, so it is never one of the best. "
                "save(metrics={%r: value}) gives it",
                prefix,
                self._keep.name,
                self._keep.name,
            )
        else:
            self._add(prefix, value)

        def undo() -> None:
            self._known.pop(prefix, None)
            if former is not None:
                self._known[prefix] = former

        return undo

    def forget(self, prefix: str) -> None:
        """Forgets a checkpoint.

        Args:
            prefix: Its absolute prefix.
        """
        self._known.pop(prefix, None)
        self._unread.discard(prefix)

    def reread(self) -> None:
        """Reads the metrics of all known checkpoints anew; forgets those that have none.

        What is in memory may differ from the files after a save that failed.
        """
        for prefix in [*self._known, *self._unread]:
            try:
                value = metrics_file.read(prefix).values.get(self._keep.name, math.nan)
                is_there = bundle.exists(prefix)
            except tf.errors.OpError as error:
                _LOGGER.warning("%s: its metrics cannot be read: %s", prefix, error.message)
                continue
            self._unread.discard(prefix)
            # A thread that saves meanwhile finds each of them at any time.
            known = self._known.get(prefix)
            if not is_there or math.isnan(value):
                self._known.pop(prefix, None)
            elif known is None:
                self._add(prefix, value)
            else:
                self._known[prefix] = dataclasses.replace(known, value=value)

    def is_best(self, prefix: str) -> bool:
        """Tells whether a checkpoint is one of the best; of equal ones the earlier is better.

        Args:
            prefix: Its absolute prefix.
        """
        return prefix in self._best()

    def is_unread(self, prefix: str) -> bool:
        """Tells whether a checkpoint may be one of the best: its metrics could not be read.

        Args:
            prefix: Its absolute prefix.
        """
        return prefix in self._unread

    def put_aside(self, prefix: str, *, is_own: bool) -> None:
        """Notes that a checkpoint is kept only because it is one of the best.

        Args:
            prefix: Its absolute prefix.
            is_own: Whether this saver saved it.
        """
        known = self._known.get(prefix)
        if known is None:
            return  # Another thread has just forgotten it.
        self._known[prefix] = dataclasses.replace(known, is_aside=True, is_own=is_own)
        try:
            metrics_file.mark_aside(prefix)
        except (OSError, tf.errors.OpError) as error:
            _LOGGER.warning(
                "%s is one of the best, but its metrics' file cannot be marked: %s. A program that "
                "takes over will not remove it",
                prefix,
                error,
            )

    def take_surpassed(self) -> list[tuple[str, bool]]:
        """Returns those aside that are no longer among the best, and whether they are own ones."""
        best = self._best()
        surpassed = [
            (prefix, known.is_own)
            for prefix, known in self._known.items()
            if known.is_aside and prefix not in best
        ]
        for prefix, _ in surpassed:
            self.forget(prefix)
        return surpassed

    def recover(self, recent: Iterable[str]) -> None:
        """Takes over recovered checkpoints, and those aside that lie beside them.

        These have the same name but for the step.

        Args:
            recent: The prefixes of recovered ones.
        """
        recent = [paths.absolute(prefix) for prefix in recent]
        stems = {_stem(prefix) for prefix in recent} - {None}
        found = []
        for directory in sorted({paths.parent(prefix) for prefix in recent}):
            try:
                there = with_metric(directory, self._keep.name)
            except (OSError, UnicodeDecodeError, tf.errors.OpError) as error:
                _LOGGER.warning(
                    "%s: former best checkpoints are not known, and stay: %s", directory, error
                )
                self._unread |= {each for each in recent if paths.parent(each) == directory}
                continue
            found += [
                each
                for each in there
                if each.prefix in recent or (each.is_aside and _stem(each.prefix) in stems)
            ]
        for each in sorted(found, key=lambda each: each.time):
            self._add(each.prefix, each.value, is_aside=each.prefix not in recent)

    def _add(self, prefix: str, value: float, *, is_aside: bool = False) -> None:
        if not math.isnan(value):
            self._known[prefix] = _Known(value, self._count, is_aside=is_aside)
            self._count += 1

    def _best(self) -> list[str]:
        sign = 1 if self._keep.mode == "min" else -1
        order = {
            prefix: (sign * known.value, known.number) for prefix, known in self._known.items()
        }
        return sorted(order, key=order.__getitem__)[: self._keep.n]


@dataclasses.dataclass(frozen=True)
class _Known:
    """A checkpoint that has the metric.

    Attributes:
        value: The metric.
        number: Counts the saves.
        is_aside: Whether it is kept only because it is one of the best.
        is_own: Whether this saver saved it; only for one that is aside.
    """

    value: float
    number: int
    is_aside: bool = False
    is_own: bool = False


@dataclasses.dataclass(frozen=True)
class WithMetric:
    """A checkpoint of a directory that has a metric.

    Attributes:
        prefix: Its prefix.
        value: The metric.
        time: When it was saved, in seconds since 1970.
        is_aside: Whether it is kept only because it is one of the best.
    """

    prefix: str
    value: float
    time: float
    is_aside: bool


def best(directory: Any, metric: str, mode: str) -> str | None:
    """Returns the prefix of the best checkpoint of a directory; `None` if none has the metric.

    Args:
        directory: Its path.
        metric: The name of the metric that checkpoints were saved with.
        mode: `'min'` if less is better, `'max'` if more is.

    Raises:
        ArgumentError: There is no such mode.
        OSError: The directory cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
        tf.errors.OpError: Metrics are there that cannot be read.
    """
    keep = KeepBest(metric, 1, mode)
    sign = 1 if keep.mode == "min" else -1
    there = with_metric(paths.text(directory), metric)
    found = [each for each in there if not math.isnan(each.value)]
    return min(found, key=lambda each: (sign * each.value, each.time)).prefix if found else None


def with_metric(directory: str, metric: str) -> list[WithMetric]:
    """Returns the checkpoints of a directory that have a metric, but for those that were refused.

    Args:
        directory: Its path.
        metric: The name of the metric.

    Raises:
        OSError: The directory cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
        tf.errors.OpError: Metrics are there that cannot be read.
    """
    found = []
    for name in bundle.names_in(directory):
        if not name.endswith(metrics_file.SUFFIX) or not paths.is_utf8(name):
            continue
        prefix = paths.join(directory, name.removesuffix(metrics_file.SUFFIX))
        metrics = metrics_file.read(prefix)
        value = metrics.values.get(metric)
        if value is not None and evidence_file.why_not_latest(prefix) is None:
            with contextlib.suppress(tf.errors.NotFoundError):  # Only metrics are left.
                written = tf.io.gfile.stat(prefix + ".index").mtime_nsec / 1e9
                found.append(WithMetric(prefix, value, written, metrics.is_aside))
    return found


def _stem(prefix: str) -> str | None:
    match = _WITH_STEP.fullmatch(prefix)
    return None if match is None else match[1]
