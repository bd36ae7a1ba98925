"""Marks the stock nodes of a saver, as its options say, so that our ops run in their place.

`autodist.tf_nodes` knows the nodes and the marks. This module decides which nodes get which marks.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from autodist import _log, _native, errors
from autodist.checkpoint import options as save_options
from autodist.private_apis.tf_variables import PartitionedVariable
from autodist.tf_nodes import marks, restore_nodes, save_nodes, variable_ops

_LOGGER = _log.get_logger()


def tag_all(graph: Any, saver_def: Any, options: save_options.SaverOptions) -> None:
    """Marks the `SaveV2` and `RestoreV2` nodes of a saver.

    Args:
        graph: Their graph.
        saver_def: The saver's `SaverDef`.
        options: The options of the saver.
    """
    for restore_op in restore_nodes.find(graph, saver_def):
        _tag_restore(restore_op, options)
    for save_op in save_nodes.find(graph, saver_def):
        sliced = save_nodes.sliced_variables(save_op)
        gaps = save_nodes.names_with_gaps(sliced) if options.save.leaves_gaps_to_stock else []
        if gaps:
            _LOGGER.info(
                "slices of %s are missing: TensorFlow saves the slices that are there",
                ", ".join(gaps),
            )
            continue
        _tag_save(save_op, options)
        dtypes = sorted(
            dtype.name
            for dtype in save_nodes.dtypes_of_several_slices(sliced)
            if not _native.bundle().is_written_whole(
                dtype.as_datatype_enum, marks.SaveMarks().layout, own_files=False
            )
        )
        if dtypes and options.save.layout is None:
            _LOGGER.info(
                "partitioned variables of %s are saved as slices: stock TensorFlow cannot "
                "restore whole ones into slices. Saver(layout='original') saves them whole",
                ", ".join(dtypes),
            )


def _tag_restore(restore_op: Any, options: save_options.SaverOptions) -> None:
    """Marks a `RestoreV2` to be replaced.

    One that is marked keeps its marks unless something else is asked for.
    """
    if options == save_options.SaverOptions() and marks.is_marked(restore_op):
        return
    marks.mark_restore(
        restore_op,
        marks.RestoreMarks(verify=options.restore.verify, threads=options.restore.threads),
    )


def _tag_save(save_op: Any, options: save_options.SaverOptions) -> None:
    """Marks a `SaveV2` to be replaced.

    One that is marked keeps its marks unless something else is asked for.

    A saver made from a `SaverDef` shares the nodes of the one it came from.

    Raises:
        ArgumentError: The aggregation names a variable that the node does not write, or two for one
            name.
    """
    if options == save_options.SaverOptions() and marks.is_marked(save_op):
        return
    aggregations = None
    if options.save.aggregation is not None:
        names = _aggregations(save_nodes.read_entries(save_op), options.save.aggregation)
        aggregations = tuple(name.encode() for name in names)
    marks.mark_save(
        save_op,
        marks.SaveMarks(
            layout=options.save.layout or marks.SaveMarks().layout,
            lock=options.save.lock,
            threads=options.save.threads,
            durable=options.save.durable,
            aggregations=aggregations,
        ),
    )


def _aggregations(entries: list[save_nodes.Entry], aggregation: Any) -> list[str]:
    """Returns the aggregation of each entry."""
    if not isinstance(aggregation, Mapping):
        return [save_options.aggregation_name(aggregation)] * len(entries)
    names = {entry.name for entry in entries}
    names_by_source = {
        variable_ops.reads_to_origin(entry.tensor)[-1]: entry.name for entry in entries
    }
    chosen: dict[str, str] = {}
    for key, value in aggregation.items():
        asked = save_options.aggregation_name(value)
        for name in _names_of(key, names, names_by_source):
            if chosen.setdefault(name, asked) != asked:
                raise errors.ArgumentError(
                    f"aggregation: '{name}' is to be both {chosen[name]} and {asked}; it needs one"
                )
    return [chosen.get(entry.name, "MEAN") for entry in entries]


def _names_of(key: Any, names: set[str], names_by_source: dict[Any, str]) -> Iterator[str]:
    """Yields the names in the checkpoint that a key of the aggregation stands for."""
    if isinstance(key, str):
        if key not in names:
            raise errors.ArgumentError(
                f"aggregation: no variable is saved as '{key}'; "
                f"the names are {', '.join(sorted(names))}"
            )
        yield key
        return
    variable = key.deref() if hasattr(key, "deref") else key
    for part in variable if isinstance(variable, PartitionedVariable) else [variable]:
        name = names_by_source.get(getattr(part, "op", None))
        if name is None:
            raise errors.ArgumentError(f"aggregation: this Saver does not save {part!r}")
        yield name
