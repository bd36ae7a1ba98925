"""`autodist explain`: why a checkpoint would not restore into a graph, and what would help."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.commands import renaming, selection
from autodist.workbench.reading import finding, graphs
from autodist.workbench.reading.checkpoint import Checkpoint, Variable
from autodist.workbench.reading.graphs import WantedTensor

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Missing names that are compared with all of the checkpoint: as many as make so many pairs.
_LEAST_COMPARED = 20
_MOST_PAIRS = 200_000


class Missing(NamedTuple):
    """A name that is wanted and not there.

    Attributes:
        wanted: What is wanted.
        near: Names of the checkpoint that are most like it.
        parts: Names of the checkpoint that are parts of it, `name/part_0` and so on.
    """

    wanted: WantedTensor
    near: tuple[str, ...]
    parts: tuple[str, ...]


class Mismatch(NamedTuple):
    """A variable with another dtype or shape than is wanted."""

    wanted: WantedTensor
    stored: Variable


class Explanation(NamedTuple):
    """Whether a checkpoint restores.

    Attributes:
        prefix: Of the checkpoint.
        source: What wants it: a graph file or another checkpoint.
        wanted_count: Names that are wanted.
        missing: Names that are not there.
        dtypes: Variables of another dtype.
        shapes: Variables of another shape.
        unused: Names of the checkpoint that nobody wants; a restore leaves them alone.
        rule: A renaming that finds missing names.
        is_by_objects: Whether the checkpoint is one of `tf.train.Checkpoint`, and the other is not.
    """

    prefix: str
    source: str
    wanted_count: int
    missing: tuple[Missing, ...]
    dtypes: tuple[Mismatch, ...]
    shapes: tuple[Mismatch, ...]
    unused: tuple[str, ...]
    rule: renaming.Rule | None
    is_by_objects: bool

    @property
    def restores(self) -> bool:
        """Whether a restore would find all that it wants."""
        return not (self.missing or self.dtypes or self.shapes)


def explain(path: str, *, graph: str | None = None, other: str | None = None) -> Explanation:
    """Compares what a checkpoint has with what a graph, or another checkpoint, would restore.

    Args:
        path: Of the checkpoint; see `reading.finding`.
        graph: A `.meta` file, or a SavedModel of TensorFlow 1.
        other: A checkpoint that the program does restore.

    Raises:
        ArgumentError: Not one of both is given.
        NotFoundError: A file is not there.
        UnsupportedError: The graph restores by functions, or by names that it computes.
    """
    if (graph is None) == (other is None):
        raise errors.ArgumentError("give exactly one of --graph META and --with CKPT")
    checkpoint = finding.open_checkpoint(path)
    if graph is not None:
        wanted = _wanted_by_graph(graph)
    else:
        wanted = _wanted_by_checkpoint(finding.open_checkpoint(str(other)))
    return _compare(checkpoint, wanted, str(graph if graph is not None else other))


def _wanted_by_graph(path: str) -> list[WantedTensor]:
    found = finding.find(path)
    file = found.graph or path
    graph = graphs.read(file)
    if graph.wanted:
        return list(graph.wanted)
    if not graph.has_saver and graph.variables:
        # A graph whose saver was left out: it would be made of all variables, under their names.
        return [WantedTensor(v.name, v.dtype, v.shape, "") for v in graph.variables]
    raise errors.UnsupportedError(
        f"{printable(file)!r} has no restore op of a Saver: it restores by objects or functions, "
        "as those of TensorFlow 2 do. Compare checkpoints with --with"
    )


def _wanted_by_checkpoint(checkpoint: Checkpoint) -> list[WantedTensor]:
    return [
        WantedTensor(v.name, v.dtype, v.shape, "")
        for v in checkpoint.variables
        if v.name != _OBJECT_GRAPH
    ]


def _compare(checkpoint: Checkpoint, wanted: list[WantedTensor], source: str) -> Explanation:
    stored = {variable.name: variable for variable in checkpoint.variables}
    by_name = {tensor.name: tensor for tensor in wanted}
    missing = [tensor for name, tensor in by_name.items() if name not in stored]
    unused = [name for name in stored if name not in by_name and name != _OBJECT_GRAPH]
    there = [(tensor, stored[tensor.name]) for tensor in by_name.values() if tensor.name in stored]

    most_compared = max(_LEAST_COMPARED, _MOST_PAIRS // max(1, len(stored)))

    @functools.cache
    def near(name: str) -> list[str]:
        return selection.nearest(name, unused) or selection.nearest(name, stored)

    def fits(name: str, other: str) -> bool:
        return _fits(by_name[name], stored[other])

    return Explanation(
        prefix=checkpoint.prefix,
        source=source,
        wanted_count=len(by_name),
        missing=tuple(
            Missing(
                tensor,
                tuple(near(tensor.name)) if number < most_compared else (),
                tuple(_parts(tensor.name, stored)),
            )
            for number, tensor in enumerate(missing)
        ),
        dtypes=tuple(Mismatch(t, v) for t, v in there if t.dtype != v.dtype),
        shapes=tuple(Mismatch(t, v) for t, v in there if not _same_shape(t, v)),
        unused=tuple(unused),
        rule=renaming.find([t.name for t in missing], unused, near, fits) if missing else None,
        is_by_objects=_OBJECT_GRAPH in stored and bool(missing),
    )


def _parts(name: str, stored: Mapping[str, Variable]) -> list[str]:
    parts: list[str] = []
    while f"{name}/part_{len(parts)}" in stored:
        parts.append(f"{name}/part_{len(parts)}")
    return parts


def _fits(tensor: WantedTensor, variable: Variable) -> bool:
    return tensor.dtype == variable.dtype and _same_shape(tensor, variable)


def _same_shape(tensor: WantedTensor, variable: Variable) -> bool:
    if tensor.shape is None:
        return True
    return len(tensor.shape) == len(variable.shape) and all(
        wanted in (-1, dim) for wanted, dim in zip(tensor.shape, variable.shape, strict=True)
    )
