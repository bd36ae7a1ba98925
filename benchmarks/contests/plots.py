"""Draws a picture of each contest: the speed and extra memory of each contestant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

from contenders import contender
from contenders.contender import Key
from contests.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _RIVAL, _LIMIT = "#1b6ca8", "#b9bec4", "#5b6470"
_ROW_INCHES = 0.27
_WIDTH_INCHES = 10


def draw(results: Sequence[Result], directory: Path, name: str) -> list[str]:
    """Writes a PNG for each contest.

    Args:
        results: Of the contests.
        directory: Where to.
        name: What the files' names begin with.

    Returns:
        The files' names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for result in results:
        written.append(f"{name}.{result.contest.name}.png")
        _draw(result, directory / written[-1])
    return written


def _draw(result: Result, path: Path) -> None:
    keys = _in_groups(result)
    figure, (speed, memory) = plt.subplots(
        1,
        2,
        sharey=True,
        figsize=(_WIDTH_INCHES, 1.1 + _ROW_INCHES * len(keys)),
        layout="constrained",
        width_ratios=[3, 2],
    )
    speeds = [result.speed_gib(key) for key in keys]
    _bars(speed, keys, speeds, [f"{value:.2f}" for value in speeds])
    speed.axvline(result.speed_gib(Key(contender.LIMIT)), color=_LIMIT, linestyle=":", linewidth=1)
    speed.set_xlabel("GiB/s, best run")
    extra = [result.extra_bytes(key) / 2**20 for key in keys]
    _bars(memory, keys, extra, [f"{value:.0f}" for value in extra])
    memory.set_xlabel("extra memory at its peak, MiB")
    doubt = "" if result.counts else "; does not count, the machine was not steady"
    figure.suptitle(f"{result.contest.title}{doubt}", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _in_groups(result: Result) -> list[Key]:
    """Everybody but the control, those of one layout and state together, ours first.

    Without a layout last.
    """
    keys = [key for key in result.times if key.way != contender.LIMIT_AGAIN]
    layouts = [layout.title for layout in result.contest.layouts]

    def place(key: Key) -> tuple[int, str, bool]:
        group = layouts.index(key.layout) if key.layout else len(layouts)
        return group, key.state, not key.is_ours

    return sorted(keys, key=place)


def _bars(axes: Axes, keys: Sequence[Key], values: Sequence[float], labels: Sequence[str]) -> None:
    colors = [_color(key) for key in keys]
    bars = axes.barh([key.name for key in keys], values, color=colors)
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.margins(x=0.14)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _color(key: Key) -> str:
    if key.is_ours:
        return _OURS
    return _LIMIT if key.way.startswith(contender.LIMIT) else _RIVAL
