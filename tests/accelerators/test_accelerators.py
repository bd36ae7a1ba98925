"""Variables in memory that the host cannot touch: they are copied block by block, and never as a whole."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.options import RestoreOptions, SaveOptions
from autodist.checkpoint.saver import Saver
from support.accelerators.hidden import BLOCK_BYTES, DEVICE, RING_BYTES, Hidden
from support.clusters.ps_job import files

tf1 = tf.compat.v1

SOFT = tf1.ConfigProto(allow_soft_placement=True)


def values() -> dict[str, Any]:
    """Values of many sizes and dtypes; the largest takes 12 blocks."""
    draw = np.random.default_rng(1)
    return {
        "large": draw.normal(size=(3, 1 << 20)).astype(np.float32),
        "odd": draw.normal(size=(3, 100_003)).astype(np.float64),
        "bytes": draw.integers(-128, 127, size=2_000_001).astype(np.int8),
        "half": draw.normal(size=(5, 7)).astype(np.float16),
        "flags": draw.integers(0, 2, size=1001).astype(bool),
        "scalar": np.float32(3.5),
        "none": np.zeros([0, 3], np.float32),
        "step": np.int32(7),
    }


def make(of: dict[str, Any], device: str = DEVICE) -> dict[str, Any]:
    """Makes variables on a device, as far as TensorFlow has variables of their dtypes there."""
    with tf.device(device):
        return {
            name: tf1.get_variable(
                name, value.shape, value.dtype, tf1.zeros_initializer(), use_resource=True
            )
            for name, value in of.items()
        }


def load(session: Any, variables: dict[str, Any], of: dict[str, Any]) -> None:
    for name, variable in variables.items():
        variable.load(of[name], session)


@contextlib.contextmanager
def opened(of: dict[str, Any], device: str = DEVICE) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A session with variables that have values."""
    with tf.Graph().as_default(), tf1.Session(config=SOFT) as session:
        variables = make(of, device)
        load(session, variables, of)
        yield session, variables


def saver(**options: Any) -> Saver:
    return Saver(options=SaveOptions(durable=False, **options))


def save(made: Saver, session: Any, prefix: Path) -> None:
    made.save(session, str(prefix), write_meta_graph=False, write_state=False)


def assert_bounded(hidden: Hidden) -> None:
    """Asserts that nothing larger than a block was copied, and nothing is left."""
    assert hidden.get("largest_copy_bytes") <= BLOCK_BYTES
    assert hidden.get("most_pending_bytes") <= RING_BYTES
    assert hidden.get("most_pinned_bytes") <= RING_BYTES
    assert hidden.get("pending_bytes") == 0
    assert hidden.get("pinned_bytes") == 0


def assert_values(session: Any, variables: dict[str, Any], of: dict[str, Any]) -> None:
    for name, value in session.run(variables).items():
        np.testing.assert_array_equal(value, of[name], err_msg=name)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_save_writes_the_bytes_of_stock_block_by_block(
    hidden: Hidden, tmp_path: Path, threads: int
) -> None:
    with opened(values()) as (session, variables):
        assert variables["large"].device.endswith(DEVICE)
        ours, stock = saver(threads=threads), tf1.train.Saver()
        stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
        assert hidden.get("largest_copy_bytes") > BLOCK_BYTES  # what stock copies
        hidden.forget()
        save(ours, session, tmp_path / "ours")
        assert files(tmp_path / "ours") == files(tmp_path / "stock")
        assert hidden.get("copies_out") >= 17
        assert_bounded(hidden)


@pytest.mark.parametrize("verify", ["before", "during", "swap"])
@pytest.mark.parametrize("is_live", [False, True])
def test_a_restore_writes_block_by_block(
    hidden: Hidden, tmp_path: Path, verify: str, is_live: bool, caplog: pytest.LogCaptureFixture
) -> None:
    of = values()
    with opened(of, "/cpu:0") as (session, _):
        save(saver(), session, tmp_path / "m")
    with tf.Graph().as_default(), tf1.Session(config=SOFT) as session:
        variables = make(of)
        if is_live:
            load(session, variables, {name: np.zeros_like(value) for name, value in of.items()})
        restoring = Saver(restore_options=RestoreOptions(verify=verify))
        hidden.forget()
        restoring.restore(session, str(tmp_path / "m"))
        assert hidden.get("copies_in") >= 17
        assert_bounded(hidden)
        assert_values(session, variables, of)
    assert ("free memory is left to training" in caplog.text) == (verify == "swap" and is_live)


