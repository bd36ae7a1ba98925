"""What users write between a loss and a train op means the same as on one node."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS
from support.equivalence import training
from support.equivalence.models import MODELS, Model

tf1 = tf.compat.v1
Parts = tuple[Any, Any]
pytestmark = pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")


def clip_by_global_norm(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    optimizer = tf1.train.AdamOptimizer(0.05)
    gradients, _ = zip(*optimizer.compute_gradients(loss, variables), strict=True)
    clipped, _ = tf.clip_by_global_norm(gradients, 0.3)
    return loss, optimizer.apply_gradients(zip(clipped, variables, strict=True))


def clip_each_and_scale(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    gradients = tf.gradients(loss * 128.0, variables)
    dense = [tf.clip_by_norm(tf.convert_to_tensor(g) / 128.0, 0.2) for g in gradients]
    optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
    return loss, optimizer.apply_gradients(zip(dense, variables, strict=True))


def follow_a_schedule(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    step = tf1.train.get_or_create_global_step()
    rate = tf1.train.exponential_decay(0.1, step, 3, 0.7, staircase=True)
    optimizer = tf1.train.RMSPropOptimizer(rate)
    return loss, optimizer.minimize(loss, global_step=step, var_list=variables)


def average_variables(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    step = tf1.train.get_or_create_global_step()
    train = tf1.train.GradientDescentOptimizer(0.1).minimize(loss, step, variables)
    averages = tf1.train.ExponentialMovingAverage(0.9, num_updates=step)
    with tf.control_dependencies([train]):
        return loss, averages.apply(variables)


def regularise(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute() + 0.01 * tf.add_n([tf.nn.l2_loss(v) for v in variables])
    return loss, tf1.train.AdagradOptimizer(0.1).minimize(loss, var_list=variables)


def train_with_two_optimizers(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    first_train = tf1.train.AdamOptimizer(0.05).minimize(loss, var_list=variables)
    with tf.control_dependencies([first_train]):
        second = 0.5 * tf.reduce_sum(tf.square(variables[0].read_value()))
        shrink = tf1.train.GradientDescentOptimizer(0.01)
        return loss, shrink.minimize(second, var_list=variables[:1])


def accumulate_gradients(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)]
    sums = [
        tf1.get_variable(f"sum{i}", initializer=tf.zeros_like(v)) for i, v in enumerate(variables)
    ]
    added = [s.assign_add(g) for s, g in zip(sums, gradients, strict=True)]
    optimizer = tf1.train.GradientDescentOptimizer(0.02)
    return loss, optimizer.apply_gradients(zip(added, variables, strict=True))


def train_by_hand(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    gradients = tf.gradients(loss, variables)
    pairs = zip(variables, gradients, strict=True)
    return loss, tf.group(*[v.assign_sub(0.1 * tf.convert_to_tensor(g)) for v, g in pairs])


def penalise_gradients(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    gradients = tf.gradients(loss, variables[:1])
    total = loss + 0.1 * tf.reduce_sum(tf.square(tf.convert_to_tensor(gradients[0])))
    return loss, tf1.train.GradientDescentOptimizer(0.05).minimize(total, var_list=variables)


def decay_weights_apart(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    """Adam by hand, with weight decay beside it and without a bias correction."""
    loss = compute()
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)]
    gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
    updates = []
    for i, (v, g) in enumerate(zip(variables, gradients, strict=True)):
        m = tf1.get_variable(f"m{i}", initializer=tf.zeros_like(v), trainable=False)
        s = tf1.get_variable(f"s{i}", initializer=tf.zeros_like(v), trainable=False)
        next_m, next_s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * tf.square(g)
        step = next_m / (tf.sqrt(next_s) + 1e-6) + 0.01 * v
        updates += [v.assign(v - 0.01 * step), m.assign(next_m), s.assign(next_s)]
    return loss, tf.group(*updates)


def scale_by_norms(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    """The step of each variable is proportional to its norm."""
    loss = compute()
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)]
    pairs = zip(variables, gradients, strict=True)
    return loss, tf.group(*[v.assign_sub(0.1 * g * tf.norm(v) / tf.norm(g)) for v, g in pairs])


PROGRAMS = [
    clip_by_global_norm,
    clip_each_and_scale,
    follow_a_schedule,
    average_variables,
    regularise,
    train_with_two_optimizers,
    accumulate_gradients,
    train_by_hand,
    decay_weights_apart,
    scale_by_norms,
]
LAYOUTS = [
    (lambda: PartitionedPS(3, min_variable_bytes=0), 2),
    (AllReduce, 3),
    (lambda: PartitionedPS(2, axis=1, min_variable_bytes=0), 3),
]


def compare(model: Model, program: Callable[..., Parts], autodist: Any) -> None:
    def build() -> training.Program:
        return training.build(model, lambda: None, lambda _, *parts: program(*parts))

    batches = training.draw_batches(model)
    ours = training.train_distributed(autodist, build, batches)
    training.assert_equal(ours, training.train_on_one_node(build, batches))


@pytest.mark.parametrize("model", ["mlp", "embedding"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_program_trains_as_on_one_node(
    program: Callable[..., Parts], model: str, make_autodist: Any
) -> None:
    number = PROGRAMS.index(program) + (model == "mlp")
    strategy, replicas = LAYOUTS[number % len(LAYOUTS)]
    compare(MODELS[model], program, make_autodist(strategy(), replicas))


def learn_from_a_step(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    """The loss after a step of gradient descent is minimised, through that step (MAML)."""
    loss = compute()
    first, *others = tf.gradients(loss, variables)
    stepped = variables[0] - 0.3 * tf.convert_to_tensor(first)
    after = tf.reduce_sum(tf.square(stepped)) * loss + tf.add_n([tf.norm(g) for g in others])
    return loss, tf1.train.GradientDescentOptimizer(0.01).minimize(after, var_list=variables)


@pytest.mark.parametrize(
    "program", [penalise_gradients, learn_from_a_step], ids=lambda p: p.__name__
)
@pytest.mark.parametrize(("model", "layout"), [("mlp", 1), ("embedding", 0), ("embedding", 2)])
def test_second_derivatives_train_as_on_one_node(
    program: Callable[..., Parts], model: str, layout: int, make_autodist: Any
) -> None:
    strategy, replicas = LAYOUTS[layout]
    compare(MODELS[model], program, make_autodist(strategy(), replicas))


def keras_program(keras: Any) -> training.Program:
    x = tf1.placeholder(tf.float64, [None, 5], "x")
    y = tf1.placeholder(tf.float64, [None, 1], "y")
    layers, start = keras.layers, keras.initializers.GlorotUniform
    hidden = layers.Dense(7, "tanh", kernel_initializer=start(seed=1), dtype="float64")(x)
    output = layers.Dense(1, kernel_initializer=start(seed=2), dtype="float64")(hidden)
    loss = tf.reduce_mean(tf.square(output - y))
    train = tf1.train.AdamOptimizer(0.05).minimize(loss)
    return training.Program(loss, train, output, {"x": x, "y": y})


def draw_keras_batches() -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(3)
    rows = training.BATCHES
    return [{"x": generator.normal(size=(n, 5)), "y": generator.normal(size=(n, 1))} for n in rows]


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
@pytest.mark.parametrize("layout", [0, 1])
def test_keras_layers_train_as_on_one_node(keras: str, layout: int, make_autodist: Any) -> None:
    module, batches = pytest.importorskip(keras), draw_keras_batches()
    strategy, replicas = LAYOUTS[layout]

    def build() -> training.Program:
        return keras_program(module)

    ours = training.train_distributed(make_autodist(strategy(), replicas), build, batches)
    training.assert_equal(ours, training.train_on_one_node(build, batches))


def update_only_the_rows_seen(compute: Callable[[], Any], variables: list[Any]) -> Parts:
    loss = compute()
    table = variables[0]
    momentum = tf1.get_variable("momentum", initializer=tf.zeros_like(table), trainable=False)
    gradient = tf.gradients(loss, table)[0]
    rows, position = tf.unique(gradient.indices)
    summed = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))
    fresh = 0.9 * tf.gather(momentum, rows) + 0.1 * summed
    kept = momentum.scatter_update(tf.IndexedSlices(fresh, rows))
    with tf.control_dependencies([kept]):
        return loss, tf.group(table.scatter_sub(tf.IndexedSlices(0.5 * fresh, rows)))


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_sparse_updates_by_hand_train_as_on_one_node(layout: int, make_autodist: Any) -> None:
    strategy, replicas = LAYOUTS[layout]
    program = update_only_the_rows_seen
    compare(MODELS["embedding"], program, make_autodist(strategy(), replicas))


SPARSE_ROWS = {
    "repeated": [[3, 3, 3], [3, 7, 3], [7, 3, 7]],
    "unsorted": [[10, 0, 5], [9, 1, 4], [2, 8, 6]],
    "boundaries": [[0, 3, 4], [7, 8, 10], [10, 0, 0]],
}


@pytest.mark.parametrize("rows", SPARSE_ROWS)
@pytest.mark.parametrize("optimizer", ["AdamOptimizer", "AdagradOptimizer", "FtrlOptimizer"])
def test_sparse_gradients_train_as_on_one_node(
    rows: str, optimizer: str, make_autodist: Any
) -> None:
    model = MODELS["embedding"]
    batches = training.draw_batches(model, rows=(3,), repeat=4)
    for batch in batches:
        batch["ids"] = np.array(SPARSE_ROWS[rows])

    def build() -> training.Program:
        return training.build(model, lambda: getattr(tf1.train, optimizer)(0.1))

    strategy = PartitionedPS(3, min_variable_bytes=0)
    ours = training.train_distributed(make_autodist(strategy), build, batches)
    training.assert_equal(ours, training.train_on_one_node(build, batches))
