"""Programs made of chains: what is fetched and trained, and its comparison with one node.

Each chain has placeholders, variables and an optimizer's step of its own. So a chain without a
proof does not keep another from being split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from support.drawn import arrangements, choices, computations, elementwise, images
from support.drawn.drawing import DRAWERS, CannotDrawError, Chain, tf1

__all__ = ["DRAWERS", "arrangements", "choices", "computations", "elementwise", "images"]
F, INT = tf.float64, tf.int32
OFF = 2
"""`RewriterConfig.OFF`."""
_TRIES = 30
RTOL = 1e-9


def draw_chain(
    seed: int, rows: int, *, wanted: str | None = None, most_steps: int = 6
) -> Chain | None:
    """Draws a chain; None where the wanted op could not be drawn."""
    chain = Chain(seed, rows)
    rng = chain.rng
    others = [rng.choice([1, 2, 3, 4]) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))]
    axis = rng.randrange(len(others) + 1) if rng.random() < 0.2 else 0
    first = chain.add_root(F, others, axis)
    if rng.random() < 0.6:
        chain.add_root(F, rng.choice([others, others[:1], [3]]), min(axis, 1) if others else 0)
    chain.add_root(INT, rng.choice([[], [], others[:1], [2]]))
    if rng.random() < 0.4:
        chain.add_root(tf.bool, rng.choice([[], others]))
    if rng.random() < 0.25:
        chain.add_root(tf.string, rng.choice([[], [2]]))
    for number in range(rng.randint(1, 3)):
        shape = rng.choice([[], [2, 3], [4]])
        if number == 0:
            shape = others[-1:] if axis < len(others) or not others else []
        chain.add_variable(shape)
    variable = next(i for i, (what, _) in enumerate(chain.given) if what == "variable")
    chain.add("Mul", [first, variable], lambda a, b: a * tf.exp(b))
    count = rng.randint(1, most_steps)
    names = sorted(DRAWERS)
    at = rng.randrange(count)
    for step in range(count):
        for _ in range(_TRIES):
            is_wanted = wanted is not None and step == at
            try:
                DRAWERS[wanted if is_wanted else rng.choice(names)](chain)
                break
            except CannotDrawError:
                if is_wanted and rng.random() < 0.3:
                    _bridge(chain)
        else:
            if wanted is not None and step == at:
                return None
    return chain


def _bridge(chain: Chain) -> None:
    """Adds a step after which other ops can be drawn."""
    name = chain.rng.choice(
        ["ExpandDims", "Transpose", "Cast", "Less", "MatMul", "Reshape:apart", "Mean", "OneHot"]
    )
    try:
        DRAWERS[name](chain)
    except CannotDrawError:
        return


@dataclasses.dataclass
class Built:
    """A chain in a graph.

    Attributes:
      roots: its placeholders.
      batches: by name of a placeholder: the dimension of the batch, where it is not the first.
      fetches: by name: its tensors, its loss, its gradients.
      train: the step, or None.
      variables: its variables.
    """

    roots: list[Any]
    batches: dict[str, int]
    fetches: dict[str, Any]
    train: Any
    variables: list[Any]


def build(chain: Chain, prefix: str, *, trains: bool, steps: int | None = None) -> Built:
    """Builds a chain in the default graph."""
    rng = np.random.default_rng(chain.seed)
    given, roots, variables, batches = [], [], [], {}
    for number, (what, index) in enumerate(chain.given):
        if what == "root":
            root = chain.roots[index]
            given.append(
                tf1.placeholder(chain.values[number].dtype, root.shape, f"{prefix}x{index}")
            )
            roots.append(given[-1])
            if root.axis:
                batches[given[-1].name] = root.axis
        else:
            given.append(
                tf1.get_variable(
                    f"{prefix}v{index}", initializer=chain.variables[index], use_resource=True
                )
            )
            variables.append(given[-1])
    made = chain.build(given, steps)
    fetches = {f"{prefix}t{i}": t for i, t in enumerate(made) if i >= len(given)}
    train = None
    if trains:
        loss = _loss(made[len(given) :], rng)
        pairs = tf1.train.GradientDescentOptimizer(0.1).compute_gradients(loss, variables)
        pairs = [(g, v) for g, v in pairs if g is not None]
        fetches[f"{prefix}loss"] = loss
        fetches.update({f"{prefix}g{i}": g for i, (g, _) in enumerate(pairs)})
        if pairs:
            train = tf1.train.GradientDescentOptimizer(0.1).apply_gradients(pairs)
    return Built(roots, batches, fetches, train, variables)


_LOSSES: list[Callable[[Any], Any]] = [
    tf.reduce_mean, tf.reduce_mean, tf.reduce_sum, lambda t: tf.reduce_mean(tf.square(t)), tf.nn.l2_loss,
    lambda t: tf.reduce_max(tf.tanh(t)), lambda t: tf.reduce_sum(tf.sin(t)),
]  # fmt: skip


def _loss(tensors: list[Any], rng: Any) -> Any:
    floating = [t for t in tensors if t.dtype == F]
    terms = [
        _LOSSES[rng.integers(0, len(_LOSSES))](tensor) * rng.uniform(0.3, 1.0)
        for tensor in floating[-1 - int(rng.integers(0, 2)) :]
    ]
    loss = tf.add_n(terms)
    return loss if rng.uniform() < 0.8 else tf.math.log(1.0 + tf.square(loss))


def is_sound(chain: Chain, *, trains: bool, steps: int | None = None) -> bool:
    """Whether one node builds, and trains, the chain with finite numbers."""
    try:
        values = [
            v
            for values in on_one_node([chain], trains=trains, steps=steps)[0]
            for v in values.values()
        ]
    except (ValueError, TypeError, LookupError, NotImplementedError, tf.errors.OpError):
        return False
    return all(np.isfinite(v).all() for v in values if v.dtype.kind in "fc")


def feeds_of(chain: Chain, built: Built) -> dict[Any, np.ndarray]:
    """What is fed."""
    return {t.name: root.value for t, root in zip(built.roots, chain.roots, strict=True)}


Values = list[dict[str, np.ndarray]]


def config() -> Any:
    """The options of all sessions.

    TensorFlow's arithmetic optimizer is off. It makes `tanh(reduce_max(t))` of
    `reduce_max(tanh(t))`. If `t` is the second output of an op, it takes the first in its place,
    and one node has a wrong value.
    """
    options = tf1.ConfigProto()
    options.graph_options.rewrite_options.arithmetic_optimization = OFF
    return options


def on_one_node(
    chains: list[Chain], *, trains: bool, steps: int | None = None
) -> tuple[Values, list[Built]]:
    """The values that TensorFlow gives: of the fetches, and of the variables after a step."""
    with tf.Graph().as_default(), tf1.Session(config=config()) as session:
        found = [build(c, f"c{i}/", trains=trains, steps=steps) for i, c in enumerate(chains)]
        session.run(tf1.global_variables_initializer())
        return run(session, chains, found), found


def run(session: Any, chains: list[Chain], found: list[Built]) -> Values:
    """The fetches, and the variables after one step."""
    feeds: dict[Any, Any] = {}
    fetches: dict[str, Any] = {}
    for chain, built in zip(chains, found, strict=True):
        feeds.update(feeds_of(chain, built))
        fetches.update(built.fetches)
    values = _plain(session.run(fetches, feeds))
    train = [b.train for b in found if b.train is not None]
    if not train:
        return [values]
    session.run(train, feeds)
    after = {v.name: v for b in found for v in b.variables}
    return [values, _plain(session.run(after))]


def _plain(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: _dense(v) if hasattr(v, "indices") else np.asarray(v) for name, v in values.items()
    }


def _dense(slices: Any) -> np.ndarray:
    """The value of `tf.IndexedSlices`, whose rows may come in any order."""
    found = np.zeros([8, *slices.values.shape[1:]])
    np.add.at(found, slices.indices, slices.values)
    return found


def differences(chains: list[Chain], found: Values, expected: Values) -> Iterator[str]:
    """What differs: the name, and both values."""
    single = tuple(f"c{i}/" for i, c in enumerate(chains) if c.is_single)
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in theirs.items():
            other = ours[name]
            if value.dtype.kind in "fc" and other.shape == value.shape:
                scale = max(1.0, float(np.max(np.abs(value), initial=0.0)))
                rtol = 1e-4 if name.startswith(single) else RTOL
                if np.allclose(other, value, rtol, rtol * scale, equal_nan=True):
                    continue
            elif other.shape == value.shape and np.array_equal(other, value):
                continue
            yield f"{name}: {other.shape} {other.ravel()[:6]} in place of {value.shape} {value.ravel()[:6]}"
