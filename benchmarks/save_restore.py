"""How fast are saving and restoring, beside stock TensorFlow and what the file system allows?

| profile   | contests                                                                            | size    | rounds |
|-----------|-------------------------------------------------------------------------------------|---------|--------|
| `--quick` | a variable: save on tmpfs in 5 layouts, on disk with fsync; restore into 1, 8, 32   | 256 MiB | 10     |
| `--full`  | 4 models, in 7 layouts, at 3 places                                                 | 1 GiB   | 5      |

Who competes, and how each answer is checked: `saves.py` and `restores.py`. What is to be reached:
`targets.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from contenders import cases, other_libraries
from contenders.cases import Setting
from contests import plots, reporting, runner
from contests.results import Result
from measuring import machine

_NAME = "save_restore"
_HERE = Path(__file__).resolve().parent
# By profile: its contests, MiB of a model, rounds.
_PROFILES = {
    "quick": (cases.quick_contests, 256, 10),
    "full": (cases.full_contests, 1024, 5),
}
_MEMORY_ROUNDS = 2


@click.command(help=__doc__.splitlines()[0])
@click.option("--quick", "profile", flag_value="quick", default="quick", help="The default.")
@click.option("--full", "profile", flag_value="full", help="Everything; takes hours.")
@click.option("--operation", "operations", multiple=True, type=click.Choice(cases.OPERATIONS))
@click.option("--model", "models", multiple=True, type=click.Choice(list(cases.MODELS)))
@click.option("--layout", "layouts", multiple=True, type=click.Choice(list(cases.LAYOUTS)))
@click.option("--place", "places", multiple=True, type=click.Choice(list(cases.PLACES)))
@click.option("--mebibytes", type=click.IntRange(1), help="Of a model.  [default: the profile's]")
@click.option(
    "--rounds", type=click.IntRange(1), help="Counted runs of each.  [default: the profile's]"
)
@click.option(
    "--memory-rounds",
    type=click.IntRange(0),
    default=_MEMORY_ROUNDS,
    show_default=True,
    help="Runs of each for its memory; 0: only as far as the runs for time show it.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=len(os.sched_getaffinity(0)),
    show_default="processors",
    help="Of ours and of the limit.",
)
@click.option("--tmpfs", type=click.Path(path_type=Path), default="/dev/shm", show_default=True)
@click.option("--disk", type=click.Path(path_type=Path), default=_HERE, show_default="benchmarks/")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=_HERE / "results",
    show_default="benchmarks/results/",
    help="Where the report goes.",
)
@click.option("--keep", is_flag=True, help="Report under the name that is committed.")
@click.option("--list", "is_listed", is_flag=True, help="Show the contests and stop.")
def main(
    *,
    profile: str,
    operations: tuple[str, ...],
    models: tuple[str, ...],
    layouts: tuple[str, ...],
    places: tuple[str, ...],
    mebibytes: int | None,
    rounds: int | None,
    memory_rounds: int,
    threads: int,
    tmpfs: Path,
    disk: Path,
    results: Path,
    keep: bool,
    is_listed: bool,
) -> None:
    make_contests, profile_mebibytes, profile_rounds = _PROFILES[profile]
    setting = Setting(threads, rounds or profile_rounds, memory_rounds, tmpfs, disk)
    everything = make_contests(mebibytes or profile_mebibytes)
    selected = list(cases.select(everything, operations, models, layouts, places))
    if not selected:
        raise click.UsageError(f"no contest of --{profile} has all that is asked for; see --list")
    if is_listed:
        for contest in selected:
            click.echo(f"{contest.title}: {', '.join(lay.title for lay in contest.layouts)}")
        return
    _run(selected, setting, results, f"{_NAME}.{profile}" + ("" if keep else ".local"))


def _run(selected: Sequence[cases.Contest], setting: Setting, results: Path, name: str) -> None:
    """The report is written anew after each contest, for the last may be hours away."""
    # Wide enough for the tables where the output is no terminal.
    console = Console(width=None if Console().is_terminal else 180)
    finished: list[Result] = []
    for number, contest in enumerate(selected, start=1):
        console.rule(f"{number} of {len(selected)}")
        finished.append(runner.run(contest, setting))
        reporting.print_result(finished[-1], console)
        report = reporting.Report(
            question=f"Save and restore, {setting.threads} threads, best of {setting.rounds}",
            results=finished,
            machine=machine.describe({"tmpfs": setting.tmpfs, "disk": setting.disk}),
            missing=other_libraries.missing(),
            plots=plots.draw(finished, results, name),
        )
        report.write(results, name)
    report.print_targets(console)


if __name__ == "__main__":
    main()
