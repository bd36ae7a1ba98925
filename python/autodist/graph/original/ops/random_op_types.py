"""The op types that draw random numbers, by their own state or by a seed that they take."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_STATELESS = re.compile(
    r"Stateless(Random(?!Get)\w+|TruncatedNormal(V2)?|ParameterizedTruncatedNormal|Multinomial|Shuffle"
    r"|SampleDistortedBoundingBox)"
)
# The attributes of an op that has a random state.
_STATE = frozenset({"seed", "seed2"})


def is_stateless(op_type: str) -> bool:
    """Whether ops of this type draw random numbers that depend on their inputs alone."""
    return _STATELESS.fullmatch(op_type) is not None


def draws(op_type: str, attributes: Collection[str]) -> bool:
    """Whether an op of this type, with attributes of these names, draws random numbers."""
    return is_stateless(op_type) or _STATE.issubset(attributes)


def has_seed(attributes: Mapping[str, Any]) -> bool:
    """Whether an op with these attributes draws by a seed, and so draws the same in every run."""
    if "seed" not in attributes or "seed2" not in attributes:
        return False
    return bool(attributes["seed"].i or attributes["seed2"].i)
