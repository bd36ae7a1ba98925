"""Kinds: how one node's value of a tensor follows from the replicas' values.

The replicas compute on consecutive sub-batches. A tensor has a *kind* where a rule proves
it:

| kind | one node's value |
|---|---|
| same | the value of any replica: all are equal |
| rows | the replicas' values, concatenated along an axis in batch order |
| mean, sum, max, min, all, any | the same reduction of the replicas' values; a mean is weighted |
| read | the copies of a local variable, aggregated as the variable says |
| sizes | computed once more: it holds numbers of rows among others (`Kinds.sizes`) |
| numbers | computed once more: row numbers count within a replica's sub-batch |
| indices | the same: row numbers in column 0 of the last dimension |
| followed | computed once more: rows along dimension 0, and behind them what all share |
| merged | rows along a dimension that was merged with an outer one; rows again once it is split |

The table of rules (`rule_table`) lists what is proved. If an op has no rule, or its inputs do not
fit its rule, its outputs have no kind. To get their value for the whole batch, the op must run on
one node's values of its inputs (`whole_values`).

Two kinds are chosen, not proved (`Kinds.by_choice`). Each replica draws the random numbers for its
rows. In batch normalisation each replica uses the statistics of its own sub-batch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

STATISTICS, RANDOM_NUMBERS = "statistics", "random numbers"
"""The things that are chosen to be each replica's own."""


class Count(str):  # noqa: SLOT000 - a str subclass with slots can hold no attribute of its own
    """A number of rows in a list of sizes; see `Kinds.sizes`. All counts compare as equal.

    Attributes:
      each: sizes whose product is the count per row of the batch; None where that is unknown.
    """

    each: tuple[Any, ...] | None

    @classmethod
    def of(cls, each: tuple[Any, ...] | None) -> Count:
        """A number of rows of which there are `each` for a row of the batch."""
        made = cls("count")
        made.each = each
        return made


COUNT = Count.of(None)


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one node's value of a tensor follows from the replicas'.

    Attributes:
      name: one of the names in the module's table.
      axis: for rows: the dimension along which they lie.
      outer: for merged rows: the sizes of the dimensions that were merged in front of theirs. For
        row numbers: sizes whose product is the step of the numbers from row to row of the batch.
      each: for rows: sizes whose product is the number of rows along `axis` per row of the batch;
        None where that is unknown. It does not count when kinds are compared.
    """

    name: str
    axis: int = 0
    outer: tuple[Any, ...] = ()
    each: tuple[Any, ...] | None = dataclasses.field(default=None, compare=False)

    @property
    def is_rows(self) -> bool:
        """Whether the replicas' values are rows of one node's value."""
        return self.name == "rows"

    @property
    def is_partial(self) -> bool:
        """Whether one node's value cannot be made of the replicas' alone."""
        return self.name in _NOT_JOINED


SAME, MEAN, SUM, READ = Kind("same"), Kind("mean"), Kind("sum"), Kind("read")
SIZES, FOLLOWED = Kind("sizes"), Kind("followed")
MAX, MIN, ALL, ANY = Kind("max"), Kind("min"), Kind("all"), Kind("any")
REDUCED = frozenset({MEAN, SUM, MAX, MIN, ALL, ANY})
LINEAR = frozenset({MEAN, SUM})
ITEM = Kind("item")
"""In a loop over rows (`loop_rules`): a tensor that depends on the row of the iteration alone."""


def rows(axis: int = 0, each: tuple[Any, ...] | None = None) -> Kind:
    """The kind of rows that lie along `axis`, `each` of them for a row of the batch."""
    return Kind("rows", axis, each=each)


def merged(axis: int, outer: tuple[Any, ...], each: tuple[Any, ...] | None = None) -> Kind:
    """The kind of rows merged into dimension `axis` with the dimensions of sizes `outer`."""
    return Kind("merged", axis, outer, each)


_NOT_JOINED = frozenset(
    {
        "merged",
        "sizes",
        "numbers",
        "indices",
        "followed",
        "list",
        "store",
        "item",
        "index",
        "next",
        "within",
    }
)
