"""Makes one checkpoint of each kind with stock TensorFlow, which no other process of a test imports.

python -m support.workbench.stock_checkpoints DIRECTORY

Writes into the directory, beside the checkpoints, `expected.json`: for each prefix what stock's own
tools say of its variables (`tf.train.list_variables`, `load_checkpoint`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
DTYPES = (
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16",
    "uint32", "uint64", "bool", "complex64", "complex128", "float8_e5m2", "float8_e4m3fn",
)  # fmt: skip


def _values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.arange(int(np.prod(shape))).reshape(shape) % 7 - 2 * (dtype[0] in "fibc")
    return numbers.astype(np.float32).astype(tf.as_dtype(dtype).as_numpy_dtype)


def _save(prefix: str, build: object, **options: object) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        build()
        session.run(v1.global_variables_initializer())
        v1.train.Saver(**options).save(session, prefix)


def _many_dtypes() -> None:
    for dtype in DTYPES:
        v1.get_variable(f"d/{dtype}", initializer=tf.constant(_values(dtype, (3, 4))))
    v1.get_variable("scalar", initializer=3.5)
    v1.get_variable("empty", initializer=np.zeros((0, 5), np.float32))
    v1.get_variable("text", initializer=tf.constant(["a", "", "Grüße", "x" * 300]))


def _v1_dtypes() -> None:
    for dtype in (
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "bool",
        "complex64",
    ):
        v1.get_variable(f"d/{dtype}", initializer=tf.constant(_values(dtype, (3, 4))))
    v1.get_variable("text", initializer=tf.constant(["a", "", "bc"]))
    v1.get_variable("scalar", initializer=-1.5)


def _partitioned() -> None:
    for axis in (0, 1):
        shape = [10, 3] if axis == 0 else [4, 9]
        parts = [4, 1] if axis == 0 else [1, 3]
        with v1.variable_scope("p", partitioner=lambda *, shape, dtype, parts=parts: parts):
            v1.get_variable(
                f"axis{axis}",
                initializer=tf.constant(np.arange(np.prod(shape), dtype=np.float32).reshape(shape)),
            )
    v1.get_variable("whole", initializer=tf.range(5))


def _two_devices() -> None:
    for number in range(4):
        with tf.device(f"/cpu:{number % 2}"):
            v1.get_variable(f"v{number}", initializer=tf.constant(_values("float32", (8,))))


def _save_tensors(prefix: str, tensors: dict[str, object]) -> None:
    names = sorted(tensors)
    values = [tensors[name] for name in names]
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )


def _save_pairs(root: Path) -> None:
    """Two checkpoints that differ in every way, and two whose names differ by their scope."""
    table = np.arange(40, dtype=np.float32).reshape(10, 4)
    changed = table.copy()
    changed[3, 1] += 0.5
    changed[7] = np.nan
    (root / "pairs").mkdir()
    both = {"same": table, "nan": changed}
    first = both | {"x": table, "gone": table, "shape": table, "dtype": table, "scalar": 1.0}
    first |= {"large": np.int64([1 << 62, 5]), "text": ["a", "b"]}
    second = both | {"x": changed, "new": table, "shape": table[:5], "scalar": 2.0}
    second |= {"dtype": table.astype(np.float64), "large": np.int64([(1 << 62) + 1, 5])}
    _save_tensors(f"{root}/pairs/a", first)
    _save_tensors(f"{root}/pairs/b", second | {"text": ["a", "c"]})
    layers = {f"layer_{i}/{part}": table[i] for i in range(4) for part in ("kernel", "bias")}
    _save_tensors(f"{root}/pairs/old", {f"model/{name}": v for name, v in layers.items()})
    _save_tensors(f"{root}/pairs/new", {f"net/encoder/{name}": v for name, v in layers.items()})


def _save_large(root: Path) -> None:
    (root / "large").mkdir()
    parts = tf.split(tf.range(100_000, dtype=tf.float32), 100_000)
    names = [f"layer_{i // 100}/block/v{i}/weights" for i in range(100_000)]
    _save_tensors(f"{root}/large/many", dict(zip(names, parts, strict=True)))
    _save_tensors(f"{root}/large/big", {"big": tf.ones([24, 1 << 20]), "small": tf.zeros([3])})


def _describe(prefix: str) -> dict[str, object]:
    reader = tf.train.load_checkpoint(prefix)
    variables = {}
    for name, shape in tf.train.list_variables(prefix):
        dtype = reader.get_variable_to_dtype_map()[name]
        variables[name] = {
            "dtype": dtype.name,
            "shape": shape,
            "values": _read(reader, name, dtype),
        }
    return variables


def _read(reader: object, name: str, dtype: tf.DType) -> list[object] | None:
    """The elements, or None of a dtype that stock's reader refuses."""
    try:
        value = reader.get_tensor(name)
    except tf.errors.UnimplementedError:
        return None
    if dtype == tf.string:
        return [v.decode("latin-1") for v in np.ravel(np.array(value, object))]
    return _plain(np.asarray(value))


def _plain(value: np.ndarray) -> list[object]:
    if np.iscomplexobj(value):
        return [[float(v.real), float(v.imag)] for v in value.ravel()]
    return [float(v) for v in value.ravel()]


def main(directory: str) -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    root = Path(directory)
    for name in (
        "dtypes",
        "sliced",
        "sharded",
        "v1",
        "v1_sharded",
        "v1_sliced",
        "objects",
        "keras",
    ):
        (root / name).mkdir(parents=True)
    _save(f"{root}/dtypes/model.ckpt", _many_dtypes)
    _save(f"{root}/sliced/model.ckpt", _partitioned)
    _save(f"{root}/sharded/model.ckpt", _two_devices, sharded=True)
    old = v1.train.SaverDef.V1
    _save(f"{root}/v1/model.ckpt", _v1_dtypes, write_version=old)
    _save(f"{root}/v1_sharded/model.ckpt", _two_devices, write_version=old, sharded=True)
    _save(f"{root}/v1_sliced/model.ckpt", _partitioned, write_version=old)
    weights = tf.Variable(_values("float32", (4, 2)), name="w")
    optimizer_step = tf.Variable(7, dtype=tf.int64)
    tf.train.Checkpoint(w=weights, step=optimizer_step).save(f"{root}/objects/model.ckpt")
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    model.compile(optimizer="adam", loss="mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    tf.train.Checkpoint(model=model).write(f"{root}/keras/model.ckpt")
    _save_pairs(root)
    _save_large(root)
    module = tf.Module()
    module.w = weights
    tf.saved_model.save(module, f"{root}/saved_model")
    prefixes = {
        name: f"{root}/{name}/model.ckpt" for name in ("dtypes", "sliced", "sharded", "keras")
    }
    prefixes |= {"objects": f"{root}/objects/model.ckpt-1", "v1": f"{root}/v1/model.ckpt"}
    prefixes |= {"v1_sharded": f"{root}/v1_sharded/model.ckpt-?????-of-00002"}
    prefixes |= {"v1_sliced": f"{root}/v1_sliced/model.ckpt"}
    prefixes |= {"saved_model": f"{root}/saved_model/variables/variables"}
    expected = {}
    for name, prefix in prefixes.items():
        expected[name] = {"prefix": prefix, "variables": _describe(prefix)}
    (root / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(sys.argv[1])
