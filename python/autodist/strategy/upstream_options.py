"""Options of the strategies of the earlier AutoDist project, and what they mean here.

Each strategy takes those of its namesake. One that asks for speed alone changes no value, and has
no effect; the log says so. One that asks for other values than are computed here is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autodist import _log
from autodist.errors import ArgumentError, ArgumentTypeError
from autodist.strategy.base import StrategyBuilder

# In the order in which AutoDist's strategies take them.
SHARED = ("local_proxy_variable", "sync", "staleness")
COPIED = ("chunk_size", "all_reduce_spec", "compressor")

_logger = _log.get_logger()

# By option: the values that change nothing here, and why.
_MEANINGS: dict[str, tuple[tuple[Any, ...], str]] = {
    "local_proxy_variable": (
        (False, None),
        "no replica keeps a copy of a shared variable; each reads it in every step",
    ),
    "sync": ((True, None), "training is synchronous"),
    "staleness": ((0, None), "training is synchronous, and no replica runs ahead"),
    "chunk_size": ((None,), "each gradient is averaged by itself, without chunks of several"),
    "all_reduce_spec": ((None, "AUTO"), "how a mean is taken follows from where the replicas are"),
    "compressor": ((None, "NoneCompressor"), "gradients are not compressed"),
}


def _is_speed_alone(name: str, value: Any) -> bool:
    """Whether an option asks for another way to compute the same values."""
    if name == "local_proxy_variable":
        return value is True
    if name == "chunk_size":
        return type(value) is int and value >= 1
    return name == "all_reduce_spec" and value in ("NCCL", "RING")


def check_options(
    strategy: object,
    known: Iterable[str],
    options: dict[str, Any],
    positional: tuple[Any, ...] = (),
) -> None:
    """Checks the options of a strategy.

    Args:
      strategy: the strategy that was given them.
      known: the names of those that its namesake has, in its order.
      options: by name.
      positional: those that were given by position.

    Raises:
      ArgumentError: if one asks for something that autodist does not do.
      ArgumentTypeError: if neither the strategy nor its namesake has one, or one is given twice.
    """
    kind, names = type(strategy).__name__, tuple(known)
    if len(positional) > len(names):
        raise ArgumentTypeError(f"{kind} takes the options {names}; {len(positional)} were given")
    given = dict(zip(names, positional, strict=False))
    if given.keys() & options.keys():
        raise ArgumentTypeError(f"{kind}: {sorted(given.keys() & options.keys())} given twice")
    for name, value in (given | options).items():
        if name not in names:
            raise ArgumentTypeError(f"{kind} has no option {name!r}")
        accepted, meaning = _MEANINGS[name]
        if any(value is a or (type(value) is type(a) and value == a) for a in accepted):
            continue
        if not _is_speed_alone(name, value):
            raise ArgumentError(
                f"{kind}({name}={value!r}) has no meaning here: {meaning}. Leave {name} out."
            )
        _logger.info("%s(%s=%r) has no effect: %s", kind, name, value, meaning)


class UpstreamStrategy(StrategyBuilder):
    """A strategy that takes the options of its namesake, and none of its own.

    Args:
      *positional: options in the order of AutoDist's.
      **options: those of AutoDist's strategy; see `upstream_options`.

    Raises:
      ValueError: if an option asks for something that autodist does not do, such as `sync=False`.
    """

    # The names of the options, in the order in which the namesake takes them.
    _UPSTREAM_OPTIONS: tuple[str, ...]

    def __init__(self, *positional: Any, **options: Any) -> None:
        check_options(self, self._UPSTREAM_OPTIONS, options, positional)
