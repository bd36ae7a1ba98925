"""What a graph file (`.meta`, `saved_model.pb`) tells: its variables, and what its saver restores."""

from __future__ import annotations

from typing import Any, NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.storage import places

# TensorFlow reads no larger message.
_MOST_BYTES = 2 << 30
_OTHER_FORMS = {".pbtxt": "as text", ".cpb": "in chunks"}
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_RESTORES = ("RestoreV2", "Restore", "RestoreSlice")
_ASSIGNS = ("AssignVariableOp", "Assign")
_PASSED_ON = ("Identity", "Reshape")


class GraphVariable(NamedTuple):
    """A variable of a graph.

    Attributes:
        name: Of the node.
        dtype: As `tf.as_dtype` takes it.
        shape: -1 where a dimension is not known; `None` if the rank is not.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None


class WantedTensor(NamedTuple):
    """What a graph reads from a checkpoint.

    Attributes:
        name: The key in the checkpoint.
        dtype: As `tf.as_dtype` takes it.
        shape: Of the whole tensor; `None` if it is not known.
        slice: The part of it that is read, as `shape_and_slices` spells it; `''`: all.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    slice: str


class Graph(NamedTuple):
    """What a graph file tells.

    Attributes:
        path: The file.
        node_count: Nodes, without those of functions.
        has_saver: Whether it holds a `SaverDef`.
        variables: In the order of their names.
        wanted: What its restore ops read, by name; each name and slice once.
    """

    path: str
    node_count: int
    has_saver: bool
    variables: tuple[GraphVariable, ...]
    wanted: tuple[WantedTensor, ...]


class _Node(NamedTuple):
    name: str
    op: str
    inputs: list[str]
    dtype: int
    shape: tuple[int, ...] | None
    shared_name: str
    dtypes: list[int]
    strings: list[str]


def read(path: str) -> Graph:
    """Reads a graph file.

    Raises:
        NotFoundError: There is none.
        DamagedError: It holds no graph.
    """
    data = _read(path)
    nodes = {row[0]: _Node(*row) for row in data["nodes"]}
    variables = [
        GraphVariable(node.name, dtypes.name_of(node.dtype), node.shape)
        for node in nodes.values()
        if node.op in _VARIABLES
    ]
    return Graph(
        path=path,
        node_count=data["node_count"],
        has_saver=data["has_saver"],
        variables=tuple(sorted(variables, key=lambda variable: variable.name)),
        wanted=_wanted(nodes),
    )


def form_of(path: str) -> str:
    """Returns how a graph file is written that cannot be read here; `''` for one that can."""
    return next((form for suffix, form in _OTHER_FORMS.items() if path.endswith(suffix)), "")


def check(path: str) -> None:
    """Parses a graph file; see `read` for errors."""
    _read(path)


def _read(path: str) -> dict[str, Any]:
    if form_of(path):
        raise errors.UnsupportedError(
            f"{printable(path)!r} is a graph {form_of(path)}, which only TensorFlow reads"
        )
    data = places.read_whole(path, _MOST_BYTES)
    with tables.translated(path):
        graph: dict[str, Any] = tables.module().read_graph(data, path.endswith(".pb"))
    return graph


def _wanted(nodes: dict[str, _Node]) -> tuple[WantedTensor, ...]:
    takers = _variables_by_output(nodes)
    wanted: dict[tuple[str, str], WantedTensor] = {}
    for node in nodes.values():
        if node.op not in _RESTORES or len(node.inputs) < 2:
            continue
        names = _strings_of(nodes, node.inputs[1])
        slices = _strings_of(nodes, node.inputs[2]) if len(node.inputs) > 2 else []
        numbers = node.dtypes or [node.dtype] * len(names)
        for output, (name, number) in enumerate(zip(names, numbers, strict=False)):
            spelled = slices[output] if output < len(slices) else ""
            taker = takers.get((node.name, output))
            shape = _full_shape(spelled) if spelled else taker.shape if taker else None
            tensor = WantedTensor(name, dtypes.name_of(number), shape, spelled)
            wanted.setdefault((name, spelled), tensor)
    return tuple(wanted[key] for key in sorted(wanted))


def _variables_by_output(nodes: dict[str, _Node]) -> dict[tuple[str, int], _Node]:
    """The variable that each output of a restore is assigned to."""
    takers: dict[tuple[str, int], _Node] = {}
    for node in nodes.values():
        if node.op not in _ASSIGNS or len(node.inputs) < 2:
            continue
        variable = nodes.get(_split(node.inputs[0])[0])
        source, output = _split(node.inputs[1])
        for _ in range(4):
            passed = nodes.get(source)
            if passed is None or passed.op not in _PASSED_ON or not passed.inputs:
                break
            source, output = _split(passed.inputs[0])
        if variable is not None and variable.op in _VARIABLES:
            takers[source, output] = variable
    return takers


def _strings_of(nodes: dict[str, _Node], name: str) -> list[str]:
    source = nodes.get(_split(name)[0])
    return source.strings if source is not None and source.op == "Const" else []


def _split(name: str) -> tuple[str, int]:
    node, _, output = name.partition(":")
    return node, int(output) if output.isdecimal() and len(output) < 10 else 0


def _full_shape(spelled: str) -> tuple[int, ...] | None:
    """The shape in a `shape_and_slice`, such as `10 3 0,5:-`."""
    words = spelled.split()[:-1]
    return tuple(map(int, words)) if all(word.isdecimal() for word in words) else None
