"""The picture of the losses: through save, restore and fine-tuning, beside single-node training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_INK = "#1f2933"
_REFERENCE = {"color": "#c3cad3", "linewidth": 5.0, "solid_capstyle": "round"}


@dataclasses.dataclass(frozen=True)
class Curve:
    """The losses of one session.

    Attributes:
        label: what ran.
        first_step: the step of the first loss.
        losses: one per step.
        color: of the line.
        is_dashed: whether the line is dashed, so that one below it shows.
    """

    label: str
    first_step: int
    losses: Sequence[float]
    color: str
    is_dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """One strategy's part of the picture.

    Attributes:
        title: what was trained how.
        curves: the sessions, in order.
        marks: (step, text) where something was saved and restored.
    """

    title: str
    curves: Sequence[Curve]
    marks: Sequence[tuple[int, str]]


def draw(path: Path, panels: Sequence[Panel], single_node: Sequence[float]) -> None:
    """Writes a PNG.

    Args:
        path: the file.
        panels: one per strategy, drawn side by side.
        single_node: the losses of single-node training without interruption.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "Training loss through save, restore and fine-tuning (scikit-learn digits, Adam)",
        fontsize=14,
        color=_INK,
    )
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel, single_node)
    all_axes[0].set_ylabel("cross-entropy of the batch (nats, log scale)")
    figure.savefig(path, dpi=130)


def _draw_panel(axes: Any, panel: Panel, single_node: Sequence[float]) -> None:
    label = "one node, TensorFlow alone, never interrupted"
    axes.plot(range(len(single_node)), single_node, label=label, **_REFERENCE)
    for curve in panel.curves:
        steps = range(curve.first_step, curve.first_step + len(curve.losses))
        style = (0, (2.2, 2.2)) if curve.is_dashed else "solid"
        axes.plot(
            steps,
            curve.losses,
            label=curve.label,
            color=curve.color,
            linestyle=style,
            linewidth=1.7,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(panel.title, fontsize=12, color=_INK)
    axes.set_xlabel("training step (batches of 128 images)")
    axes.grid(visible=True, which="major", color="#eceff3")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for step, text in panel.marks:
        axes.axvline(step, color=_INK, linestyle=":", linewidth=1.2)
        axes.annotate(
            text,
            (step, 0.985),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="top",
            fontsize=9,
            color=_INK,
        )
    axes.legend(loc="lower left", fontsize=9, framealpha=0.95, edgecolor="#d5dae1")
