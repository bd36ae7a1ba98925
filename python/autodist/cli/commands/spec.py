"""`autodist spec check`."""

from __future__ import annotations

import click

from autodist import _log
from autodist.cli import output


@click.group("spec")
def command() -> None:
    """Work on resource specs."""


@command.command("check")
@click.argument("file")
@output.json_option
def check(file: str, as_json: bool) -> int:
    """Check a resource spec, and show the nodes and devices that it describes.

    The exit code is 1 if it is not a resource spec.
    """
    from autodist.cluster.spec.resource_spec import ResourceSpec
    from autodist.errors import ArgumentError
    from autodist.workbench.storage import places

    problem = ""
    spec = None
    with places.translated(file):
        try:
            spec = ResourceSpec.from_file(file)
        except ArgumentError as error:
            problem = str(error)
    if as_json:
        output.write_json(_json(spec, problem))
    elif spec is None:
        output.write(_log.printable(problem))
    else:
        rows = [
            [
                node.address if spec.is_cluster else node.host,
                f"{node.job}:{node.task}" if spec.is_cluster else "",
                "chief" if node.is_chief else "",
                ", ".join(map(str, node.cpus)),
                ", ".join(map(str, node.gpus)),
                "yes" if node.ssh else "",
            ]
            for node in spec.nodes
        ]
        output.write_table(["ADDRESS", "TASK", "", "CPUS", "GPUS", "SSH"], rows)
        output.write()
        output.write(
            f"{_log.count(len(spec.nodes), 'node')}, "
            f"{_log.count(len(spec.replica_devices), 'replica')}"
        )
    return 0 if spec is not None else 1


def _json(spec: object, problem: str) -> dict[str, object]:
    from autodist.cluster.spec.resource_spec import ResourceSpec

    if not isinstance(spec, ResourceSpec):
        return {"valid": False, "problem": problem, "nodes": []}
    return {
        "valid": True,
        "problem": None,
        "nodes": [
            {
                "host": node.host,
                "port": node.port,
                "job": node.job,
                "task": node.task,
                "chief": node.is_chief,
                "cpus": list(node.cpus),
                "gpus": list(node.gpus),
                "ssh": node.ssh is not None,
            }
            for node in spec.nodes
        ],
        "replica_devices": list(spec.replica_devices),
    }
