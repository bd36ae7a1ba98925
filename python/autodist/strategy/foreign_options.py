"""The options that AutoDist's strategies of the same names have, and what they mean here.

Each strategy takes those of its namesake, as far as they ask for what is done in any case; what asks for something else
is refused, not ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autodist.errors import ArgumentError, ArgumentTypeError

SHARED = ("local_proxy_variable", "sync", "staleness")
COPIED = ("chunk_size", "all_reduce_spec", "compressor")

# By option: the values that ask for what is done in any case, and what that is.
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


def check_options(strategy: object, known: Iterable[str], options: dict[str, Any]) -> None:
    """Refuses the options that have no meaning here.

    Args:
      strategy: the strategy that was given them.
      known: the names of those that its namesake has.
      options: by name.

    Raises:
      ArgumentError: if one asks for something that is not done.
      ArgumentTypeError: if neither the strategy nor its namesake has one.
    """
    kind, names = type(strategy).__name__, tuple(known)
    for name, value in options.items():
        if name not in names:
            raise ArgumentTypeError(f"{kind} has no option {name!r}")
        accepted, meaning = _MEANINGS[name]
        if not any(value is a or (type(value) is type(a) and value == a) for a in accepted):
            raise ArgumentError(
                f"{kind}({name}={value!r}) has no meaning here: {meaning}. Leave {name} out."
            )
