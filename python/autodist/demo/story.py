"""The demo from its first step to its summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autodist.demo import picture
from autodist.demo.large_model import measure_large_save
from autodist.demo.measurement import Measurement, scratch_directory
from autodist.demo.narrator import Narrator
from autodist.demo.options import Options
from autodist.demo.output import Output
from autodist.demo.plain.digits_model import Digits
from autodist.demo.plain.handover import Handover
from autodist.demo.processes import run_plain
from autodist.demo.scenario import SCENARIOS, Journey, Outcome, check_against_single_node
from autodist.strategy import AllReduce, PartitionedPS

_LARGE_SHARDS = 8


def tell(options: Options, output: Output, narrator: Narrator) -> None:
    """Runs every step and shows what came of it.

    Raises:
        DemoError: a step failed, or something is not what it was before it was saved.
        MismatchError: a value is not what it was before it was saved.
    """
    digits = Digits.load()
    steps = options.all_steps
    with narrator.step(f"TensorFlow alone: train {steps} steps on one node, to compare with"):
        run_plain("train_single_node.py", output.single_node, steps)
    single_node = Handover.read(str(output.single_node)).losses
    outcomes: dict[str, Outcome] = {}
    differences: dict[str, float] = {}
    for scenario in SCENARIOS:
        narrator.heading(scenario.name)
        outcome = Journey(scenario, options, output, digits, narrator).run()
        outcomes[scenario.name] = outcome
        differences[scenario.name] = check_against_single_node(
            scenario.name, outcome.losses, single_node
        )
    narrator.heading("A large model")
    large, where = _measure_large(options, output, narrator)
    picture.draw(output.picture, [o.panel for o in outcomes.values()], single_node)
    measurements = [*(outcome.measurement for outcome in outcomes.values()), *large]
    _show_saves(measurements, where, options, narrator)
    _show_summary(outcomes, differences, digits, output, narrator)


def _measure_large(
    options: Options, output: Output, narrator: Narrator
) -> tuple[list[Measurement], Path]:
    """The timed saves of the large model, and the directory they were written to."""
    mebibytes, repeats = options.large_mib, options.repeats
    strategies = {
        "PartitionedPS": PartitionedPS(num_shards=_LARGE_SHARDS),
        "AllReduce": AllReduce(),
    }
    measurements = []
    with scratch_directory(output.root, 4 * mebibytes * 2**20) as directory:
        for name, builder in strategies.items():
            title = f"{mebibytes} MiB, {name}"
            with narrator.step(f"save {title}, in turns with TensorFlow's own Saver") as step:
                rounds = step.track(range(repeats), repeats)
                measurements.append(
                    measure_large_save(
                        title,
                        builder,
                        output.resource_spec,
                        mebibytes=mebibytes,
                        directory=directory,
                        rounds=rounds,
                    )
                )
        return measurements, directory.parent


def _show_saves(
    measurements: Sequence[Measurement], where: Path, options: Options, narrator: Narrator
) -> None:
    rows: dict[str, Callable[[Measurement], str]] = {
        "variables": lambda m: str(m.report.variable_count),
        "shards": lambda m: str(m.report.shard_count),
        "replicas of each": lambda m: f"{m.report.replica_count / m.report.shard_count:g}",
        "MB": lambda m: f"{m.report.written_bytes / 1e6:.2f}",
        "seconds": lambda m: f"{m.ours_seconds:.4f}",
        "GB/s": lambda m: f"{m.speed(m.ours_seconds):.2f}",
        "seconds, stock": lambda m: f"{m.stock_seconds:.4f}",
        "GB/s, stock": lambda m: f"{m.speed(m.stock_seconds):.2f}",
        "stock / ours": lambda m: f"{m.stock_seconds / m.ours_seconds:.2f}",
    }
    narrator.table(
        "What was saved",
        ["", *(m.title.replace(", ", "\n") for m in measurements)],
        [[label, *map(value, measurements)] for label, value in rows.items()],
    )
    narrator.paragraph(
        f"Seconds are the wall time of Saver.save without the graph, best of {options.repeats}, to {where}. Stock is "
        "tf.compat.v1.train.Saver on the single-node model with the same values, saved in turns with ours; its "
        "files are the same, byte for byte. The digits model is so small that its save is all overhead; the "
        "large one, numbers at random, says more about speed."
    )


def _show_summary(
    outcomes: Mapping[str, Outcome],
    differences: Mapping[str, float],
    digits: Digits,
    output: Output,
    narrator: Narrator,
) -> None:
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
        "Equal means: before saving, in the distributed session, and after, in two processes that know only "
        "TensorFlow; one restored the checkpoint, the other loaded the SavedModel. One node means: the same "
        "training in TensorFlow alone, never interrupted."
    )
    narrator.heading("Where it is")
    narrator.line(f"picture of the loss: {output.picture}")
    for scenario in SCENARIOS:
        narrator.line(f"{scenario.name}: {output.root / scenario.directory_name}")
