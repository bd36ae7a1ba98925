"""`autodist demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_POSITIVE = click.IntRange(min=1)


@click.command("demo", context_settings={"show_default": True})
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    metavar="DIR",
    help="Directory to write to; what an earlier demo left there is replaced.",
)
@click.option(
    "--steps",
    type=_POSITIVE,
    default=120,
    metavar="N",
    help="Distributed training steps before the save; half as many follow each restore.",
)
@click.option(
    "--large-mib",
    type=_POSITIVE,
    default=256,
    metavar="N",
    help="Size in MiB of the large model whose save is timed.",
)
@click.option(
    "--repeats",
    type=_POSITIVE,
    default=5,
    metavar="N",
    help="How often each timed save is repeated; the best counts.",
)
@click.option(
    "--nodes",
    type=_POSITIVE,
    default=1,
    metavar="N",
    help="Train on a cluster of so many servers, which the demo starts on this machine; 1: on two "
    "replicas in one process.",
)
def command(output: Path, steps: int, large_mib: int, repeats: int, nodes: int) -> int:
    """Train, save, export, restore and fine-tune on real data, and check every step.

    Trains a model of handwritten digits on two replicas, saves and exports it. Processes that know
    only TensorFlow restore it, compare every variable and fine-tune it. Any difference is an error.
    """
    from autodist.errors import AutoDistError

    try:
        from autodist.demo import demonstration
        from autodist.demo.interface.options import Options

        demonstration.run(Options(output, steps, large_mib, repeats, nodes))
    except AutoDistError as error:
        print(f"autodist demo failed: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in ("sklearn", "matplotlib"):
            raise
        print(
            f"autodist demo needs {error.name}. Run: pip install 'autodist[demo]'", file=sys.stderr
        )
        return 1
    return 0
