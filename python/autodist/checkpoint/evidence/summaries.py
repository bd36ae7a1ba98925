"""Figures as scalars of TensorBoard, by TensorFlow's own writer of events."""

from __future__ import annotations

import math
from collections.abc import Iterator

import tensorflow as tf

from autodist import _log
from autodist.evidence.figures import Evidence, VariableFigures

_LOGGER = _log.get_logger()


def write(directory: str, evidence: Evidence, step: int | None) -> None:
    """Writes the figures of all variables. A failure is a warning: the checkpoint matters more.

    Args:
        directory: Where the events go.
        evidence: The figures.
        step: Their step; `None`: 0.
    """
    values = [
        tf.compat.v1.Summary.Value(tag=f"evidence/{figure}/{name}", simple_value=value)
        for name, figures in evidence.variables.items()
        for figure, value in _scalars(figures)
    ]
    try:
        # The writer refuses to be made where TensorFlow executes eagerly.
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriterCache.get(directory)
            writer.add_summary(tf.compat.v1.Summary(value=values), step or 0)
            writer.flush()
    except (tf.errors.OpError, OSError) as error:
        _LOGGER.warning("the evidence was not written to %s: %s", directory, error)


def _scalars(figures: VariableFigures) -> Iterator[tuple[str, float]]:
    yield "norm", figures.norm
    yield "nonfinite", float(figures.nonfinite)
    for name, value in (
        ("min", figures.minimum),
        ("max", figures.maximum),
        ("mean", figures.mean),
        ("deviation", figures.deviation),
    ):
        if value is not None and not math.isnan(value):
            yield name, value
