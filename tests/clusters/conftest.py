"""What the tests of clusters share: a cluster of real processes, started once, and a program that trains on it.

A process has one TensorFlow server for its life, so this one is the chief of one cluster, of three nodes or as many as
`AUTODIST_TEST_NODES` says. A session on fewer of them is one whose strategies see the devices of those only.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autodist.autodist import AutoDist
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.strategy import StrategyBuilder

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "support")]

from ports import free_ports

__all__ = ["free_ports", "spec_text"]

# Of the cluster that the tests share.
NODES = int(os.environ.get("AUTODIST_TEST_NODES", "3"))


def spec_text(ports: list[int], cpus: int = 2) -> str:
    nodes = [
        f"  - {{address: '127.0.0.1:{port}', cpus: {list(range(cpus))}, chief: {str(i == 0).lower()}}}"
        for i, port in enumerate(ports)
    ]
    return "\n".join(["nodes:", *nodes, ""])


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., str]:
    """Writes a resource spec of so many nodes on free loopback ports; returns its path."""

    def write(nodes: int = 3, cpus: int = 2) -> str:
        path = tmp_path / f"{nodes}_nodes.yml"
        path.write_text(spec_text(free_ports(nodes), cpus))
        return str(path)

    return write


@pytest.fixture(scope="session")
def cluster_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The resource spec of the cluster that this process is the chief of; it starts with the first session."""
    path = tmp_path_factory.mktemp("cluster") / "resource_spec.yml"
    path.write_text(spec_text(free_ports(NODES)))
    return str(path)


@pytest.fixture
def make_autodist(cluster_file: str) -> Callable[..., AutoDist]:
    """Makes an `AutoDist` on the first nodes of the cluster."""

    def make(strategy: StrategyBuilder, nodes: int = NODES) -> AutoDist:
        autodist = AutoDist(cluster_file, strategy)
        spec = autodist.resource_spec
        idle = [
            dataclasses.replace(node, has_replicas=False, holds_variables=False)
            for node in spec.nodes[nodes:]
        ]
        autodist._spec = ResourceSpec((*spec.nodes[:nodes], *idle))
        return autodist

    return make
