"""Every kind of variable and saveable that users of TensorFlow's `Saver` have.

A kind is a function that builds variables in the default graph, with values of its own. It returns
the ops that initialise them, or nothing if the initializers of variables and tables do. `KINDS` has
them by the names in `docs/compatibility.md`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.training.saving import saveable_object  # noqa: TID251 has no public name

tf1 = tf.compat.v1

Build = Callable[[], Any]
KINDS: dict[str, Build] = {}

# Kinds that hold slices of a larger tensor, so that the default layout differs from stock's.
PARTITIONED: set[str] = set()
# The one whose dtypes stock TensorFlow cannot restore into slices; the default keeps its slices.
KEPT_AS_SLICES = "partitioned, a dtype stock cannot cut anew"

FLOAT8_DTYPES = [tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2]
WHOLE_DTYPES = [
    tf.float16,
    tf.bfloat16,
    tf.float32,
    tf.float64,
    *FLOAT8_DTYPES,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.bool,
    tf.complex64,
    tf.complex128,
    tf.string,
]
QUANTISED_DTYPES = [tf.qint8, tf.quint8, tf.qint32]

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "Adadelta": lambda step: tf1.train.AdadeltaOptimizer(0.1),
    "Adagrad": lambda step: tf1.train.AdagradOptimizer(0.1),
    "AdagradDA": lambda step: tf1.train.AdagradDAOptimizer(0.1, step),
    "Adam": lambda step: tf1.train.AdamOptimizer(0.1),
    "Ftrl": lambda step: tf1.train.FtrlOptimizer(0.1),
    "GradientDescent": lambda step: tf1.train.GradientDescentOptimizer(0.1),
    "Momentum": lambda step: tf1.train.MomentumOptimizer(0.1, 0.9),
    "ProximalAdagrad": lambda step: tf1.train.ProximalAdagradOptimizer(0.1),
    "ProximalGradientDescent": lambda step: tf1.train.ProximalGradientDescentOptimizer(0.1),
    "RMSProp": lambda step: tf1.train.RMSPropOptimizer(0.1, momentum=0.9, centered=True),
    "SyncReplicas": lambda step: tf1.train.SyncReplicasOptimizer(
        tf1.train.AdamOptimizer(0.1), replicas_to_aggregate=1
    ),
}


def kind(name: str, *, is_partitioned: bool = False) -> Callable[[Build], Build]:
    """Lists a kind under the name that the document has for it."""

    def add(build: Build) -> Build:
        KINDS[name] = build
        if is_partitioned:
            PARTITIONED.add(name)
        return build

    return add


def values(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Returns an array that is not constant, of any dtype that a variable can have."""
    numbers = np.random.default_rng(seed).integers(1, 100, shape)
    if dtype == tf.string:
        return np.vectorize(lambda number: b"x" * number, otypes=[object])(numbers)
    return (numbers % 2 == 0 if dtype == tf.bool else numbers).astype(dtype.as_numpy_dtype)


def variable(name: str, value: Any, **arguments: Any) -> Any:
    return tf1.get_variable(name, initializer=tf.constant(value), **arguments)


@kind("resource variable")
def resource() -> None:
    variable("v", values(tf.float32, (4, 3)), use_resource=True)


@kind("ref variable")
def ref() -> None:
    variable("v", values(tf.float32, (4, 3)), use_resource=False)


@kind("any dtype")
def dtypes() -> None:
    for dtype in WHOLE_DTYPES:
        variable(dtype.name, values(dtype, (5, 3)), use_resource=True)


@kind("any dtype, ref")
def ref_dtypes() -> None:
    for dtype in WHOLE_DTYPES:
        if not dtype.name.startswith("float8"):  # TensorFlow has no ref variables of these
            variable(dtype.name, values(dtype, (5, 3)), use_resource=False)


@kind("quantised")
def quantised() -> list[Any]:
    initializers = []
    for dtype in QUANTISED_DTYPES:
        value = tf.quantization.quantize(tf.constant([1.0, 2.0, 3.0]), -1.0, 5.0, dtype).output
        made = tf1.Variable(value, name=dtype.name, use_resource=False)
        initializers.append(made.initializer)
    return initializers


@kind("scalar")
def scalars() -> None:
    variable("ref", np.float32(3.0), use_resource=False)
    variable("resource", np.int64(3), use_resource=True)


