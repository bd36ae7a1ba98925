"""The cases that are measured: variables, their layouts, and where the files lie.

A *contest* is one operation (`save` or `restore`) on one model at one place. All layouts of a
contest take turns in one process, so their speeds may be compared with each other. Speeds of
different contests may be compared only by their ratio to the limit, which runs in each.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from autodist.layout import Grid
from autodist.layout.grid import even_sizes

_MIB = 1 << 20
_ITEM_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Model:
    """Float32 variables, in the order in which stock TensorFlow writes them: sorted by name.

    Attributes:
        name: As on the command line.
        shapes: By the variable's name.
        has_adam: Whether the last three are a table and its Adam slots, and the others Adam's
          powers.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    has_adam: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all variables."""
        return _ITEM_BYTES * sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def made_names(self) -> tuple[str, ...]:
        """The variables that are not the optimizer's."""
        return ("table",) if self.has_adam else tuple(self.shapes)

    def make_values(self) -> np.ndarray:
        """The values of all variables, one after another; in [0, 1), the same in each process."""
        count = self.size_bytes // _ITEM_BYTES
        return np.random.default_rng(seed=1).random(count, dtype=np.float32)

    def views(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of `make_values` by variable, in its shape; without a copy."""
        return {
            name: values[begin:end].reshape(self.shapes[name])
            for name, (begin, end) in self.ranges().items()
        }

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Where each variable lies in `make_values`."""
        ends = itertools.accumulate(math.prod(shape) for shape in self.shapes.values())
        begins, found = 0, {}
        for name, end in zip(self.shapes, ends, strict=True):
            found[name] = (begins, end)
            begins = end
        return found


@dataclasses.dataclass(frozen=True)
class Layout:
    """How each variable lies.

    Attributes:
        name: As on the command line.
        title: As in the tables.
        counts: Into how many ranges each dimension is cut; dimensions that are not listed are not
          cut.
        replica_count: Copies of each variable, in a session of `AutoDist`.
        is_session: Whether `AutoDist` cuts the variables, not the user.
    """

    name: str
    title: str
    counts: tuple[int, ...] = ()
    replica_count: int = 1
    is_session: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether each variable is one real variable."""
        return not self.counts and self.replica_count == 1

    @property
    def is_own_graph(self) -> bool:
        """Whether the user's own graph holds the shards; stock TensorFlow can work on these too."""
        return self.replica_count == 1 and not self.is_session

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """The shards of a variable; a scalar is not cut."""
        counts = (*self.counts, *[1] * len(shape))
        return Grid(
            tuple(even_sizes(dim, count) for dim, count in zip(shape, counts, strict=False))
        )


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the files are.

    Attributes:
        name: As on the command line.
        title: As in the tables.
        is_disk: Whether the files are on a disk, not in memory.
        is_synced: Whether a save ends when all is on the device.
        is_cold: Whether a restore finds nothing in the kernel's page cache.
    """

    name: str
    title: str
    is_disk: bool = True
    is_synced: bool = False
    is_cold: bool = False


@dataclasses.dataclass(frozen=True)
class Contest:
    """Who takes turns.

    Attributes:
        operation: `save` or `restore`.
        model: Its variables.
        place: Where the files are.
        layouts: How the variables lie.
        has_sharded: Whether stock `sharded=True` takes part.
        has_new_memory: Whether new tensors lie in memory that was never touched, as in a process
          that begins with a restore; else TensorFlow may keep what it had.
    """

    operation: str
    model: Model
    place: Place
    layouts: tuple[Layout, ...]
    has_sharded: bool = True
    has_new_memory: bool = False

    @property
    def title(self) -> str:
        """The contest in one line."""
        mib = self.model.size_bytes / _MIB
        count = len(self.model.shapes)
        variables = "1 variable" if count == 1 else f"{count} variables"
        new = ", new memory" if self.has_new_memory else ""
        return (
            f"{self.operation}: {self.model.name} ({variables}, {mib:.0f} MiB), "
            f"{self.place.title}{new}"
        )

    @property
    def name(self) -> str:
        """The contest in a few words without spaces."""
        layouts = "+".join(layout.name for layout in self.layouts)
        new = "-new" if self.has_new_memory else ""
        return f"{self.operation}-{self.model.name}-{self.place.name}{new}-{layouts}"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all contests of a run.

    Attributes:
        threads: That ours and the limit have.
        rounds: Counted runs of each contestant for its time.
        memory_rounds: For its memory; peaks do not vary as times do. 0: the process for times shows
            it as far as it can.
        tmpfs: A directory in memory.
        disk: A directory on a disk.
    """

    threads: int
    rounds: int
    memory_rounds: int
    tmpfs: Path
    disk: Path

    def directory(self, place: Place) -> Path:
        """Where a place's files go."""
        return self.disk if place.is_disk else self.tmpfs


def _one(mib: int) -> Model:
    return Model("one", {"v": (mib * 256, 1024)})


def _many(mib: int) -> Model:
    return Model("many", {f"v{number:02}": (mib * 4, 1024) for number in range(64)})


def _small(mib: int) -> Model:
    count = max(1, 20_000 * mib // 1024)
    return Model("small", {f"v{number:05}": (32, 32) for number in range(count)})


def _embedding(mib: int) -> Model:
    table = (mib * _MIB // (3 * 64 * _ITEM_BYTES) // 32 * 32, 64)
    names = ("table", "table/Adam", "table/Adam_1")
    powers = {"beta1_power": (), "beta2_power": ()}
    return Model("embedding", powers | dict.fromkeys(names, table), has_adam=True)


# By name, given the size in MiB. At 1024 these are one of 1 GiB, 64 of 16 MiB and 20,000 of 4 KiB
# (78 MiB). The last is a table with the two slots of Adam, 1 GiB in all.
MODELS: Mapping[str, Callable[[int], Model]] = {
    "one": _one,
    "many": _many,
    "small": _small,
    "embedding": _embedding,
}


def _by_name(*things: Layout | Place) -> dict:
    return {thing.name: thing for thing in things}


LAYOUTS: Mapping[str, Layout] = _by_name(
    Layout("whole", "whole"),
    Layout("axis0", "8 on axis 0", (8,)),
    Layout("axis0x32", "32 on axis 0", (32,)),
    Layout("axis1", "8 on axis 1", (1, 8)),
    Layout("grid", "2 x 4", (2, 4)),
    Layout("session", "8 in a session", (8,), is_session=True),
    Layout("replicas2", "2 replicas", replica_count=2),
    Layout("replicas4", "4 replicas", replica_count=4),
)

PLACES: Mapping[str, Place] = _by_name(
    Place("tmpfs", "tmpfs", is_disk=False),
    Place("disk", "disk"),
    Place("disk-synced", "disk, fsync", is_synced=True),
    Place("disk-cold", "disk, nothing cached", is_cold=True),
)

_PLACES_OF = {
    "save": ("tmpfs", "disk", "disk-synced"),
    "restore": ("tmpfs", "disk", "disk-cold"),
}
OPERATIONS = tuple(_PLACES_OF)

# What is in memory at once, at 1 GiB on a machine of 24 GiB.
_GROUPS_OF = {
    "save": (
        ("whole", "axis0", "session"),
        ("axis0", "axis1", "grid"),
        ("whole", "replicas2"),
        ("replicas4",),
    ),
    "restore": (
        ("whole", "axis0"),
        ("axis0x32",),
        ("axis1", "grid"),
        ("replicas2",),
        ("replicas4",),
    ),
}


def quick_contests(mib: int) -> Iterator[Contest]:
    """What a change to the engine is judged by."""
    model = MODELS["one"](mib)

    def layouts(*names: str) -> tuple[Layout, ...]:
        return tuple(LAYOUTS[name] for name in names)

    yield Contest(
        "save", model, PLACES["tmpfs"], layouts("whole", "axis0", "axis1", "grid", "replicas2")
    )
    yield Contest("save", model, PLACES["disk-synced"], layouts("axis0"))
    for has_new_memory in (False, True):
        yield Contest(
            "restore",
            model,
            PLACES["tmpfs"],
            layouts("whole", "axis0", "axis0x32"),
            has_sharded=False,
            has_new_memory=has_new_memory,
        )


def full_contests(mib: int) -> Iterator[Contest]:
    """Every model in every layout at every place.

    Of the small variables, an eighth as many where they are cut or copied: there are as many shards
    then. A graph of 160,000 takes TensorFlow hours to build.
    """
    for operation, place_names in _PLACES_OF.items():
        for model_name, place_name in itertools.product(MODELS, place_names):
            is_small = model_name == "small"
            for group in (
                (("whole",), *_GROUPS_OF[operation]) if is_small else _GROUPS_OF[operation]
            ):
                is_cut = is_small and group != ("whole",)
                model = MODELS[model_name](max(1, mib // 8) if is_cut else mib)
                layouts = tuple(LAYOUTS[name] for name in group)
                yield Contest(operation, model, PLACES[place_name], layouts)


def select(
    contests: Iterator[Contest],
    operations: tuple[str, ...],
    models: tuple[str, ...],
    layouts: tuple[str, ...],
    places: tuple[str, ...],
) -> Iterator[Contest]:
    """The contests that have what is asked for; an empty tuple asks for everything.

    Contests of the same operation, model and place in which only one layout is left stay apart.
    """
    for contest in contests:
        kept = tuple(one for one in contest.layouts if not layouts or one.name in layouts)
        if (
            kept
            and (not operations or contest.operation in operations)
            and (not models or contest.model.name in models)
            and (not places or contest.place.name in places)
        ):
            yield dataclasses.replace(contest, layouts=kept)
