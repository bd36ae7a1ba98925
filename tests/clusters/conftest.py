"""What the tests of clusters share: a cluster of real processes, started once, and a program that trains on it.

A process has one TensorFlow server for its life, so this one is the chief of one cluster. It has
three nodes, or as many as `AUTODIST_TEST_NODES` says. A session on fewer of them is one whose
strategies see the devices of those only.
"""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autodist.autodist import AutoDist
from autodist.checkpoint.distributed.tasks import data_connections
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.strategy import StrategyBuilder
from support.clusters.ps_job import PsJob, running
from support.ports import free_ports
from support.specs import cluster_text

# Of the cluster that the tests share.
NODES = int(os.environ.get("AUTODIST_TEST_NODES", "3"))


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., str]:
    """Writes a resource spec of so many nodes on free loopback ports; returns its path."""

    def write(nodes: int = 3, cpus: int = 2) -> str:
        path = tmp_path / f"{nodes}_nodes.yml"
        path.write_text(cluster_text(free_ports(nodes), cpus))
        return str(path)

    return write


@pytest.fixture(scope="session")
def cluster_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The resource spec of the cluster that this process is the chief of; it starts with the first session."""
    path = tmp_path_factory.mktemp("cluster") / "resource_spec.yml"
    path.write_text(cluster_text(free_ports(NODES)))
    return str(path)


@pytest.fixture
def make_autodist(cluster_file: str) -> Callable[..., AutoDist]:
    """Makes an `AutoDist` on the first nodes of the cluster."""

    def make(strategy: StrategyBuilder, used: int = NODES) -> AutoDist:
        autodist = AutoDist(cluster_file, strategy)
        nodes = autodist.resource_spec.nodes
        unused = [
            dataclasses.replace(node, has_replicas=False, holds_variables=False)
            for node in nodes[used:]
        ]
        autodist._spec = ResourceSpec((*nodes[:used], *unused))
        return autodist

    return make


@pytest.fixture(scope="module")
def job() -> Iterator[PsJob]:
    """A parameter-server job: two servers, and this process as the worker."""
    with running(free_ports(3)) as job:
        yield job


@pytest.fixture(autouse=True)
def _small_saves_have_data_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests save and restore is small."""
    monkeypatch.setattr(data_connections, "LEAST_BYTES", 1)
    monkeypatch.setattr(data_connections, "FAILED", {})


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that servers in other mount namespaces do not see."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
