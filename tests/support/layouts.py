"""Values of any dtype, variables that hold their boxes, and checkpoints of them by every writer."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

Cuts = Sequence[Sequence[int]]

DTYPES = [
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
    *(tf.bool, tf.string),
]
FLOAT8 = [tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2]
# The quantised ones that variables can have; what is not TensorFlow makes through `tf.bitcast`.
BITCAST = {tf.qint8: tf.int8, tf.quint8: tf.uint8, tf.qint32: tf.int32}


def random_values(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Makes an array of any dtype that a variable can have."""
    generator = np.random.default_rng(seed)
    if dtype == tf.string:
        numbers = generator.integers(0, 10**6, shape)
        texts = [b"x" * int(n % 40) + str(n).encode() for n in np.ravel(numbers)]
        array = np.empty(shape, object)
        array[...] = np.array(texts, object).reshape(shape)
        return array
    if dtype == tf.bool:
        return generator.integers(0, 2, shape).astype(bool)
    numbers = generator.integers(0 if dtype.is_unsigned else -100, 100, shape)
    return np.asarray(numbers).astype(dtype.as_numpy_dtype)


def evenly(length: int, count: int) -> list[int]:
    """The borders of `count` parts of `length`."""
    return [length * part // count for part in range(count + 1)]


def whole(shape: Sequence[int]) -> Cuts:
    return [[0, length] for length in shape]


def set_slice(
    variable: Any, name: str, shape: Sequence[int], box: Sequence[tuple[int, int]]
) -> None:
    """Makes a variable a slice of a larger one, of a name and a shape; the box is half-open ranges."""
    offsets, sizes = [start for start, _ in box], [end - start for start, end in box]
    info = tf.Variable.SaveSliceInfo(name, list(shape), offsets, sizes)
    variable._set_save_slice_info(info)


def make_variables(
    name: str, value: Any, cuts: Cuts, *, use_resource: bool = True, device: Callable | None = None
) -> list[Any]:
    """A variable for each box of a grid; `cuts` are the borders along each dimension."""
    made = []
    for number, box in enumerate(itertools.product(*[itertools.pairwise(c) for c in cuts])):
        part = value[tuple(slice(start, end) for start, end in box)]
        is_all = np.shape(part) == np.shape(value)
        with tf.device(device(number) if device else None):
            variable = tf1.get_variable(
                name if is_all else f"{name}_part_{number}",
                initializer=tf.constant(part, tf.as_dtype(np.asarray(value).dtype))
                if np.asarray(value).dtype != object
                else tf.constant(part, tf.string),
                use_resource=use_resource,
            )
        if not is_all:
            set_slice(variable, name, value.shape, box)
        made.append(variable)
    return made


def boxes_of(value: Any, cuts: Cuts) -> list[Any]:
    """What the variables of `make_variables` hold."""
    return [
        value[tuple(slice(start, end) for start, end in box)]
        for box in itertools.product(*[itertools.pairwise(c) for c in cuts])
    ]


def blank(value: Any) -> Any:
    """Another value of the same dtype and shape."""
    array = np.asarray(value)
    return (
        np.full(array.shape, b"former", object) if array.dtype == object else np.zeros_like(array)
    )


def assert_same(actual: Any, expected: Any) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if expected.dtype == object:
        assert actual.tolist() == expected.tolist()
    else:
        assert actual.dtype == expected.dtype
        assert actual.tobytes() == expected.tobytes()


def _save(saver: Callable[[], Any], device: Callable | None = None) -> Callable:
    def write(prefix: str, values: Mapping[str, Any], cuts: Mapping[str, Cuts]) -> str:
        config = tf1.ConfigProto(device_count={"CPU": 2})
        with tf.Graph().as_default(), tf1.Session(config=config) as session:
            for name, value in values.items():
                make_variables(name, value, cuts[name], device=device)
            session.run(tf1.global_variables_initializer())
            return str(saver().save(session, prefix, write_meta_graph=False, write_state=False))

    return write


# How a checkpoint can have come about.
WRITERS: dict[str, Callable] = {
    "stock": _save(tf1.train.Saver),
    "stock sharded": _save(lambda: tf1.train.Saver(sharded=True), lambda n: f"/cpu:{n % 2}"),
    "ours": _save(Saver),
    "our slices": _save(lambda: Saver(layout="slices")),
    "our whole": _save(lambda: Saver(layout="original")),
}
