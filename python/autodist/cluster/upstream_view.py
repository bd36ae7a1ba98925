"""The view of a cluster that programs for the earlier AutoDist project use, under its names."""

from __future__ import annotations

from autodist.cluster.spec.resource_spec import ResourceSpec


class ClusterView:
    """The nodes, as a program on the chief sees them.

    Attributes:
      cluster_spec: addresses `host:port` by job.
    """

    def __init__(self, spec: ResourceSpec) -> None:
        self.cluster_spec = spec.cluster
        self._chief = spec.chief.host
        self._task_to_address = {(node.job, node.task): node.host for node in spec.nodes}

    def get_local_address(self) -> str:
        """The chief's host."""
        return self._chief

    def is_chief(self, address: str | None = None) -> bool:
        """Whether a host is the chief's; by default this process's own."""
        return address is None or address == self._chief
