"""The tables at the end of the demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autodist.demo.interface.narrator import Narrator
from autodist.demo.interface.options import Options
from autodist.demo.interface.output import Output
from autodist.demo.steps.measurement import Measurement
from autodist.demo.steps.scenario import SCENARIOS, Outcome
from autodist.demo.tensorflow_only.digits_model import Digits


def show_saves(
    measurements: Sequence[Measurement], where: Path, options: Options, narrator: Narrator
) -> None:
    """Shows what was saved, and how fast beside TensorFlow.

    Args:
        measurements: the timed saves.
        where: the directory they were written to.
        options: how often they were repeated.
        narrator: shows it.
    """
    figures: list[tuple[str, Callable[[Measurement], str]]] = [
        ("variables", lambda m: str(m.report.variable_count)),
        ("shards", lambda m: str(m.report.shard_count)),
        ("replicas of each", lambda m: f"{m.report.replica_count / m.report.shard_count:g}"),
        ("MB", lambda m: f"{m.report.written_bytes / 1e6:.2f}"),
        ("autodist: seconds", lambda m: f"{m.ours_seconds:.4f}"),
        ("  GiB/s", lambda m: f"{m.speed(m.ours_seconds):.2f}"),
        ("one node: seconds", lambda m: f"{m.stock_seconds:.4f}"),
        ("  GiB/s", lambda m: f"{m.speed(m.stock_seconds):.2f}"),
        ("  times autodist's", lambda m: f"{m.stock_seconds / m.ours_seconds:.2f}"),
        ("gathering: seconds", lambda m: _gathering(m, lambda s: f"{s:.4f}")),
        ("  GiB/s", lambda m: _gathering(m, lambda s: f"{m.speed(s):.2f}")),
        ("  times autodist's", lambda m: _gathering(m, lambda s: f"{s / m.ours_seconds:.2f}")),
    ]
    narrator.table(
        "What was saved",
        ["", *(m.title.replace(", ", "\n") for m in measurements)],
        [[label, *map(figure, measurements)] for label, figure in figures],
    )
    narrator.paragraph(
        f"Seconds are the wall time of one save without the graph, best of {options.repeats}, to "
        f"{where}, all in turns and of the same values; all files are the same, byte for byte. One "
        "node: stock tf.compat.v1.train.Saver on the single-node model, which has nothing to "
        "gather. Gathering: stock SaveV2 of the shards put together, or of the mean of the "
        "replicas. The digits model is so small that its save is all overhead; the large one, "
        "numbers at random, says more about speed."
    )


def show_summary(
    outcomes: Mapping[str, Outcome],
    differences: Mapping[str, float],
    digits: Digits,
    output: Output,
    narrator: Narrator,
) -> None:
    """Shows what was compared and where everything is.

    Args:
        outcomes: by strategy.
        differences: by strategy, of the loss from that of one node, in nats.
        digits: the data.
        output: where everything is.
        narrator: shows it.
    """
    images = len(digits.test_labels)
    saved, fine_tuned, last = (
        [f"{outcome.correct[i] / images:.1%}" for outcome in outcomes.values()] for i in range(3)
    )
    counts = [str(outcome.report.variable_count) for outcome in outcomes.values()]
    shards = [str(outcome.restored_report.shard_count) for outcome in outcomes.values()]
    narrator.table(
        "What was proved",
        ["", *outcomes],
        [
            ["variables, slots included, equal in every bit", *counts],
            [f"accuracy on {images} images, before and after", *saved],
            ["fine-tuned by TensorFlow alone", *fine_tuned],
            ["restored into so many shards, equal again", *shards],
            ["saved there, byte for byte what TensorFlow saved", *["yes"] * len(outcomes)],
            ["trained on there", *last],
            [
                "largest difference of the loss from one node",
                *map("{:.1e}".format, differences.values()),
            ],
        ],
    )
    narrator.paragraph(
        "Equal means: before saving, in the distributed session, and after, in two processes that "
        "know only TensorFlow; one restored the checkpoint, the other loaded the SavedModel. One "
        "node means: the same training in TensorFlow alone, never interrupted."
    )
    narrator.heading("Where it is")
    narrator.line(f"picture of the loss: {output.picture}")
    for scenario in SCENARIOS:
        narrator.line(f"{scenario.name}: {output.root / scenario.directory_name}")


def _gathering(measurement: Measurement, figure: Callable[[float], str]) -> str:
    """A figure of the save that gathers first; a dash where that was not timed."""
    seconds = measurement.gathered_seconds
    return "-" if seconds is None else figure(seconds)