@pytest.mark.parametrize("axis", [0, 1])
def test_shards_are_saved_as_one_variable_and_restored_into_other_shards(
    hidden: Hidden, tmp_path: Path, axis: int
) -> None:
    value = np.random.default_rng(2).normal(size=(700, 900)).astype(np.float32)
    with opened({"v": value}, "/cpu:0") as (session, _):
        stock = tf1.train.Saver()
        stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
    for count in (3, 2):
        with tf.Graph().as_default(), tf1.Session(config=SOFT) as session:
            shards = []
            for index in range(count):
                with tf.device(f"/device:HIDDEN:{index % 2}"), tf1.variable_scope("", reuse=False):
                    cut = np.array_split(np.arange(value.shape[axis]), count)[index]
                    part = value.take(cut, axis)
                    shard = tf1.get_variable(
                        f"v_{index}",
                        part.shape,
                        tf.float32,
                        tf1.zeros_initializer(),
                        use_resource=True,
                    )
                    offset = [0, 0]
                    offset[axis] = int(cut[0])
                    shard._set_save_slice_info(
                        tf1.Variable.SaveSliceInfo("v", list(value.shape), offset, list(part.shape))
                    )
                    shards.append((shard, part))
            ours = Saver([shard for shard, _ in shards], options=SaveOptions(durable=False))
            hidden.forget()
            ours.restore(session, str(tmp_path / "stock"))
            for shard, part in shards:
                np.testing.assert_array_equal(session.run(shard), part)
            hidden.forget()
            save(ours, session, tmp_path / f"ours{count}")
            assert files(tmp_path / f"ours{count}") == files(tmp_path / "stock")
            assert_bounded(hidden)


def test_replicas_become_one_value(hidden: Hidden, tmp_path: Path) -> None:
    from autodist import _native

    ops = _native.ops()
    draw = np.random.default_rng(3)
    copies = [draw.normal(size=(1 << 19) + 5).astype(np.float32) for _ in range(3)]
    devices = ["/device:HIDDEN:0", "/device:HIDDEN:1", "/cpu:0"]
    with tf.Graph().as_default(), tf1.Session(config=SOFT) as session:
        pins = []
        for index, (device, copy) in enumerate(zip(devices, copies, strict=True)):
            with tf.device(device):
                variable = tf1.get_variable(
                    f"v{index}", copy.shape, tf.float32, tf1.zeros_initializer(), use_resource=True
                )
                variable.load(copy, session)
                pins.append(ops.autodist_pin_variables([variable.handle]))
        saved = ops.autodist_save(
            prefix=str(tmp_path / "m"), tensor_names=["v"] * 3, shape_and_slices=[""] * 3,
            aggregations=["MEAN"] * 3, pins=pins, tensors=[], value_index=[0, 1, 2], durable=False,
        )  # fmt: skip
        hidden.forget()
        session.run(saved)
        assert_bounded(hidden)
    found = tf.train.load_variable(str(tmp_path / "m"), "v")
    np.testing.assert_allclose(found, np.mean(copies, axis=0, dtype=np.float64), atol=1e-6)


class Training:
    """Updates a variable while a save copies it."""

    def __init__(self, hidden: Hidden, session: Any, variable: Any, *, in_place: bool) -> None:
        """Makes the update."""
        self._update = hidden.add(variable, 1.0, in_place=in_place)
        self._session = session
        self._hidden = hidden
        self.updates = 0

    def run(self) -> None:
        """Updates once."""
        self._session.run(self._update)
        self.updates += 1

    def during(self, work: Any) -> None:
        """Updates without pause while `work` is called; begins once it copies."""
        ended = threading.Event()

        def train() -> None:
            while not self._hidden.get("copies_out") and not ended.is_set():
                time.sleep(0.001)
            while not ended.is_set():
                self.run()

        thread = threading.Thread(target=train)
        thread.start()
        try:
            work()
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("in_place", "options"),
    [
        (False, {}),
        (True, {}),
        (True, {"lock": "copy"}),
        (False, {"consistency": "instant"}),
        (True, {"consistency": "instant"}),
        (True, {"consistency": "instant", "snapshot_method": "copy"}),
    ],
)
def test_a_save_beside_updates_holds_one_state(
    hidden: Hidden, tmp_path: Path, in_place: bool, options: dict[str, Any]
) -> None:
    with opened({"v": np.zeros(3 << 20, np.float32)}) as (session, variables):
        training = Training(hidden, session, variables["v"], in_place=in_place)
        made = saver(**options)
        training.run()
        hidden.set("copy_us", 3000)
        hidden.forget()
        training.during(lambda: save(made, session, tmp_path / "m"))
        assert training.updates > 1
        assert_bounded(hidden)
        copies = in_place and options
        assert hidden.get("copies_inside") == (1 if copies else 0)
    found = tf.train.load_variable(str(tmp_path / "m"), "v")
    assert found[0] >= 1
    assert (found == found[0]).all()


@pytest.mark.parametrize("method", ["pages", "fork"])
def test_a_method_that_cannot_see_the_device_is_refused(
    hidden: Hidden, tmp_path: Path, method: str
) -> None:
    with opened({"v": np.zeros(100, np.float32)}) as (session, variables):
        training = Training(hidden, session, variables["v"], in_place=True)
        made = saver(consistency="instant", snapshot_method=method)
        save(made, session, tmp_path / "dense")
        training.run()
        with pytest.raises(
            tf.errors.FailedPreconditionError, match=f"not by '{method}': choose snapshot_method="
        ):
            save(made, session, tmp_path / "rows")
        assert not list(tmp_path.glob("rows*"))


