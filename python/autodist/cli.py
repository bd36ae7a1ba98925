"""The command `autodist`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autodist import __version__
from autodist.errors import AutoDistError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows the command's name; those of this process by default.

    Returns:
        The exit code: 0, 1 when a command fails, 130 when it is interrupted.
    """
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    try:
        parsed.run(parsed)
    except AutoDistError as error:
        print(f"autodist {parsed.command} failed: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in ("sklearn", "matplotlib"):
            raise
        print(
            f"autodist {parsed.command} needs {error.name}. Run: pip install 'autodist[demo]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="autodist",
        description="Saves a distributed TensorFlow training as the original, single-node model.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_demo(commands)
    _add_serve(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="train, save, export, restore and fine-tune on real data, and check every step",
        description="Trains a model of handwritten digits on two replicas, saves and exports it. "
        "Processes that know only TensorFlow restore it, compare every variable and fine-tune it. "
        "Any difference is an error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="directory to write to; what an earlier demo left there is replaced",
    )
    demo.add_argument(
        "--steps",
        type=_positive,
        default=120,
        metavar="N",
        help="distributed training steps before the save; half as many follow each restore",
    )
    demo.add_argument(
        "--large-mib",
        type=_positive,
        default=256,
        metavar="N",
        help="size in MiB of the large model whose save is timed",
    )
    demo.add_argument(
        "--repeats",
        type=_positive,
        default=5,
        metavar="N",
        help="how often each timed save is repeated; the best counts",
    )
    demo.add_argument(
        "--nodes",
        type=_positive,
        default=1,
        metavar="N",
        help="train on a cluster of so many servers, which the demo starts on this machine; "
        "1: on two replicas in one process",
    )
    demo.set_defaults(run=_run_demo)


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the TensorFlow server of one node of a cluster",
        description="Runs the TensorFlow server of one node, with autodist's ops loaded, until it "
        "is killed. Each chief of an AutoDist program gets a new server. The node is one of a "
        "resource spec, or the task of TF_CONFIG.",
    )
    serve.add_argument(
        "--resource-spec",
        metavar="FILE",
        help="the resource spec that the chief uses; default: TF_CONFIG",
    )
    serve.add_argument(
        "--node",
        type=int,
        metavar="K",
        help="with --resource-spec: the node's number, 0 for the chief, the others in order from 1",
    )
    serve.add_argument(
        "--until-chief-ends",
        action="store_true",
        help="exit once the chief's server has been there and is gone",
    )
    serve.add_argument("--from-chief", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(run=_run_serve)


def _run_demo(parsed: argparse.Namespace) -> None:
    from autodist.demo import demonstration
    from autodist.demo.interface.options import Options

    demonstration.run(
        Options(parsed.output, parsed.steps, parsed.large_mib, parsed.repeats, parsed.nodes)
    )


def _run_serve(parsed: argparse.Namespace) -> None:
    from autodist.cluster.servers import serving

    if parsed.from_chief:
        serving.serve_chief(serving.ServedTask.from_line(sys.stdin.readline()))
    else:
        serving.serve_until_chief_ends(
            serving.find_task(parsed.resource_spec, parsed.node),
            also_unclaimed=parsed.until_chief_ends,
        )
        if not parsed.until_chief_ends:
            # A TensorFlow server keeps what its chief left in it; the next chief gets a new
            # process.
            again = ["-m", "autodist.cli", "serve", *_serve_options(parsed)]
            os.execv(sys.executable, [sys.executable, *again])  # noqa: S606 - the same program
    # TensorFlow's server has threads that nothing stops.
    os._exit(0)


def _serve_options(parsed: argparse.Namespace) -> list[str]:
    """The options of `autodist serve` that were given."""
    if parsed.resource_spec is None:
        return []
    return ["--resource-spec", parsed.resource_spec, "--node", str(parsed.node)]


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
