"""Serves in a process whose `TF_CONFIG` says that it is not the chief.

Kubernetes and the like start one program on every node, with the node's own task in `TF_CONFIG`.
The program runs in the chief's process. In any other, `AutoDist()` serves as `autodist serve` does,
until the chief ends.
"""

from __future__ import annotations

import os

from autodist import _log
from autodist.cluster.servers import serving
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import ArgumentError, GraphStateError

_logger = _log.get_logger()


def serve_unless_chief(spec: ResourceSpec) -> None:
    """Returns in the chief's process.

    In another one it serves until the chief ends, and then ends the process.

    Args:
      spec: the cluster of `TF_CONFIG`.

    Raises:
      ArgumentError: if `TF_CONFIG` does not say which task this process is.
      GraphStateError: if the task's server cannot start.
      SystemExit: when the chief has ended.
    """
    own = ResourceSpec.own_task()
    node = next(node for node in spec.nodes if (node.job, node.task) == own)
    if node.is_chief:
        return
    _logger.warning(
        "TF_CONFIG: this process is %s, %s, and the program runs in the chief's, %s at %s. This "
        "process serves it, as `autodist serve` does, and exits when the chief ends",
        node.task_device,
        node.address,
        spec.chief.task_device,
        spec.chief.address,
    )
    task = serving.ServedTask.of(spec, node)
    try:
        serving.serve_until_chief_ends(task, also_unclaimed=True)
    except GraphStateError:
        # On one machine the chief may have started this server itself, a moment before.
        if not serving.is_served(task):
            raise
        _logger.info("another process serves %s; this one waits for the chief's end", node.address)
        serving.wait_until_chief_ends(task)
    _logger.info("the chief at %s has ended", spec.chief.address)
    raise SystemExit(0)


def check_given_spec(path: str) -> None:
    """Refuses a resource spec in a process that is not the chief of the cluster in `TF_CONFIG`.

    Such processes would all run the program as chiefs of the same nodes, or each on its own and
    into the same files.

    Args:
      path: of the resource spec, which takes the place of `TF_CONFIG`.

    Raises:
      GraphStateError: if the process is another task.
    """
    if not os.environ.get("TF_CONFIG"):
        return
    try:
        chief = ResourceSpec.from_environment().chief
        job, index = ResourceSpec.own_task()
    except ArgumentError as error:
        _logger.info("the resource spec is %s, and TF_CONFIG is not used: %s", path, error)
        return
    if (job, index) != (chief.job, chief.task):
        raise GraphStateError(
            f"TF_CONFIG says that this process is task {index} of job {job!r}. Only the chief "
            f"(task {chief.task} of job {chief.job!r}, {chief.address}) runs the program; with the "
            f"resource spec {path!r} this process would too. Run `autodist serve` here; or leave "
            "the file out: AutoDist() then serves in this process. To run the program on the nodes "
            "of the file, unset TF_CONFIG."
        )