def test_copies_on_the_device_are_bounded(hidden: Hidden, tmp_path: Path) -> None:
    with opened({"v": np.zeros(1 << 20, np.float32)}) as (session, variables):
        training = Training(hidden, session, variables["v"], in_place=True)
        small = saver(consistency="instant", snapshot_memory_bytes=1 << 20)
        copying = saver(lock="copy")
        training.run()
        with pytest.raises(tf.errors.FailedPreconditionError, match="allow more snapshot_memory"):
            save(small, session, tmp_path / "m")
        hidden.set("memory_bytes", hidden.get("used_bytes") + 100)
        with pytest.raises(tf.errors.ResourceExhaustedError, match=r"no memory on .*HIDDEN:0"):
            save(copying, session, tmp_path / "m")
        assert not list(tmp_path.glob("m*"))


def test_a_copy_that_fails_ends_the_save_before_its_commit(hidden: Hidden, tmp_path: Path) -> None:
    with opened(values()) as (session, _):
        made = saver()
        save(made, session, tmp_path / "m")
        before = files(tmp_path / "m")
        names = sorted(tmp_path.iterdir())
        for failing in (0, 1, 7, 16):
            hidden.set("failing_copy", failing)
            with pytest.raises(
                tf.errors.InternalError, match=r"variable .*HIDDEN.*link .* is down"
            ):
                save(made, session, tmp_path / "m")
            assert hidden.get("pinned_bytes") == hidden.get("pending_bytes") == 0
            assert files(tmp_path / "m") == before
            assert sorted(tmp_path.iterdir()) == names
        save(made, session, tmp_path / "m")
        assert files(tmp_path / "m") == before


def test_an_upload_that_fails_leaves_no_half_value(hidden: Hidden, tmp_path: Path) -> None:
    of = values()
    with opened(of) as (session, variables):
        made = saver()
        save(made, session, tmp_path / "m")
        load(session, variables, {name: np.ones_like(value) for name, value in of.items()})
        hidden.set("failing_copy", 5)
        with pytest.raises(tf.errors.InternalError, match="link to the device is down"):
            made.restore(session, str(tmp_path / "m"))
        assert hidden.get("pinned_bytes") == hidden.get("pending_bytes") == 0
        for name, variable in variables.items():
            # Its former value, or none: never some of both.
            with contextlib.suppress(tf.errors.FailedPreconditionError):
                assert (session.run(variable) == np.ones_like(of[name])).all(), name
        made.restore(session, str(tmp_path / "m"))
        assert_values(session, variables, of)


def test_a_save_that_is_cancelled_leaves_nothing(hidden: Hidden, tmp_path: Path) -> None:
    with opened({"v": np.zeros(8 << 20, np.float32)}) as (session, _):
        made = saver()
        hidden.set("copy_us", 20_000)
        hidden.forget()
        handle = made.save_async(session, str(tmp_path / "m"), write_meta_graph=False)
        while not hidden.get("copies_out"):
            time.sleep(0.001)
        assert handle.cancel()
        assert isinstance(handle.exception(), tf.errors.CancelledError)
        assert hidden.get("pinned_bytes") == hidden.get("pending_bytes") == 0
        assert not list(tmp_path.glob("m*"))
        # Less than all 32 blocks.
        assert hidden.get("copies_out") < 25


def test_a_device_without_such_memory_is_refused_by_name(hidden: Hidden, tmp_path: Path) -> None:
    with opened(values()) as (session, variables):
        made = saver()
        save(made, session, tmp_path / "m")
        before = files(tmp_path / "m")
        hidden.set("tells_memory", 0)
        with pytest.raises(tf.errors.FailedPreconditionError, match="AUTODIST_ACCELERATORS"):
            save(made, session, tmp_path / "m")
        hidden.set("tells_memory", 1)
        hidden.set("hands_on", 1)
        with pytest.raises(tf.errors.FailedPreconditionError, match="AUTODIST_ACCELERATORS"):
            made.restore(session, str(tmp_path / "m"))
        hidden.set("hands_on", 0)
        made.restore(session, str(tmp_path / "m"))
        assert_values(session, variables, values())
        assert files(tmp_path / "m") == before


def test_other_devices_are_read_and_written_by_whole_values(loaded: Hidden, tmp_path: Path) -> None:
    with loaded.present(accelerators=""), opened(values()) as (session, variables):
        made = saver()
        save(made, session, tmp_path / "m")
        assert loaded.get("largest_copy_bytes") > BLOCK_BYTES
        load(session, variables, {name: np.ones_like(value) for name, value in values().items()})
        made.restore(session, str(tmp_path / "m"))
        assert_values(session, variables, values())


def test_a_checkpoint_of_the_v1_format_is_restored(hidden: Hidden, tmp_path: Path) -> None:
    of = {"v": values()["large"]}
    with opened(of, "/cpu:0") as (session, _):
        old = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
        old.save(session, str(tmp_path / "old"), write_meta_graph=False)
    with tf.Graph().as_default(), tf1.Session(config=SOFT) as session:
        variables = make(of)
        saver().restore(session, str(tmp_path / "old"))
        assert_values(session, variables, of)
