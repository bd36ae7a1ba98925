"""Draws what each save cost the training: the longest step, and the time lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

_COLOURS = {"longest step, ms": "#1b6ca8", "training lost, s": "#5b6470"}


def draw(rows: list[dict[str, Any]], directory: Path, name: str) -> list[str]:
    """Writes a PNG for each size and kind of updates.

    Args:
        rows: Those of the table.
        directory: Where to.
        name: What the files' names begin with.

    Returns:
        The files' names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for gib, updates in dict.fromkeys((row["gib"], row["updates"]) for row in rows):
        some = [row for row in rows if (row["gib"], row["updates"]) == (gib, updates)][::-1]
        figure, axes = plt.subplots(
            1, 2, sharey=True, figsize=(10, 1.2 + 0.3 * len(some)), layout="constrained"
        )
        values = [
            [1e3 * row["longest_seconds"] for row in some],
            [row["lost_seconds"] for row in some],
        ]
        names = [row["contestant"] for row in some]
        for axis, (label, colour), of_axis in zip(axes, _COLOURS.items(), values, strict=True):
            axis.barh(names, of_axis, color=colour)
            axis.set_xlabel(label)
        figure.suptitle(f"{gib:g} GiB, {updates} updates of rows")
        written.append(f"{name}.{gib:g}-gib-{updates}.png")
        figure.savefig(directory / written[-1], dpi=120)
        plt.close(figure)
    return written
