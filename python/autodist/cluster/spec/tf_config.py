"""Parses `TF_CONFIG`, the environment variable that TensorFlow's own jobs are started with.

{"cluster": {"chief": ["a:2222"], "worker": ["b:2222"], "ps": ["c:2222"]}, "task": {"type":
"worker", "index": 0}}
"""

from __future__ import annotations

from typing import Any

from autodist.cluster.spec.nodes import Node, split_address
from autodist.errors import ArgumentError

_CHIEF_JOBS = ("chief", "master")
_JOBS = (*_CHIEF_JOBS, "worker", "ps")
# TensorFlow lets a cluster list it, and leaves it out of training.
_EVALUATOR = "evaluator"


def parse(content: Any) -> tuple[Node, ...]:
    """The nodes, the chief first.

    Raises:
      ArgumentError: if it describes no cluster.
    """
    jobs = _jobs(content)
    chief_job = next((job for job in (*_CHIEF_JOBS, "worker") if job in jobs), None)
    if chief_job is None:
        raise ArgumentError("TF_CONFIG: the cluster has neither a chief nor a worker")
    if chief_job != "worker" and len(jobs[chief_job]) > 1:
        raise ArgumentError(f"TF_CONFIG: expected one {chief_job!r}, found {jobs[chief_job]}")
    nodes = [
        Node(
            host,
            port,
            cpus=(0,),
            is_chief=(job, task) == (chief_job, 0),
            job=job,
            task=task,
            has_replicas=job != "ps",
            holds_variables=job == "ps" or "ps" not in jobs,
        )
        for job, addresses in jobs.items()
        for task, (host, port) in enumerate(addresses)
    ]
    return tuple(sorted(nodes, key=lambda n: (not n.is_chief, _JOBS.index(n.job), n.task)))


def own_task(content: Any) -> tuple[str, int]:
    """Job and number of this process's own task.

    Raises:
      ArgumentError: if there is none, or it is none of the cluster's.
    """
    jobs = _jobs(content)
    numbers = {job: len(addresses) for job, addresses in jobs.items()}
    task = content.get("task")
    if task is None and sum(numbers.values()) == 1:
        return next(iter(jobs)), 0
    job = task.get("type") if isinstance(task, dict) else None
    index = task.get("index", 0) if isinstance(task, dict) else None
    if isinstance(index, str) and index.isdecimal():
        index = int(index)  # As TensorFlow takes it.
    if job == _EVALUATOR:
        raise ArgumentError(
            "TF_CONFIG: this process is an evaluator, which takes no part in training. Restore "
            "checkpoints in a tf.compat.v1.Session without AutoDist, or give AutoDist a resource "
            "spec of the evaluator's own"
        )
    if type(index) is not int or job not in jobs or not 0 <= index < numbers[job]:
        raise ArgumentError(
            "TF_CONFIG: expected a 'task' with a 'type' and an 'index' of the cluster's (so many "
            f"of each: {numbers}); found {task!r}"
        )
    return job, index


def _jobs(content: Any) -> dict[str, list[tuple[str, int]]]:
    cluster = content.get("cluster") if isinstance(content, dict) else None
    if not isinstance(cluster, dict) or not cluster:
        raise ArgumentError(
            "TF_CONFIG: expected a 'cluster', a mapping from jobs to lists of addresses, and a "
            f"'task'; found {content!r}"
        )
    jobs = {}
    for job, addresses in cluster.items():
        if job == _EVALUATOR:
            continue
        if job not in _JOBS:
            raise ArgumentError(f"TF_CONFIG: unknown job {job!r}; known: {[*_JOBS, _EVALUATOR]}")
        if not isinstance(addresses, list) or not addresses:
            raise ArgumentError(
                f"TF_CONFIG, cluster.{job}: expected a list of addresses, found {addresses!r}"
            )
        jobs[job] = [_address(a, f"TF_CONFIG, cluster.{job}[{i}]") for i, a in enumerate(addresses)]
    if set(_CHIEF_JOBS) <= set(jobs):
        raise ArgumentError(
            "TF_CONFIG: the cluster has a 'chief' and a 'master'; expected one of them"
        )
    every = [address for addresses in jobs.values() for address in addresses]
    twice = sorted({f"{h}:{p}" for h, p in every if every.count((h, p)) > 1})
    if twice:
        raise ArgumentError(f"TF_CONFIG: two tasks have the address {twice[0]!r}")
    return jobs


def _address(value: Any, where: str) -> tuple[str, int]:
    if isinstance(value, str):
        try:
            host, port = split_address(value)
        except ValueError:
            port = None
        if port is not None:
            return host, port
    raise ArgumentError(f"{where}: expected 'host:port', found {value!r}")