@kind("empty")
def empty() -> None:
    for use_resource in (True, False):
        name = f"resource_{use_resource}"
        variable(f"{name}/vector", np.zeros([0], np.float32), use_resource=use_resource)
        variable(f"{name}/matrix", np.zeros([3, 0], np.int32), use_resource=use_resource)
    variable("text", np.zeros([0], object), use_resource=True, dtype=tf.string)


@kind("name with odd characters")
def odd_names() -> dict[str, Any]:
    names = ["a.b-c/d_e>f", "with space", "näme/ñ", "part_10", "part_2", "x:0", "/", "a,b;c"]
    return {
        name: tf1.Variable(values(tf.float32, (2,), seed), name=f"v{seed}")
        for seed, name in enumerate(names)
    }


@kind("partitioned, fixed sizes", is_partitioned=True)
def fixed_size() -> None:
    for axis in (0, 1):
        for use_resource in (True, False):
            variable(
                f"axis_{axis}_{use_resource}",
                values(tf.float32, (7, 5)),
                partitioner=tf1.fixed_size_partitioner(3, axis=axis),
                use_resource=use_resource,
            )


@kind("partitioned, the last of three axes", is_partitioned=True)
def last_axis() -> None:
    partitioner = tf1.fixed_size_partitioner(4, axis=2)
    variable("v", values(tf.int32, (2, 3, 7)), partitioner=partitioner)


@kind("partitioned, quantised", is_partitioned=True)
def partitioned_quantised() -> None:
    for dtype in QUANTISED_DTYPES:
        variable(
            dtype.name, values(dtype, (5, 2)), partitioner=tf1.fixed_size_partitioner(2, axis=1)
        )


@kind("partitioned, minimum and maximum", is_partitioned=True)
def min_max() -> None:
    partitioner = tf1.min_max_variable_partitioner(max_partitions=4, min_slice_size=40)
    variable("v", values(tf.float64, (13, 3)), partitioner=partitioner)


@kind("partitioned, bytes of a shard", is_partitioned=True)
def axis_size() -> None:
    partitioner = tf1.variable_axis_size_partitioner(100, axis=0)
    variable("v", values(tf.int64, (17, 3)), partitioner=partitioner)


@kind(KEPT_AS_SLICES, is_partitioned=True)
def not_restorable() -> None:
    for name, value in not_restorable_values().items():
        variable(name, value, partitioner=tf1.fixed_size_partitioner(2))


def not_restorable_values() -> dict[str, Any]:
    """What the whole variables hold; stock TensorFlow's reader cannot read them from slices."""
    dtypes = [tf.float16, tf.uint16, tf.uint32, tf.uint64, tf.string, *FLOAT8_DTYPES]
    return {dtype.name: values(dtype, (5, 2)) for dtype in dtypes}


@kind("list of slices", is_partitioned=True)
def slices() -> dict[str, Any]:
    value = values(tf.float32, (4, 6))
    boxes = [((0, 1), (0, 6)), ((1, 4), (0, 2)), ((1, 4), (2, 6))]
    parts = []
    for number, ((top, bottom), (left, right)) in enumerate(boxes):
        part = tf1.Variable(value[top:bottom, left:right], name=f"part_{number}")
        extents = [bottom - top, right - left]
        part._set_save_slice_info(tf1.Variable.SaveSliceInfo("grid", [4, 6], [top, left], extents))
        parts.append(part)
    return {"grid": parts}


def train(optimizer: str, partitioner: Any) -> list[Any]:
    """A model with a dense and a looked-up variable, trained two steps."""
    step = tf1.train.get_or_create_global_step()
    with tf1.variable_scope("model", partitioner=partitioner):
        table = variable("table", values(tf.float32, (5, 2)) / np.float32(100))
        kernel = variable("kernel", values(tf.float32, (2, 3), 1) / np.float32(100))
    rows = tf1.nn.embedding_lookup(table, [0, 3, 3], partition_strategy="div")
    loss = tf.reduce_sum(tf.square(tf.matmul(rows, tf.convert_to_tensor(kernel))))
    made = OPTIMIZERS[optimizer](step)
    update = made.apply_gradients(made.compute_gradients(loss), global_step=step)
    init = tf1.global_variables_initializer()
    if optimizer == "SyncReplicas":
        return [init, tf1.local_variables_initializer(), made.ready_for_local_init_op]
    return [init, update, update]


