"""`autodist ls`: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autodist.workbench import errors
from autodist.workbench.commands import selection
from autodist.workbench.reading import finding, graphs
from autodist.workbench.reading.checkpoint import Variable
from autodist.workbench.storage import places

SORTS = ("name", "size", "dtype", "shape")
# A name with more slashes has the rest of it in its last part.
_MOST_LEVELS = 64


class File(NamedTuple):
    """A file of the checkpoint; `size` is -1 if it is missing or cannot be read."""

    path: str
    size: int


class Listing(NamedTuple):
    """What a path holds.

    Attributes:
        kind: `'checkpoint'` or `'saved_model'`.
        prefix: Of the checkpoint.
        format: `'V2'` or `'V1'`.
        graph: The `.meta` or `saved_model.pb` file; `''` if there is none.
        kept: The prefixes that the state file names, if it was found by one.
        files: Index and data files.
        variables: Those that were asked for.
        variable_count: How many there are in all.
    """

    kind: str
    prefix: str
    format: str
    graph: str
    kept: tuple[str, ...]
    files: tuple[File, ...]
    variables: list[Variable]
    variable_count: int


class Node(NamedTuple):
    """A level of names: those that begin with `name` and a slash.

    Attributes:
        name: Up to this level.
        variable: That of this name, if there is one.
        variable_count: Variables at it and below.
        size: Their bytes.
        children: The next level, by name.
    """

    name: str
    variable: Variable | None
    variable_count: int
    size: int
    children: list[Node]


def list_checkpoint(
    path: str, patterns: Sequence[str] = (), sort: str = "name", *, reverse: bool = False
) -> Listing:
    """Lists the checkpoint that a path stands for.

    Args:
        path: See `reading.finding`.
        patterns: Names or patterns of variables; none: all.
        sort: One of `SORTS`. By size the largest come first.
        reverse: Whether to reverse that order.

    Raises:
        NotFoundError: There is no checkpoint, or no variable that a pattern matches.
        DamagedError: Its index cannot be read.
    """
    found = finding.find(path)
    if not found.prefix:
        raise finding.no_values(path)
    checkpoint = finding.read(found.prefix)
    variables = selection.select(checkpoint.variables, patterns)
    if sort == "size":
        variables.sort(key=lambda variable: -variable.size)
    elif sort != "name":
        variables.sort(key=lambda variable: (getattr(variable, sort), variable.name))
    if reverse:
        variables.reverse()
    paths = ([checkpoint.index_file] if checkpoint.index_file else []) + list(checkpoint.files)
    return Listing(
        kind=found.kind,
        prefix=found.prefix,
        format=checkpoint.format,
        graph=found.graph,
        kept=found.state.kept if found.state else (),
        files=tuple(File(file, _size(file)) for file in paths),
        variables=variables,
        variable_count=len(checkpoint.variables),
    )


class GraphRow(NamedTuple):
    """A variable of a graph, and what a restore reads for it.

    Attributes:
        name: Of the variable, or of the name in a checkpoint that no variable has.
        dtype: As `tf.as_dtype` takes it.
        shape: -1 where a dimension is not known; `None` if the rank is not.
        slice: The part of a tensor in a checkpoint that is read for it, as TensorFlow spells it.
        is_variable: Whether the graph has a variable of that name.
        is_restored: Whether its saver reads that name.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    slice: str
    is_variable: bool
    is_restored: bool


def list_graph(path: str) -> list[GraphRow]:
    """Lists the variables of a graph file, and the names that its saver restores.

    Args:
        path: A `.meta` file or `saved_model.pb`.

    Raises:
        NotFoundError: There is none.
        DamagedError: It holds no graph.
    """
    graph = graphs.read(path)
    wanted = {tensor.name for tensor in graph.wanted}
    names = {variable.name for variable in graph.variables}
    rows = [
        GraphRow(v.name, v.dtype, v.shape, "", is_variable=True, is_restored=v.name in wanted)
        for v in graph.variables
    ]
    rows += [
        GraphRow(t.name, t.dtype, t.shape, t.slice, is_variable=False, is_restored=True)
        for t in graph.wanted
        if t.name not in names
    ]
    return sorted(rows, key=lambda row: (row.name, row.slice))


def tree(variables: Sequence[Variable]) -> Node:
    """Returns variables by the parts of their names between slashes; the top has the name `''`."""
    by_name = sorted(variables, key=lambda variable: _parts(variable.name))
    return _node("", [(_parts(variable.name), variable) for variable in by_name], 0)


def _node(name: str, rows: list[tuple[list[str], Variable]], depth: int) -> Node:
    own = None
    groups: dict[str, list[tuple[list[str], Variable]]] = {}
    for parts, variable in rows:
        if len(parts) == depth:
            own = variable
        else:
            groups.setdefault(parts[depth], []).append((parts, variable))
    children = []
    for part, members in groups.items():
        child_name = f"{name}/{part}" if depth else part
        if len(members) == 1:
            variable = members[0][1]
            children.append(Node(variable.name, variable, 1, variable.size, []))
        else:
            children.append(_node(child_name, members, depth + 1))
    size = sum(child.size for child in children) + (own.size if own else 0)
    count = sum(child.variable_count for child in children) + (own is not None)
    return Node(name, own, count, size, children)


def _parts(name: str) -> list[str]:
    return name.split("/", _MOST_LEVELS)


def _size(path: str) -> int:
    try:
        return places.size_of(path)
    except (errors.NotFoundError, errors.UnreadableError):
        return -1
