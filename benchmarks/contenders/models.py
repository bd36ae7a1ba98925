"""Sessions that hold a model's variables, lying as a benchmark asks.

The variables get their values by a dense update of zeros, so that each shard and each replica has a
buffer of its own. An assignment alone would let them share what was fed, and a reader of two
replicas would read one. A table is trained once before that, by a sparse gradient: TensorFlow reads
such variables otherwise.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import AutoDist
from autodist.layout.box import Box
from autodist.strategy import StrategyBuilder
from contenders.cases import Layout, Model

if TYPE_CHECKING:
    import numpy as np

tf1 = tf.compat.v1

_SINGLE = Layout("whole", "whole")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A real variable.

    Attributes:
        variable: TensorFlow's.
        name: Of the logical variable that it is a part of.
        box: Which part.
    """

    variable: Any
    name: str
    box: Box

    def of(self, whole: Any) -> Any:
        """The part of an array or a tensor of the logical variable's shape."""
        ends = (
            start + extent for start, extent in zip(self.box.start, self.box.extent, strict=True)
        )
        return whole[tuple(itertools.starmap(slice, zip(self.box.start, ends, strict=True)))]


@dataclasses.dataclass(frozen=True)
class Held:
    """A session and what it holds.

    Attributes:
        session: Runs ops of `graph`.
        graph: That of the variables, where savers are made.
        pieces: All variables.
        disturb: Makes all values wrong.
        forget: Takes all values away.
    """

    session: Any
    graph: Any
    pieces: Sequence[Piece]
    disturb: Callable[[], None]
    forget: Callable[[], None]

    @property
    def variables(self) -> list[Any]:
        """All variables, as for a `var_list`."""
        return [piece.variable for piece in self.pieces]

    def by_name(self) -> Iterator[tuple[str, list[Piece]]]:
        """The pieces of each logical variable, in row-major order.

        Names in stock TensorFlow's order.
        """
        ordered = sorted(self.pieces, key=lambda piece: (piece.name, piece.box.start))
        for name, pieces in itertools.groupby(ordered, key=lambda piece: piece.name):
            yield name, list(pieces)

    def found(self) -> list[np.ndarray]:
        """The values of the pieces."""
        return self.session.run(self.variables)


def hold(model: Model, values: np.ndarray, layout: Layout = _SINGLE, cpus: int = 1) -> Held:
    """The variables in a session of a user's own graph.

    Args:
        model: The variables.
        values: See `Model.make_values`.
        layout: How they lie; without replicas.
        cpus: CPU devices over which the shards are spread in turn.
    """
    with tf.Graph().as_default():
        turns = itertools.cycle(range(cpus))

        def place(op: Any) -> str:
            return f"/device:CPU:{next(turns) if op.type == 'VarHandleOp' else 0}"

        with tf1.device(place):
            _make_variables(model, layout)
        pieces = [_piece(variable) for variable in tf1.global_variables()]
        return _start(model, values, pieces, lambda: tf1.Session(config=_config(cpus)))


def hold_copies(model: Model, values: np.ndarray, count: int) -> list[Held]:
    """As many sets of whole variables, in one session.

    The names are those of the first set only.
    """
    with tf.Graph().as_default():
        sets = []
        for number in range(count):
            before = len(tf1.global_variables())
            with tf1.variable_scope(f"copy_{number}"):
                _make_variables(model, _SINGLE)
            made = tf1.global_variables()[before:]
            sets.append([_renamed(_piece(variable), number) for variable in made])
        everything = [piece for of_set in sets for piece in of_set]
        held = _start(model, values, everything, lambda: tf1.Session(config=_config(1)))
        return [dataclasses.replace(held, pieces=of_set) for of_set in sets]


