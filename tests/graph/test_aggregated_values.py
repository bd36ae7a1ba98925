"""A variable that each replica keeps a copy of has one value: what is fetched, saved and restored are the same bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint32", "bool"),
)
HOW = ("MEAN", "SUM", "ONLY_FIRST_REPLICA")
SIZE = 37


def bits(value: Any) -> bytes:
    return np.asarray(value).tobytes()


def draw(dtype: str, seed: int) -> np.ndarray:
    """Values of every kind that a dtype has: random bits, so NaNs with payloads and infinities too."""
    as_numpy = tf.as_dtype(dtype).as_numpy_dtype
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.integers(0, 2, SIZE).astype(as_numpy)
    drawn = np.frombuffer(generator.bytes(SIZE * np.dtype(as_numpy).itemsize), as_numpy).copy()
    drawn[:2] = np.zeros(2, as_numpy)
    if not np.issubdtype(drawn.dtype, np.integer):
        drawn[1] = -drawn[1]
    return drawn


def is_summed(dtype: str, how: str) -> bool:
    return how == "SUM" and dtype == "bool"


def build() -> dict[str, tuple[Any, Any]]:
    """Variables of all dtypes and aggregations, each with an update that only a copy per replica can have."""
    x = tf1.placeholder(tf.float32, [None], "x")
    made = {}
    for dtype in DTYPES:
        for how in HOW:
            if is_summed(dtype, how):
                continue
            as_dtype = tf.as_dtype(dtype)
            variable = tf.Variable(
                lambda as_dtype=as_dtype: tf.zeros([SIZE], as_dtype),
                name=f"{dtype}_{how}",
                trainable=False,
                dtype=as_dtype,
                aggregation=getattr(tf.VariableAggregation, how),
            )
            made[variable.op.name] = variable, variable.assign(part_of(x, dtype)).op
    return made


def part_of(x: Any, dtype: str) -> Any:
    """What differs between replicas, computed by an op that cannot be run once more for the whole batch."""

    def compute(rows: np.ndarray) -> np.ndarray:
        return draw(dtype, int(rows[0]))

    found = tf1.py_func(compute, [x], tf.as_dtype(dtype))
    found.set_shape([SIZE])
    return found


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_what_is_fetched_saved_and_restored_are_the_same_bits(
    replicas: int, distribute: Any, tmp_path: Path
) -> None:
    strategy = AllReduce() if replicas % 2 else PartitionedPS(2, min_variable_bytes=0)
    session, made = distribute(build, strategy, replicas)
    saver = Saver([variable for variable, _ in made.values()])
    variables = {name: variable for name, (variable, _) in made.items()}
    by_tensor = {name: f"{name}:0" for name in made}
    parts = {
        name: {"value": variable.value(), "rows": tf.gather(variable, [0, 36, 5])}
        for name, variable in variables.items()
    }
    updates = [update for _, update in made.values()]

    for value in range(3):
        given = {name: draw(name.split("_")[0], 100 + value) for name in variables}
        for name, array in given.items():
            variables[name].load(array, session)
        fetched = session.run(variables)
        for name, array in given.items():
            assert bits(fetched[name]) == bits(array), f"{name} is not as it was loaded"

    fetched = session.run([updates, variables], {"x:0": np.arange(10, 10 + 2 * replicas)})[1]
    for name, array in session.run(variables).items():
        assert bits(fetched[name]) == bits(array), f"{name} beside its update"
    path = saver.save(session, str(tmp_path / "m"))
    reader = tf.train.load_checkpoint(path)
    named, read = session.run([by_tensor, parts])
    for name, array in fetched.items():
        assert bits(reader.get_tensor(name)) == bits(array), f"{name} is saved otherwise"
        assert bits(named[name]) == bits(array), name
        assert bits(variables[name].eval(session)) == bits(array), name
        assert bits(read[name]["value"]) == bits(array), name
        assert bits(read[name]["rows"]) == bits(array[[0, 36, 5]]), name

    session.run(updates, {"x:0": np.arange(50, 50 + 2 * replicas)})
    saver.restore(session, path)
    for name, array in session.run(variables).items():
        assert bits(reader.get_tensor(name)) == bits(array), f"{name} is restored otherwise"
    again = tf.train.load_checkpoint(saver.save(session, str(tmp_path / "again")))
    for name in variables:
        assert bits(again.get_tensor(name)) == bits(reader.get_tensor(name)), name


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", [*DTYPES, "float8_e5m2", "string"])
def test_the_op_refuses_or_gives_the_first_of_equal_replicas(dtype: str, how: str) -> None:
    ops = _native.ops()
    value = tf.constant(["a", "b"]) if dtype == "string" else tf.constant(draw(dtype, 7))
    if how == "SUM" and dtype in ("bool", "string"):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="SUM of 2 replicas is not defined"
        ):
            ops.autodist_aggregate_replicas(values=[value, value], aggregation=how)
        return
    others = [tf.constant(np.zeros_like(value.numpy())) if how == "SUM" else value] * 2
    found = ops.autodist_aggregate_replicas(values=[value, *others], aggregation=how)
    assert found.dtype == value.dtype
    if dtype == "string":
        assert found.numpy().tolist() == value.numpy().tolist()
    else:
        assert bits(found.numpy()) == bits(value.numpy())


def test_a_mean_is_rounded_once() -> None:
    values = [tf.constant([value], tf.float32) for value in (0.1, 0.2, 0.7)]
    found = _native.ops().autodist_aggregate_replicas(values=values, aggregation="MEAN")
    wide = np.mean([value.numpy().astype(np.float64) for value in values], axis=0)
    assert bits(found.numpy()) == bits(wide.astype(np.float32))


def test_replicas_of_different_shapes_are_refused() -> None:
    @tf.function
    def aggregate(a: Any, b: Any) -> Any:
        return _native.ops().autodist_aggregate_replicas(values=[a, b], aggregation="MEAN")

    spec = tf.TensorSpec(None, tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"differ in shape: \[2\] and \[3\]"):
        aggregate.get_concrete_function(spec, spec)(tf.zeros([2]), tf.zeros([3]))
