"""`average` writes the weighted mean, as stock would have saved it."""

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench import errors
from autodist.workbench.commands.averaging import average
from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.stored import Limits
from support.workbench.stock_writer import assert_same_files, save, slices, whole

RANDOM = np.random.default_rng(0)
LIMITS = Limits(threads=2, memory_bytes=1 << 16)
AVERAGED = ("a", "c", "h", "z")


def values(step):
    return {
        "a": RANDOM.normal(size=(1000, 33)).astype(np.float32),
        "c": (RANDOM.normal(size=5) + 1j).astype(np.complex64),
        "h": RANDOM.normal(size=7).astype(np.float16),
        "i": np.arange(5),
        "s": np.array([b"q", b"rr"], object),
        "step": np.int64(step),
        "z": RANDOM.normal(size=3),
    }


MODELS = [values(step) for step in range(3)]


def expected(models, weights):
    mean = dict(models[0])
    for name in AVERAGED:
        wide = np.complex128 if name == "c" else np.float64
        total = sum(m[name].astype(wide) * w for m, w in zip(models, weights, strict=True))
        mean[name] = (total / sum(weights)).astype(models[0][name].dtype)
    return mean


def write(prefix, model):
    return save(prefix, [whole(name, model[name]) for name in sorted(model)])


@pytest.fixture
def checkpoints(tmp_path):
    """Three checkpoints; the second one has slices."""
    written = [write(tmp_path / f"m-{step}", model) for step, model in enumerate(MODELS)]
    rules = [PartitionRule.parse(rule) for rule in ("a=0:3", "i=0:2")]
    convert(written[1], str(tmp_path / "cut"), Conversion(partitions=rules))
    return [written[0], str(tmp_path / "cut"), written[2]]


def test_mean(checkpoints, tmp_path):
    report = average(checkpoints, str(tmp_path / "t"), take=["step"], limits=LIMITS)
    assert (report.averaged, report.equal, report.taken) == (4, 2, ["step"])
    assert_same_files(tmp_path / "t", write(tmp_path / "stock", expected(MODELS, [1, 1, 1])))


def test_weighted_mean(checkpoints, tmp_path):
    average(checkpoints, str(tmp_path / "t"), weights=[3, 0, 0.5], take=["step"], limits=LIMITS)
    assert_same_files(tmp_path / "t", write(tmp_path / "stock", expected(MODELS, [3, 0, 0.5])))


def test_layout_is_that_of_the_first(checkpoints, tmp_path):
    average([checkpoints[1], checkpoints[0]], str(tmp_path / "t"), take=["step"], limits=LIMITS)
    mean = expected([MODELS[1], MODELS[0]], [1, 1])
    entries = []
    for name in sorted(mean):
        cuts = {"a": [334, 333, 333], "i": [3, 2]}.get(name)
        entries += slices(name, mean[name], 0, cuts) if cuts else [whole(name, mean[name])]
    assert_same_files(tmp_path / "t", save(tmp_path / "stock", entries))


def test_equal_checkpoints_have_themselves_as_mean(checkpoints, tmp_path):
    average([checkpoints[0]] * 2, str(tmp_path / "t"))
    assert_same_files(tmp_path / "t", checkpoints[0])


def test_unequal_integers_are_refused(checkpoints, tmp_path):
    with pytest.raises(
        errors.ArgumentError, match="'step' of int64 cannot be averaged, and differs"
    ):
        average(checkpoints, str(tmp_path / "t"))
    assert not (tmp_path / "t.index").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros((2, 2), np.float32)}, "'a' is float32 of shape"),
        ({"a": np.zeros((1000, 33))}, "float64"),
        ({"new": np.zeros(3)}, "'new' of .* is not in"),
        ({"a": None}, "'a' of .* is not in all"),
    ],
)
def test_checkpoints_of_other_models_are_refused(checkpoints, tmp_path, change, message):
    model = {name: value for name, value in {**MODELS[0], **change}.items() if value is not None}
    other = write(tmp_path / "other", model)
    with pytest.raises(errors.ArgumentError, match=message):
        average([checkpoints[0], other], str(tmp_path / "t"))


@pytest.mark.parametrize(
    "weights", [[1], [0, 0], [-1, 2], [float("nan"), 1], [float("inf"), 1], [1e308, 1e308]]
)
def test_weights_that_are_none(checkpoints, tmp_path, weights):
    with pytest.raises(errors.ArgumentError, match=r"weights (\[|for)"):
        average(checkpoints[:2], str(tmp_path / "t"), weights=weights)


def test_one_checkpoint_is_no_mean(checkpoints, tmp_path):
    with pytest.raises(errors.ArgumentError, match="two checkpoints or more"):
        average(checkpoints[:1], str(tmp_path / "t"))


def test_damage_is_not_averaged(checkpoints, tmp_path):
    data = tmp_path / "m-2.data-00000-of-00001"
    contents = bytearray(data.read_bytes())
    contents[100] ^= 1
    data.write_bytes(contents)
    with pytest.raises(errors.DamagedError, match="'a'"):
        average(checkpoints, str(tmp_path / "t"), take=["step"])
    assert not (tmp_path / "t.index").exists()


def test_the_mean_of_large_numbers_is_finite(tmp_path):
    most = np.finfo(np.float64).max
    first = [whole("a", np.array([most, -most, np.inf, np.nan, 1.0]))]
    second = [whole("a", np.array([most, -most, 1.0, 1.0, 3.0]))]
    sources = [save(tmp_path / "a", first), save(tmp_path / "b", second)]
    for weights, last in (([1.0, 1.0], 2.0), ([8e307, 8e307], 2.0), ([3e307, 9e307], 2.5)):
        average(sources, str(tmp_path / "t"), weights=weights, overwrite=True)
        mean = tf.train.load_variable(str(tmp_path / "t"), "a")
        np.testing.assert_allclose(mean, [most, -most, np.inf, np.nan, last], rtol=1e-15)
