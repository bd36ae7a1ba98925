"""Figures of what saves write, beside those of NumPy, in one process and however a save takes its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.evidence.figures import Evidence
from support.evidence import check, evidence_of
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1

CHECKED = SaveOptions(check=True, durable=False)


def values() -> dict[str, Any]:
    draws = np.random.default_rng(0)
    normal = draws.normal(size=(300, 700)).astype(np.float32)
    bad = draws.normal(size=20_000).astype(np.float32)
    bad[[7, 2047, 2048, 19_999]] = [np.nan, np.inf, -np.inf, np.nan]
    return {
        "normal": normal,
        "bad": bad,
        "all_bad": np.full(100, np.nan, np.float32),
        "zeros": np.zeros((50, 50), np.float32),
        "tiny": (normal[:10] * 1e-30).astype(np.float32),
        "huge": (normal[:10] * 1e30).astype(np.float32),
        "scalar": np.float32(-3),
        "empty": np.zeros((0, 3), np.float32),
        "double": normal[:40].astype(np.float64) * 1e200,
        "half": normal[:40].astype(np.float16),
        "bfloat16": normal[:40].astype(ml_dtypes.bfloat16),
        "complex": (normal[:4] + 1j * normal[4:8]).astype(np.complex64),
        "int64": draws.integers(-(2**40), 2**40, 5000),
        "int32": draws.integers(-(2**31), 2**31, 5000).astype(np.int32),
        "uint8": draws.integers(0, 256, 5000).astype(np.uint8),
        "int8": draws.integers(-128, 128, 5000).astype(np.int8),
    }


def make(value: Any, name: str, **how: Any) -> Any:
    return tf1.Variable(value, name=name, dtype=tf.dtypes.as_dtype(value.dtype), **how)


def check_all(evidence: Evidence, wanted: dict[str, Any]) -> None:
    assert set(evidence.variables) == set(wanted)
    for name, value in wanted.items():
        check(evidence.variables[name], value)


def test_figures_of_all_dtypes_are_those_of_numpy(session: Any, tmp_path: Path) -> None:
    wanted = values()
    for number, (name, value) in enumerate(wanted.items()):
        make(value, name, use_resource=number % 2 == 0)
    make(np.array(["a", "b"]), "text", use_resource=True)
    make(np.array([True, False]), "flags", use_resource=True)
    session.run(tf1.global_variables_initializer())
    prefix = Saver(options=CHECKED).save(session, str(tmp_path / "m"), 7)
    evidence = evidence_of(prefix)
    check_all(evidence, wanted)
    assert evidence.not_checked == {
        "text": "string has no figures",
        "flags": "bool has no figures",
    }
    assert (evidence.step, evidence.former, evidence.violations) == (7, None, ())
    # Beside a checkpoint that is TensorFlow's to the byte.
    stored = tf.train.load_checkpoint(prefix)
    assert (stored.get_tensor("normal") == wanted["normal"]).all()


def test_any_number_of_threads_gives_the_same_evidence(session: Any, tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    for number, size in enumerate([10, 3000, 70_000, 300_001, 900_000]):
        make(draws.normal(size=size).astype(np.float32), f"v{number}", use_resource=True)
    session.run(tf1.global_variables_initializer())
    found = set()
    for threads in (1, 2, 3, 8):
        options = SaveOptions(check=True, durable=False, threads=threads)
        prefix = Saver(options=options).save(session, str(tmp_path / str(threads) / "m"))
        found.add(Path(f"{prefix}.evidence.json").read_bytes())
    assert len(found) == 1


def by_rows(variable: Any) -> Any:
    return tf.raw_ops.ResourceScatterAdd(
        resource=variable.handle, indices=[0], updates=tf.ones([1, 64])
    )


@pytest.mark.parametrize("method", ["pages", "fork", "copy", "step", "async", "lock"])
def test_every_way_to_take_values_is_covered(method: str, session: Any, tmp_path: Path) -> None:
    draws = np.random.default_rng(2)
    tables = [
        make(draws.normal(size=(6000, 64)).astype(np.float32), name, use_resource=True)
        for name in ("table", "dense")
    ]
    session.run(tf1.global_variables_initializer())
    # From now on it is updated in place.
    session.run(by_rows(tables[0]))
    wanted = dict(zip(("table", "dense"), session.run(tables), strict=True))
    if method == "async":
        saver = Saver(options=CHECKED)
        prefix = saver.save_async(session, str(tmp_path / "m")).result()
    else:
        how: dict[str, Any] = {"consistency": "instant", "snapshot_method": method}
        if method == "step":
            how = {"consistency": "step"}
        if method == "lock":
            how = {"lock": "copy"}
        saver = Saver(options=SaveOptions(check=True, durable=False, **how))
        prefix = saver.save(session, str(tmp_path / "m"))
    check_all(evidence_of(prefix), wanted)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_figures_are_those_of_the_logical_variables(strategy: str, tmp_path: Path) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        rows = tf1.placeholder(tf.int64, [None])
        table = tf1.get_variable("table", [3000, 64])
        weights = tf1.get_variable("weights", [64, 64])
        loss = tf.reduce_mean(tf.matmul(tf.gather(table, rows), weights) ** 2)
        train = tf1.train.AdagradOptimizer(0.1).minimize(loss)
        saver = Saver(options=CHECKED)
        with autodist.create_distributed_session() as session:
            session.run(train, {rows: np.arange(64)})
            evidence = evidence_of(saver.save(session, str(tmp_path / "m")))
            wanted = dict(
                zip(
                    ("table", "weights", "table/Adagrad", "weights/Adagrad"),
                    session.run([table, weights, *_slots()]),
                    strict=True,
                )
            )
    check_all(evidence, wanted)
    # Copies that a training keeps equal do not deviate.
    assert {figures.deviation for figures in evidence.variables.values()} <= {None, 0.0}
    if "AllReduce" in strategy:
        assert evidence.variables["weights"].deviation == 0


def _slots() -> list[Any]:
    return [v for v in tf1.global_variables() if "Adagrad" in v.op.name]


def copies(name: str, values: list[Any]) -> list[Any]:
    """Variables that a saver takes for replicas of one: they have one name, and one slice of it."""
    made = []
    for number, value in enumerate(values):
        variable = make(value, f"copy{number}", use_resource=True)
        variable._set_save_slice_info(
            tf1.Variable.SaveSliceInfo(name, list(value.shape), [0, 0], list(value.shape))
        )
        made.append(variable)
    return made


@pytest.mark.parametrize("rows", [5, 9000])
def test_deviation_is_the_largest_difference_of_replicas(
    rows: int, session: Any, tmp_path: Path
) -> None:
    first = np.random.default_rng(3).normal(size=(rows, 100)).astype(np.float32)
    second, third = first.copy(), first.copy()
    variables = copies("w", [first, second, third])
    session.run(tf1.global_variables_initializer())
    saver = Saver(variables, options=CHECKED)
    assert evidence_of(saver.save(session, str(tmp_path / "m"), 1)).variables["w"].deviation == 0
    second[rows - 1, 99] += 2
    third[rows - 1, 99] -= 1
    variables[1].load(second, session)
    variables[2].load(third, session)
    figures = evidence_of(saver.save(session, str(tmp_path / "m"), 2)).variables["w"]
    assert figures.deviation == pytest.approx(3, abs=1e-5)
    check(figures, np.mean([first, second, third], axis=0, dtype=np.float64).astype(np.float32))
    second[0, 0] = np.nan
    variables[1].load(second, session)
    assert (
        evidence_of(saver.save(session, str(tmp_path / "m"), 3)).variables["w"].deviation == np.inf
    )


def test_slices_are_joined_in_the_order_of_their_elements(session: Any, tmp_path: Path) -> None:
    value = np.random.default_rng(4).normal(size=(1200, 30)).astype(np.float16)
    partitioner = tf1.fixed_size_partitioner(12)
    parts = tf1.get_variable(
        "w", value.shape, tf.float16, partitioner=partitioner, use_resource=True
    )
    session.run(tf1.global_variables_initializer())
    for number, part in enumerate(parts):
        part.load(value[100 * number : 100 * (number + 1)], session)
    prefix = Saver(options=CHECKED).save(session, str(tmp_path / "m"))
    figures = evidence_of(prefix).variables["w"]
    check(figures, value)
    assert [piece for piece, _ in figures.pieces][:3] == [
        "0,100:0,30",
        "100,100:0,30",
        "200,100:0,30",
    ]


def test_change_tells_of_checksums_and_norms(session: Any, tmp_path: Path) -> None:
    still, moved, new = (
        make(np.arange(6, dtype=np.float32) + n, f"v{n}", use_resource=True) for n in range(3)
    )
    session.run(tf1.global_variables_initializer())
    Saver([still, moved], options=CHECKED).save(session, str(tmp_path / "m"), 1)
    moved.load(np.arange(6, dtype=np.float32) * 10, session)
    # A new saver, as after a restart: it finds the former one by the state file.
    saver = Saver([still, moved, new], options=CHECKED)
    evidence = evidence_of(saver.save(session, str(tmp_path / "m"), 2))
    assert evidence.former == "m-1"
    unmoved = evidence.variables["v0"].change
    assert unmoved is not None
    assert unmoved.is_unchanged
    change = evidence.variables["v1"].change
    assert change is not None
    assert not change.is_unchanged
    assert change.former_norm == pytest.approx(np.linalg.norm(np.arange(6) + 1))
    assert evidence.variables["v2"].change is None


def test_only_some_variables_are_checked(session: Any, tmp_path: Path) -> None:
    for name in ("a/w", "b/w", "c"):
        make(np.ones(3, np.float32), name, use_resource=True)
    session.run(tf1.global_variables_initializer())
    saver = Saver(options=SaveOptions(check={"a/*", "c"}))
    evidence = evidence_of(saver.save(session, str(tmp_path / "m")))
    assert set(evidence.variables) == {"a/w", "c"}
    assert evidence.not_checked == {"b/w": "not asked for"}


def test_what_stock_ops_write_is_listed(session: Any, tmp_path: Path) -> None:
    make(np.ones(3, np.float32), "w", use_resource=True)
    session.run(tf1.global_variables_initializer())
    saver = Saver(options=CHECKED)
    for node in session.graph.get_operations():
        if node.type == "SaveV2":
            for name in [name for name in node.node_def.attr if name.startswith("_autodist")]:
                node._clear_attr(name)
    evidence = evidence_of(saver.save(session, str(tmp_path / "m")))
    assert not evidence.variables
    assert evidence.not_checked == {"w": "TensorFlow's own ops wrote it"}


def test_figures_are_scalars_of_tensorboard(session: Any, tmp_path: Path) -> None:
    make(np.array([3, 4], np.float32), "w", use_resource=True)
    session.run(tf1.global_variables_initializer())
    logdir = tmp_path / "logs"
    options = SaveOptions(check=True, evidence_logdir=str(logdir))
    Saver(options=options).save(session, str(tmp_path / "m"), 5)
    (events,) = logdir.iterdir()
    found = {
        value.tag: (event.step, value.simple_value)
        for event in tf1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert found["evidence/norm/w"] == (5, 5.0)
    assert found["evidence/max/w"] == (5, 4.0)
