"""The list of programs, and what each one hands over.

A program is a function that builds a graph in the current scope, as a TensorFlow 1 program does, and returns a
`Built`. Its arguments are those of the decorator `program`:

* `flow`: with which control flow it is built, `"v1"`, `"v2"`, or both, which makes two programs of it;
* `tolerance`: relative; larger where an op has no float64;
* `chosen`: whether a documented choice makes it differ: random numbers for rows, or batch
  normalisation's statistics. Then a difference is allowed if a warning names it;
* `options`: arguments of `AutoDist`; `global_twin` adds a program with `batch_statistics="global"`;
* `splits`: whether a batch of it must stay split over the replicas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass
class Built:
    """What a program has in its graph.

    Attributes:
      train: ops that are run in each step one after the other, each with the step's feed.
      fetches: by name: what is fetched in each step before it trains.
      feed: the feed of a step.
      beside: by name: what is fetched together with the first op of `train`.
      prepare: ops that are run once after the initialisers, with the feed of step 0.
    """

    train: Sequence[Any]
    fetches: dict[str, Any]
    feed: Callable[[int], dict[Any, Any]]
    beside: dict[str, Any] = dataclasses.field(default_factory=dict)
    prepare: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of the corpus; see the module."""

    name: str
    family: str
    build: Callable[[], Built]
    flow: str = "v1"
    tolerance: float = 1e-9
    chosen: bool = False
    splits: bool = False
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What may come out under any strategy."""
        return ("equal", "warned") if self.chosen else ("equal",)


PROGRAMS: dict[str, Program] = {}


def program(
    flow: Sequence[str] = ("v1",),
    tolerance: float = 1e-9,
    chosen: bool = False,
    splits: bool = False,
    global_twin: bool = False,
) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Adds a function to the corpus."""

    def add(build: Callable[[], Built]) -> Callable[[], Built]:
        family = build.__module__.rpartition(".")[2]
        for version in flow:
            name = build.__name__ + ("" if version == flow[0] else f"_{version}")
            assert name not in PROGRAMS, name
            PROGRAMS[name] = Program(name, family, build, version, tolerance, chosen, splits)
            if global_twin:
                twin = dataclasses.replace(
                    PROGRAMS[name],
                    name=f"{name}_global",
                    chosen=False,
                    options={"batch_statistics": "global"},
                )
                PROGRAMS[twin.name] = twin
        return build

    return add
