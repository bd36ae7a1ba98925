"""The demo from its first step to its summary."""

from __future__ import annotations

from pathlib import Path

from autodist.demo.interface import picture
from autodist.demo.interface.narrator import Narrator
from autodist.demo.interface.options import Options
from autodist.demo.interface.output import Output
from autodist.demo.steps.large_model import distributions, measure_large_save
from autodist.demo.steps.measurement import Measurement, scratch_directory
from autodist.demo.steps.processes import run_plain
from autodist.demo.steps.scenario import SCENARIOS, Journey, Outcome, check_against_single_node
from autodist.demo.steps.summary import show_saves, show_summary
from autodist.demo.tensorflow_only.digits_model import Digits
from autodist.demo.tensorflow_only.handover import Handover


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
    show_saves(measurements, where, options, narrator)
    show_summary(outcomes, differences, digits, output, narrator)


def _measure_large(
    options: Options, output: Output, narrator: Narrator
) -> tuple[list[Measurement], Path]:
    """The timed saves of the large model, and the directory they were written to."""
    mebibytes, repeats = options.large_mib, options.repeats
    measurements = []
    with scratch_directory(output.root, 4 * mebibytes * 2**20) as directory:
        for distribution in distributions(options.replicas):
            with narrator.step(
                f"{distribution.name}: save {mebibytes} MiB, in turns with TensorFlow"
            ) as step:
                rounds = step.track(range(repeats), repeats)
                measurements.append(
                    measure_large_save(
                        distribution, output.resource_spec, mebibytes, directory, rounds
                    )
                )
        return measurements, directory.parent
