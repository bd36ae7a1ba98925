"""One strategy's way through the demo: train, save, export, restore, fine-tune, come back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from autodist.demo.interface.errors import DemoError
from autodist.demo.interface.narrator import Narrator
from autodist.demo.interface.options import Options
from autodist.demo.interface.output import Output
from autodist.demo.interface.picture import Curve, Panel
from autodist.demo.steps.measurement import (
    Measurement,
    SavedModel,
    Saves,
    check_same_files,
    measure,
    scratch_directory,
)
from autodist.demo.steps.processes import run_plain
from autodist.demo.steps.training import DistributedTraining, single_node_save
from autodist.demo.tensorflow_only.digits_model import Digits
from autodist.demo.tensorflow_only.handover import Handover
from autodist.strategy import AllReduce, PartitionedPS, StrategyBuilder

# Room for two small checkpoints.
_SCRATCH_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A strategy, and the other distribution that its model is restored into in the end.

    Attributes:
        name: of the strategy.
        directory_name: of what it writes.
        builder: the strategy.
        restored_builder: the other distribution.
        restored_text: what the other distribution is.
    """

    name: str
    directory_name: str
    builder: StrategyBuilder
    restored_builder: StrategyBuilder
    restored_text: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a scenario came to; everything in it was checked.

    Attributes:
        report: of the save.
        measurement: of the same save beside TensorFlow's own.
        restored_report: of the save in the other distribution.
        losses: from the first step to the last, through both sessions and the process between.
        correct: test images recognised: when saved, when fine-tuned, at the end.
        panel: for the picture.
    """

    report: SavedModel
    measurement: Measurement
    restored_report: SavedModel
    losses: list[float]
    correct: tuple[int, int, int]
    panel: Panel


SCENARIOS = (
    Scenario(
        "PartitionedPS", "partitioned_ps", PartitionedPS(), PartitionedPS(num_shards=3), "3 shards"
    ),
    Scenario("AllReduce", "all_reduce", AllReduce(), PartitionedPS(num_shards=5), "5 shards"),
)


class Journey:
    """Runs one scenario.

    Args:
        scenario: which.
        options: how many steps and repeats.
        output: where to write.
        digits: the data.
        narrator: tells what happens.
    """

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        output: Output,
        digits: Digits,
        narrator: Narrator,
    ) -> None:
        self._scenario = scenario
        self._spec = output.resource_spec
        self._root = output.part(scenario.directory_name)
        self._digits = digits
        self._steps = options.steps
        self._later_steps = options.later_steps
        self._repeats = options.repeats
        self._replicas_text = options.replicas_text
        self._narrator = narrator

    def run(self) -> Outcome:
        """Runs the scenario to its end.

        Raises:
            DemoError: something is not as it was before it was saved.
            MismatchError: the same, in this process.
        """
        trained, report, measurement = self._train_and_save()
        fine_tuned, from_saved_model = self._fine_tune()
        restored_report, last = self._restore_elsewhere(fine_tuned)
        panel = self._panel(trained, fine_tuned, from_saved_model, last)
        return Outcome(
            report,
            measurement,
            restored_report,
            [*trained.losses, *fine_tuned.losses, *last.losses],
            (trained.correct, fine_tuned.correct, last.correct),
            panel,
        )

    def _train_and_save(self) -> tuple[Handover, SavedModel, Measurement]:
        scenario, narrator, steps = self._scenario, self._narrator, self._steps
        checkpoint = self._root / "checkpoint"
        with DistributedTraining.start(self._spec, scenario.builder, self._digits) as training:
            with narrator.step(f"train {steps} steps on {self._replicas_text}") as step:
                losses = training.train(step.track(range(steps), steps))
            with narrator.step("save with Saver, export with SavedModelBuilder"):
                report = training.save(checkpoint)
                training.export(self._root / "saved_model")
                trained = training.handover(losses)
                trained.write(str(self._root / "trained.npz"))
            with (
                narrator.step("save again, in turns with TensorFlow's own Saver") as step,
                single_node_save(checkpoint) as stock,
                scratch_directory(self._root, _SCRATCH_BYTES) as directory,
            ):
                rounds = step.track(range(self._repeats), self._repeats)
                title = f"digits, {scenario.name}"
                measurement = measure(
                    title,
                    Saves(training.timed_save(), stock, session=training.session),
                    directory,
                    rounds,
                )
        return trained, report, measurement

    def _fine_tune(self) -> tuple[Handover, Handover]:
        root, steps = self._root, self._later_steps
        with self._narrator.step("TensorFlow alone: restore the checkpoint, compare, fine-tune"):
            (root / "fine_tuned").mkdir()
            run_plain(
                "restore_checkpoint.py",
                root / "checkpoint",
                root / "trained.npz",
                root / "fine_tuned",
                root / "fine_tuned.npz",
                steps,
            )
        with self._narrator.step("TensorFlow alone: load the SavedModel, compare, fine-tune"):
            run_plain(
                "load_saved_model.py",
                root / "saved_model",
                root / "trained.npz",
                root / "fine_tuned_saved_model.npz",
                steps,
            )
        return (
            Handover.read(str(root / "fine_tuned.npz")),
            Handover.read(str(root / "fine_tuned_saved_model.npz")),
        )

    def _restore_elsewhere(self, fine_tuned: Handover) -> tuple[SavedModel, Handover]:
        scenario, root = self._scenario, self._root
        with DistributedTraining.start(
            self._spec, scenario.restored_builder, self._digits
        ) as training:
            with self._narrator.step(
                f"restore what was fine-tuned into {scenario.restored_text}, compare, save again"
            ):
                where = f"the session with {scenario.restored_text}"
                training.restore(root / "fine_tuned", fine_tuned, where)
                report = training.save(root / "restored")
                self._check_saved_again()
            first = self._steps + self._later_steps
            steps = range(first, first + self._later_steps)
            with self._narrator.step(f"train {len(steps)} steps there") as step:
                losses = training.train(step.track(steps, len(steps)))
            return report, training.handover(losses)

    def _check_saved_again(self) -> None:
        """What was restored and saved again must be, byte for byte, what TensorFlow had written."""
        fine_tuned, restored = (
            _only_prefix(self._root / name) for name in ("fine_tuned", "restored")
        )
        check_same_files(restored, fine_tuned, "saved again after restoring")

    def _panel(
        self, trained: Handover, fine_tuned: Handover, from_saved_model: Handover, last: Handover
    ) -> Panel:
        restored_at = self._steps
        back_at = self._steps + self._later_steps
        name, elsewhere = self._scenario.name, self._scenario.restored_text
        curves = (
            Curve(f"{name}, {self._replicas_text}", 0, trained.losses, "#1668c1"),
            Curve(
                "TensorFlow alone, from the checkpoint", restored_at, fine_tuned.losses, "#e8590c"
            ),
            Curve(
                "TensorFlow alone, from the SavedModel",
                restored_at,
                from_saved_model.losses,
                "#111111",
                is_dashed=True,
            ),
            Curve(
                f"PartitionedPS, {elsewhere}, {self._replicas_text}",
                back_at,
                last.losses,
                "#7b2cbf",
            ),
        )
        marks = (
            (restored_at, "saved, exported;\nrestored by\nTensorFlow alone"),
            (back_at, f"saved by it;\nrestored into\n{elsewhere}"),
        )
        return Panel(f"{name}, then fine-tuned by TensorFlow alone", curves, marks)


def check_against_single_node(
    name: str, losses: Sequence[float], single_node: Sequence[float]
) -> float:
    """Checks that the losses are those of uninterrupted single-node training.

    Sums are taken in another order on several replicas, so losses differ by rounding, and the more
    steps the more. The first 100 steps must agree within 0.1 % of the first loss; the rest is
    reported.

    Args:
        name: of the strategy, for the message.
        losses: one per step.
        single_node: one per step.

    Returns:
        The largest difference over all steps, in nats.

    Raises:
        DemoError: they differ by more.
    """
    differences = [abs(a - b) for a, b in zip(losses, single_node, strict=True)]
    limit = 1e-3 * single_node[0]
    for step, difference in enumerate(differences[:100]):
        if not difference <= limit:
            raise DemoError(
                f"{name}: the loss of step {step} is {losses[step]:.6f}; on a single node it is "
                f"{single_node[step]:.6f}, and they may differ by {limit:.6f}"
            )
    return max(differences)


def _only_prefix(directory: Path) -> str:
    """The prefix of the one checkpoint in a directory."""
    (index,) = directory.glob("*.index")
    return str(index.with_suffix(""))
