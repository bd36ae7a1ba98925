"""Exports the graph of a `Saver` without our marks, and puts it on disk whole or not at all."""

import uuid
from typing import Any

import tensorflow as tf

from autodist.checkpoint import paths, tagging


def export(saver_def: Any, filename: str | None, **arguments: Any) -> Any:
    """Exports the default graph, byte for byte as stock TensorFlow does one without our marks.

    With a file name, the file is written beside, synced and renamed, so that it is never there in
    part.

    Args:
        saver_def: The `SaverDef` to put into it.
        filename: Where to write it, or `None`.
        **arguments: As for `tf.compat.v1.train.export_meta_graph`.

    Returns:
        The `MetaGraphDef`.

    Raises:
        RuntimeError: Executing eagerly.
        ValueError: The graph is larger than 2 GB.
    """
    # As the stock `Saver` calls it; the other way of copying the graph stops at 2 GB (TF 2.21).
    graph_def = tf.compat.v1.get_default_graph().as_graph_def(
        add_shapes=True, use_pybind11_proto=True
    )
    tagging.strip_tags(graph_def)
    if filename is None:
        return tf.compat.v1.train.export_meta_graph(
            graph_def=graph_def, saver_def=saver_def, **arguments
        )
    root, extension = paths.split_extension(filename)
    temporary_root = f"{root}.tmp{uuid.uuid4().hex}"
    # TensorFlow puts the debug information, if asked to, in a file of its own.
    moves = [
        (temporary_root + ".debug", root + ".debug"),
        (temporary_root + extension, filename),
    ]
    try:
        meta_graph = tf.compat.v1.train.export_meta_graph(
            filename=temporary_root + extension,
            graph_def=graph_def,
            saver_def=saver_def,
            **arguments,
        )
        for source, target in moves:
            if tf.io.gfile.exists(source):
                paths.sync(source)
                tf.io.gfile.rename(source, target, overwrite=True)
        paths.sync(paths.parent(filename) or ".")
    except BaseException:
        for source, _ in moves:
            if tf.io.gfile.exists(source):
                tf.io.gfile.remove(source)
        raise
    return meta_graph