def add_optimizers() -> None:
    for name in OPTIMIZERS:
        kind(f"slots of {name}")(lambda name=name: train(name, None))
        kind(f"partitioned slots of {name}", is_partitioned=True)(
            lambda name=name: train(name, tf1.fixed_size_partitioner(2))
        )


add_optimizers()


@kind("moving averages", is_partitioned=True)
def moving_averages() -> list[Any]:
    made = variable("v", values(tf.float32, (5, 2)), partitioner=tf1.fixed_size_partitioner(2))
    average = tf1.train.ExponentialMovingAverage(0.9)
    update = average.apply(list(made))
    return [tf1.global_variables_initializer(), update]


@kind("lookup table")
def tables() -> list[Any]:
    mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="mutable")
    dense = tf.lookup.experimental.DenseHashTable(
        tf.int64, tf.float32, 0.0, empty_key=-1, deleted_key=-2, name="dense"
    )
    keys = tf.constant([3, 1, 2], tf.int64)
    return [mutable.insert(["one"], [7]), dense.insert(keys, [3.0, 1.0, 2.0])]


class DoublingSaveable(saveable_object.SaveableObject):
    """Saves twice what a variable holds, as two tensors, the second of which is made when asked."""

    def __init__(self, held: Any, name: str) -> None:
        self.held = held
        spec = saveable_object.SaveSpec
        specs = [
            spec(held * 2, "", name + "/double", dtype=held.dtype),
            spec(lambda: tf.constant([name]), "", name + "/name", tf.string, device=held.device),
        ]
        super().__init__(held, specs, name)

    def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
        return self.held.assign(restored_tensors[0] / 2)


@kind("saveable object of a user")
def user_saveable() -> None:
    held = variable("v", values(tf.float32, (4,)), collections=["mine"], use_resource=True)
    tf1.add_to_collection(tf1.GraphKeys.SAVEABLE_OBJECTS, DoublingSaveable(held, "doubled"))
    tf1.add_to_collection(tf1.GraphKeys.LOCAL_VARIABLES, held)


@kind("iterator")
def iterator() -> list[Any]:
    dataset = tf.data.Dataset.range(10).map(lambda number: number * number).batch(2)
    made = tf1.data.make_initializable_iterator(dataset)
    tf1.add_to_collection(
        tf1.GraphKeys.SAVEABLE_OBJECTS, tf.data.experimental.make_saveable_from_iterator(made)
    )
    return [made.initializer, made.get_next()]


@kind("MirroredStrategy, mirrored")
def mirrored() -> list[Any]:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        made = tf1.get_variable("v", initializer=tf.constant(values(tf.float32, (4, 3))))
        update = strategy.extended.update(made, lambda v: v.assign_add(tf.ones_like(v)))
    return [tf1.global_variables_initializer(), update]


@kind("MirroredStrategy, slots of Adam")
def mirrored_slots() -> list[Any]:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        made = tf1.get_variable("v", initializer=tf.constant(values(tf.float32, (4, 3))))
        optimizer = tf1.train.AdamOptimizer(0.1)
        update = strategy.run(lambda: optimizer.minimize(tf.reduce_sum(made * made)))
    updates = strategy.experimental_local_results(update)
    return [tf1.global_variables_initializer(), list(updates)]


@kind("CentralStorageStrategy")
def central() -> list[Any]:
    strategy = tf1.distribute.experimental.CentralStorageStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        made = tf1.get_variable("v", initializer=tf.constant(values(tf.float32, (4, 3))))
        update = strategy.extended.update(made, lambda v: v.assign_add(tf.ones_like(v)))
    return [tf1.global_variables_initializer(), update]


def add_synchronised() -> None:
    for aggregation in ("MEAN", "SUM", "ONLY_FIRST_REPLICA"):
        kind(f"MirroredStrategy, sync-on-read, {aggregation}")(
            lambda aggregation=aggregation: synchronised(aggregation)
        )


def synchronised(aggregation: str) -> list[Any]:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        made = tf1.get_variable(
            "v",
            initializer=tf.constant(values(tf.float32, (4, 3))),
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=getattr(tf1.VariableAggregation, aggregation),
        )

        def update() -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return made.assign_add(tf.ones([4, 3]) * tf.cast(number, tf.float32))

        updates = strategy.experimental_local_results(strategy.run(update))
    return [tf1.global_variables_initializer(), list(updates)]


add_synchronised()
