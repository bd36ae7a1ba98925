"""What is saved under the shim: series of saves, of which the last is under test."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A series of saves, of which the last is under test.

    Attributes:
        name: As in the tables.
        steps: The step of each save; `None` saves under the plain prefix.
        keep: `max_to_keep`.
        size: Elements of the largest variable.
        kind: `saver`; `saved_model`; `session`, of a distributed session; `monitored`, by a `MonitoredTrainingSession`.
        below: Directory below the root that the last save has to make.
        prefix: Last part of the prefix.
        latest_filename: Of the state file; `None` for the usual one.
        arguments: More of the saver's.
        devices: How many CPU devices the variables are spread over.
        place: How the directory is named: `plain`, `link` (through a symbolic link), `relative` (to the current one).
        recovers: Whether the last save is that of a new saver, which recovers the checkpoints of the former.
        asynchronous: Whether all saves are made in the background, and awaited.
        settings: Environment variables of the saves.
    """

    name: str
    steps: tuple[int | None, ...] = ()
    keep: int = 5
    size: int = 1000
    kind: str = "saver"
    below: str = ""
    prefix: str = "m"
    latest_filename: str | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    devices: int = 1
    place: str = "plain"
    recovers: bool = False
    asynchronous: bool = False
    settings: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether there is no checkpoint before the save under test."""
        return len(self.steps) < 2

    @property
    def is_large(self) -> bool:
        """Whether only `make torture` has the time."""
        return self.size > 10_000


SCENARIOS = (
    Scenario("first save", (1,)),
    Scenario("first save, new directory", (1,), below="new"),
    Scenario("new prefix", (1, 2)),
    Scenario("same prefix", (None, None)),
    Scenario("same prefix a third time", (None, None, None)),
    Scenario("retention", (1, 2), keep=1),
    Scenario("same prefix, 6 MB", (None, None), size=1_500_000),
    Scenario("retention, 6 MB", (1, 2), keep=1, size=1_500_000),
    Scenario("SavedModel", kind="saved_model"),
)

_SHARDED = {"sharded": True}

# Other ways to the same steps: killed and cut like the others by `make torture`, sampled otherwise.
MORE_SCENARIOS = (
    Scenario("sharded, retention", (1, 2), keep=1, arguments=_SHARDED, devices=2),
    Scenario("sharded, same prefix", (None, None), arguments=_SHARDED, devices=2),
    Scenario("sharded, one device, same prefix", (None, None), arguments=_SHARDED),
    Scenario("several devices, same prefix", (None, None), devices=3),
    Scenario("distributed session, same prefix", (None, None), kind="session"),
    Scenario("distributed session, retention", (1, 2), keep=1, kind="session"),
    Scenario("MonitoredTrainingSession, retention", (1, 2), keep=1, kind="monitored"),
    Scenario(
        "one kept for every hour",
        (1, 2, 3),
        keep=1,
        arguments={"keep_checkpoint_every_n_hours": 1e-9},
    ),
    Scenario("recovered checkpoints, retention", (1, 2, 3), keep=1, recovers=True),
    Scenario(
        "past the page cache, same prefix",
        (None, None),
        size=600_000,
        settings={"AUTODIST_DIRECT_WRITES": "always"},
    ),
    Scenario("in the background, same prefix", (None, None), asynchronous=True),
    Scenario("in the background, retention", (1, 2), keep=1, asynchronous=True),
    Scenario("another state file", (1, 2), keep=1, latest_filename="latest"),
    Scenario("odd names, same prefix", (None, None), prefix="a b%s %2F \u00fc\u6a21 *?"),
    Scenario("odd names, retention", (1, 2), keep=1, prefix="a b%s %2F \u00fc\u6a21 *?"),
    Scenario("through a link, same prefix", (None, None), place="link"),
    Scenario("relative prefix, retention", (1, 2), keep=1, place="relative"),
    Scenario(
        "relative paths in the state file",
        (1, 2),
        keep=1,
        place="relative",
        arguments={"save_relative_paths": True},
    ),
    Scenario("prefix that is a directory", (1, 2), prefix="d", keep=1),
)
