"""Measures what the graph of a save costs the chief, in its own process and without servers."""

from __future__ import annotations

import dataclasses
import resource
import time

from measuring import contestants

_CHIEF = "/job:worker/replica:0/task:0"


@dataclasses.dataclass(frozen=True)
class Built:
    """What was found.

    Attributes:
        graph_seconds: Processor time of the ops that begin and end a save.
        writer_seconds: Of the ops with which each server writes.
        op_count: Of both.
        peak_bytes: Of the process, TensorFlow and the user's graph included.
    """

    graph_seconds: float
    writer_seconds: float
    op_count: int
    peak_bytes: int


def run(servers: int, shards: int) -> Built:
    """Builds the graph of a save of resource variables that lie on the servers in turn.

    Args:
        servers: How many.
        shards: Likewise.
    """
    return contestants.in_new_process(_build, servers, shards, is_memory_returned=False)


def _build(servers: int, shards: int) -> Built:
    import tensorflow as tf

    from autodist import _native, layout
    from autodist.checkpoint.distributed.shared_save import save_graph
    from autodist.checkpoint.distributed.variables import sources

    homes = [f"/job:ps/replica:0/task:{number % servers}" for number in range(shards)]
    found = []
    with tf.Graph().as_default():
        for number, home in enumerate(homes):
            with tf.device(f"{home}/device:CPU:0"):
                handle = tf.raw_ops.VarHandleOp(
                    dtype=tf.float32, shape=[4], shared_name=f"v{number}"
                )
            entry = layout.RequestEntry.of_variable(f"v{number}".encode(), "", handle, tf.float32)
            found.append(sources.Source(entry, handle, handle.op))
    request = layout.SaveRequest(
        tuple(source.entry for source in found), "original", "block", 0, durable=True
    )
    node = sources.PlacedSave(request, tuple(found), device="", name="save", names=None)
    _native.ops()
    graph = tf.Graph()
    start = time.process_time()
    built = save_graph.SaveGraph(
        graph,
        node,
        homes,
        by_value=(),
        chief=_CHIEF,
        without_ops=(),
        label="benchmark",
        is_instant=False,
        has_figures=False,
    )
    middle = time.process_time()
    for writer in range(1, len(built.tasks)):
        built.write(writer, [], [], {})
    end = time.process_time()
    return Built(
        middle - start,
        end - middle,
        len(graph.get_operations()),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    )
