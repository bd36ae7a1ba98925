"""Makes the runner of a distributed session from the resource spec."""

from __future__ import annotations

import uuid
from typing import Any

import tensorflow as tf

from autodist.cluster import settings
from autodist.cluster.chief import Cluster
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import GraphStateError
from autodist.graph.transformer import Transformer
from autodist.session.runner.runners import ClusterRunner, LocalRunner, Runner


def new_container(spec: ResourceSpec) -> str:
    """A new name for the resource container of a session on the servers; empty on one machine."""
    return f"autodist_{uuid.uuid4().hex}" if spec.is_cluster else ""


def make_runner(transformer: Transformer, spec: ResourceSpec, config: Any) -> Runner:
    """Makes the runner of the transformed graph; starts the cluster if there is one.

    Args:
      transformer: has the graph.
      spec: the nodes.
      config: a `tf.compat.v1.ConfigProto`, or None.

    Raises:
      NodeUnavailableError: if a node of the cluster does not answer in time.
      GraphStateError: if this process cannot be its chief.
    """
    made = tf.compat.v1.ConfigProto()
    if config is not None:
        made.CopyFrom(config)
    made.allow_soft_placement = True
    if not spec.is_cluster:
        count = made.device_count.get("CPU", 0)
        made.device_count["CPU"] = max(spec.chief.cpu_count, count)
        return LocalRunner(transformer.graph, made)
    start = settings.start_timeout_seconds()
    silence = settings.silence_timeout_seconds()
    cluster = Cluster.join(spec, start)
    cluster.claims.add_container(transformer.builder.container, start)
    return ClusterRunner(cluster, transformer, made, start, silence)


def check_gpus(spec: ResourceSpec) -> None:
    """Checks that this machine has the GPUs that its node lists; servers check their own.

    Raises:
      GraphStateError: if one is missing.
    """
    gpus = spec.chief.gpus
    if not gpus:
        return
    present = len(tf.config.list_physical_devices("GPU"))
    if max(gpus) >= present:
        raise GraphStateError(
            f"the resource spec lists GPUs {list(gpus)}, but TensorFlow sees {present} on this "
            "machine"
        )