def hold_distributed(
    model: Model, values: np.ndarray, strategy: StrategyBuilder, cpus: int
) -> Held:
    """The variables in a distributed session of `AutoDist` over CPU devices.

    Pieces are the original graph's.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as spec:
        spec.write(f"nodes: [{{address: localhost, cpus: {list(range(cpus))}}}]")
        spec.flush()
        autodist = AutoDist(spec.name, strategy)
    with tf.Graph().as_default(), autodist.scope():
        _make_variables(model, _SINGLE)
        pieces = [_piece(variable) for variable in tf1.global_variables()]
        return _start(
            model,
            values,
            pieces,
            lambda: autodist.create_distributed_session(_config(cpus)),
            can_forget=False,
        )


def _make_variables(model: Model, layout: Layout) -> None:
    made = [
        variable
        for name in model.made_names
        for variable in _make_shards(name, model.shapes[name], layout)
    ]
    if model.has_adam:
        ids = tf1.placeholder(tf.int32, [None], name="ids")
        rows = [tf.reduce_mean(tf.gather(shard, ids)) for shard in made]
        optimizer = tf1.train.AdamOptimizer()
        tf1.add_to_collection("train", optimizer.minimize(tf.add_n(rows), var_list=made))


def _make_shards(name: str, shape: tuple[int, ...], layout: Layout) -> list[Any]:
    grid = layout.grid(shape)
    options = {"initializer": tf1.zeros_initializer(), "use_resource": True}
    if grid.is_whole:
        return [tf1.get_variable(name, shape, tf.float32, **options)]
    if len(grid.cut_axes) == 1:
        counts = list(grid.counts)
        made = tf1.get_variable(
            name, shape, tf.float32, partitioner=lambda *_, **__: counts, **options
        )
        return list(made)
    shards = []
    for number, box in enumerate(grid.boxes()):
        shard = tf1.get_variable(f"{name}/part_{number}", box.extent, tf.float32, **options)
        # TensorFlow makes no grids of its own; this is how its own saver is told of one.
        shard._set_save_slice_info(  # noqa: SLF001
            tf.Variable.SaveSliceInfo(name, list(shape), list(box.start), list(box.extent))
        )
        shards.append(shard)
    return shards


def _piece(variable: Any) -> Piece:
    info = variable._get_save_slice_info()  # noqa: SLF001 a shard says it here only
    if info is None:
        shape = tuple(variable.shape.as_list())
        return Piece(variable, variable.op.name, Box((0,) * len(shape), shape))
    return Piece(variable, info.full_name, Box(tuple(info.var_offset), tuple(info.var_shape)))


def _renamed(piece: Piece, number: int) -> Piece:
    """A variable of a set of copies, under the name that it is a copy of."""
    return dataclasses.replace(piece, name=piece.name.replace(f"copy_{number}/", ""))


def _start(
    model: Model,
    values: np.ndarray,
    pieces: Sequence[Piece],
    make_session: Callable[[], Any],
    *,
    can_forget: bool = True,
) -> Held:
    """A session in which the variables have their values. The default graph has them."""
    fed = tf1.placeholder(tf.float32, values.shape, name="values")
    shapes, ranges = model.shapes, model.ranges()
    wholes = {
        name: tf.reshape(fed[begin:end], shapes[name]) for name, (begin, end) in ranges.items()
    }
    clear = tf.group(*[p.variable.assign(tf.zeros(p.box.extent)).op for p in pieces])
    load = tf.group(*[p.variable.assign_add(p.of(wholes[p.name])).op for p in pieces])
    step = tf1.placeholder(tf.float32, [], name="step")
    disturb = tf.group(*[p.variable.assign_add(tf.fill(p.box.extent, step)).op for p in pieces])
    forget = None
    if can_forget:
        forget = tf.group(
            *[tf.raw_ops.DestroyResourceOp(resource=p.variable.handle) for p in pieces]
        )
    init = tf1.global_variables_initializer()
    train = tf1.get_collection("train")
    session = make_session()
    session.run(init)
    if train:
        ids = {f"{op.name}:0": range(8) for op in fed.graph.get_operations() if _is_ids(op)}
        session.run(train, ids)
    session.run(clear)
    session.run(load, {fed: values})
    return Held(
        session, fed.graph, pieces, _Run(session, disturb, {step: 1.0}), _Run(session, forget)
    )


def _is_ids(op: Any) -> bool:
    return op.type == "Placeholder" and op.name.split("/")[-1] == "ids"


@dataclasses.dataclass(frozen=True)
class _Run:
    """An op with what it is fed."""

    session: Any
    op: Any
    feeds: Mapping[Any, Any] = dataclasses.field(default_factory=dict)

    def __call__(self) -> None:
        if self.op is None:
            raise AssertionError("a session of AutoDist gives every variable a value")
        self.session.run(self.op, self.feeds)


def _config(cpu_count: int) -> Any:
    return tf1.ConfigProto(device_count={"CPU": cpu_count})
