"""Exports the graph of a `Saver` without our marks, as a file that is never there in part."""

import tempfile
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from autodist.checkpoint.files import paths, staged_files
from autodist.private_apis import tf_graphs
from autodist.tf_nodes import marks


def export(saver_def: Any, filename: str | None, *, durable: bool, **arguments: Any) -> Any:
    """Exports the default graph, byte for byte as stock TensorFlow does one without our marks.

    Args:
        saver_def: The `SaverDef` to put into it.
        filename: Where to write it, or `None`. The file is never there in part.
        durable: Whether the file is synced.
        **arguments: As for `tf.compat.v1.train.export_meta_graph`.

    Returns:
        The `MetaGraphDef`.

    Raises:
        RuntimeError: Executing eagerly.
        ValueError: The graph is larger than 2 GB.
        tf.errors.OpError: The file cannot be written.
    """
    if filename is None:
        return _build(saver_def, **arguments)
    with staged_files.StagedFiles(durable=durable) as files:
        meta_graph = stage(files, saver_def, filename, **arguments)
        files.commit()
    return meta_graph


def stage(
    files: staged_files.StagedFiles,
    saver_def: Any,
    filename: str,
    *,
    as_text: bool = False,
    save_debug_info: bool = False,
    **arguments: Any,
) -> Any:
    """Writes the file, or with debug information both files, under temporary names.

    Args:
        files: What to add them to.
        saver_def: The `SaverDef` to put into the graph.
        filename: Where the file is to be.
        as_text: Write it as text.
        save_debug_info: Also write a `.debug` file.
        **arguments: As for `tf.compat.v1.train.export_meta_graph`.

    Returns:
        The `MetaGraphDef`.

    Raises:
        RuntimeError: Executing eagerly.
        ValueError: The graph is larger than 2 GB.
        tf.errors.OpError: A file cannot be written.
    """
    meta_graph = _build(saver_def, **arguments)
    directory = paths.parent(filename)
    if directory and not tf.io.gfile.isdir(directory):
        tf.io.gfile.makedirs(directory)
    if save_debug_info:
        debug_path = paths.split_extension(filename)[0] + ".debug"
        files.add(debug_path, _debug_info(saver_def, as_text=as_text, **arguments))
    if as_text:
        files.add(filename, text_format.MessageToString(meta_graph).encode())
    else:
        files.add(filename, meta_graph.SerializeToString(deterministic=True))
    return meta_graph


def _build(saver_def: Any, **arguments: Any) -> Any:
    graph_def = tf_graphs.graph_def(tf.compat.v1.get_default_graph())
    marks.strip(graph_def)
    arguments = {key: value for key, value in arguments.items() if key not in _OF_FILES}
    return tf.compat.v1.train.export_meta_graph(
        graph_def=graph_def, saver_def=saver_def, **arguments
    )


# Arguments that say how files are written.
_OF_FILES = ("as_text", "save_debug_info")


def _debug_info(saver_def: Any, *, as_text: bool, **arguments: Any) -> bytes:
    """Returns the contents of the `.debug` file, which TensorFlow offers only as a file."""
    graph_def = tf_graphs.graph_def(tf.compat.v1.get_default_graph())
    with tempfile.TemporaryDirectory() as scratch:
        tf.compat.v1.train.export_meta_graph(
            filename=paths.join(scratch, "graph.meta"),
            graph_def=graph_def,
            saver_def=saver_def,
            as_text=as_text,
            save_debug_info=True,
            **arguments,
        )
        with tf.io.gfile.GFile(paths.join(scratch, "graph.debug"), "rb") as file:
            contents: bytes = file.read()
    return contents
