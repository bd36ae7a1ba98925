"""`autodist serve`."""

from __future__ import annotations

import os
import sys

import click


@click.command("serve")
@click.option(
    "--resource-spec",
    metavar="FILE",
    help="The resource spec that the chief uses; default: TF_CONFIG.",
)
@click.option(
    "--node",
    type=int,
    metavar="K",
    help="Number of the node in the spec, from 1. The chief, 0, runs its own server.",
)
@click.option(
    "--until-chief-ends",
    is_flag=True,
    help="Exit once the chief's server has been there and is gone.",
)
@click.option("--from-chief", is_flag=True, hidden=True)
def command(
    resource_spec: str | None,
    node: int | None,
    until_chief_ends: bool,
    from_chief: bool,
) -> int:
    """Run the TensorFlow server of one node of a cluster, until it is killed.

    The server has autodist's ops loaded. Each chief of an AutoDist program gets a new server. The
    node is one of a resource spec, or the task of TF_CONFIG.
    """
    from autodist.errors import AutoDistError

    try:
        _serve(resource_spec, node, until_chief_ends=until_chief_ends, from_chief=from_chief)
    except AutoDistError as error:
        print(f"autodist serve failed: {error}", file=sys.stderr)
        return 1
    # TensorFlow's server has threads that nothing stops.
    os._exit(0)


def _serve(
    resource_spec: str | None, node: int | None, *, until_chief_ends: bool, from_chief: bool
) -> None:
    from autodist.cluster.servers import serving

    if from_chief:
        serving.serve_chief(serving.ServedTask.from_line(sys.stdin.readline()))
        return
    serving.serve_until_chief_ends(
        serving.find_task(resource_spec, node), also_unclaimed=until_chief_ends
    )
    if not until_chief_ends:
        # A TensorFlow server keeps what its chief left in it; the next chief gets a new process.
        options = [] if resource_spec is None else ["--resource-spec", resource_spec]
        options += [] if node is None else ["--node", str(node)]
        again = [sys.executable, "-m", "autodist.cli", "serve", *options]
        os.execv(sys.executable, again)  # noqa: S606 - the same program
