"""Memory, aliases, and restoring while others use the variables."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support import layouts

tf1 = tf.compat.v1

MIB = 1 << 20


def status_bytes(field: str) -> int:
    """Reads a size from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def filled(shape: list[int], cuts: layouts.Cuts, seed: int) -> list[Any]:
    """Shards of one variable, whose values are made by the session, and not held by the graph."""
    value = np.broadcast_to(np.float32(seed), shape)
    made = []
    for number, box in enumerate(layouts.boxes_of(value, cuts)):
        variable = tf1.get_variable(
            f"v_part_{number}",
            initializer=tf.random.uniform(box.shape, seed=seed),
            use_resource=True,
        )
        made.append(variable)
    starts = [0, *np.cumsum([v.shape[0] for v in made])]
    for variable, start in zip(made, starts, strict=False):
        variable._set_save_slice_info(
            tf.Variable.SaveSliceInfo("v", shape, [int(start), 0], variable.shape.as_list())
        )
    return made


@pytest.mark.parametrize("verify", ["before", "during", "swap"])
@pytest.mark.parametrize("is_initialized", [True, False])
def test_restoring_takes_no_second_model_unless_it_swaps(
    is_initialized: bool, verify: str, tmp_path: Path
) -> None:
    shape, count = [2048, 4096], 8  # 32 MiB
    cuts = [layouts.evenly(2048, count), [0, 4096]]
    size_bytes = 4 * 2048 * 4096
    shards = filled(shape, cuts, 3)
    sums = [tf.reduce_sum(shard) for shard in shards]
    saver = Saver(verify=verify)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        expected = session.run(sums)
        prefix = saver.save(session, str(tmp_path / "m"), write_meta_graph=False)
    with tf1.Session() as session:
        if is_initialized:
            session.run([shard.initializer for shard in shards])
        saver.restore(session, prefix)  # builds what the session keeps
        if not is_initialized:
            session.run([tf.raw_ops.DestroyResourceOp(resource=s.handle) for s in shards])
        forget_peak()
        before, read = status_bytes("VmRSS"), bytes_read()
        saver.restore(session, prefix)
        extra = status_bytes("VmHWM") - before
        passes = 2 if is_initialized and verify == "before" else 1
        assert bytes_read() - read < passes * 1.02 * size_bytes + 64 * 1024
        # What was freed before may still be counted, so this is a bound from below the model.
        is_new = not is_initialized or verify == "swap"
        assert extra < (size_bytes if is_new else 0) + 12 * MIB
        assert session.run(sums) == expected


@pytest.mark.parametrize("verify", ["before", "swap"])
def test_a_value_that_was_read_before_does_not_change(verify: str, tmp_path: Path) -> None:
    ones, twos = np.ones([300, 1000], np.float32), np.full([300, 1000], 2, np.float32)
    prefix = layouts.WRITERS["ours"](
        str(tmp_path / "m"), {"v": ones}, {"v": layouts.whole([300, 1000])}
    )
    [v] = layouts.make_variables("v", twos, layouts.whole([300, 1000]))
    saver = Saver(verify=verify)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        fetched = session.run(v)
        saver.restore(session, prefix)
        assert np.all(fetched == 2)
        again = session.run(v)
        assert np.all(again == 1)
        session.run(v.assign(v * 3))
        saver.restore(session, prefix)
        assert np.all(again == 1)


@pytest.mark.parametrize("verify", ["before", "swap"])
def test_a_value_that_a_running_step_holds_does_not_change(verify: str, tmp_path: Path) -> None:
    ones, twos = np.ones([300, 1000], np.float32), np.full([300, 1000], 2, np.float32)
    prefix = layouts.WRITERS["ours"](
        str(tmp_path / "m"), {"v": ones}, {"v": layouts.whole([300, 1000])}
    )
    [v] = layouts.make_variables("v", twos, layouts.whole([300, 1000]))
    started, restored = threading.Event(), threading.Event()

    def wait(value: Any) -> Any:
        started.set()
        assert restored.wait(60)
        return value.max() + value.min()

    held = tf.numpy_function(wait, [v.read_value()], tf.float32)
    saver = Saver(verify=verify)
    seen = []
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        step = threading.Thread(target=lambda: seen.append(session.run(held)))
        step.start()
        assert started.wait(60)
        saver.restore(session, prefix)
        restored.set()
        step.join()
        assert seen == [4]
        assert np.all(session.run(v) == 1)


@pytest.mark.parametrize("verify", ["before", "swap"])
@pytest.mark.parametrize("use_locking", [False, True])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_restoring_while_others_train_tears_nothing(
    kind: str, use_locking: bool, verify: str, tmp_path: Path
) -> None:
    rows, columns = 64, 4096
    prefix = layouts.WRITERS["ours"](
        str(tmp_path / "m"),
        {"v": np.zeros([rows, columns], np.float32)},
        {"v": layouts.whole([rows, columns])},
    )
    cuts = [layouts.evenly(rows, 4), [0, columns]]
    shards = layouts.make_variables("v", np.zeros([rows, columns], np.float32), cuts)
    optimizer = tf1.train.GradientDescentOptimizer(-1.0, use_locking=use_locking)
    if kind == "sparse":
        every_row = tf.range(rows // 4)
        gradients = [
            tf.IndexedSlices(tf.ones([rows // 4, columns]), every_row, [rows // 4, columns])
            for _ in shards
        ]
    else:
        gradients = [tf.ones([rows // 4, columns]) for _ in shards]
    train = optimizer.apply_gradients(list(zip(gradients, shards, strict=True)))
    # Each update adds one to each element of a shard: a row that is torn shows.
    saver = Saver(verify=verify)
    is_over = threading.Event()
    problems: list[BaseException] = []

    def loop(step: Any) -> None:
        try:
            while not is_over.is_set():
                step()
        except BaseException as problem:  # noqa: BLE001 shown by the test
            problems.append(problem)

    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        threads = [threading.Thread(target=loop, args=(lambda: session.run(train),))]
        threads += [
            threading.Thread(target=loop, args=(lambda: saver.restore(session, prefix),))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for _ in range(25):
            session.run(train)
        is_over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not problems
        for value in session.run(shards):
            for row in value if kind == "sparse" else [value]:
                assert np.all(row == row.flat[0])
        saver.restore(session, prefix)
        assert not np.any(session.run(shards))


@pytest.mark.parametrize("verify", ["before", "swap"])
def test_a_restore_that_times_out_ends_whole_or_not_at_all(verify: str, tmp_path: Path) -> None:
    shape = [1024, 2048]
    prefix = layouts.WRITERS["ours"](
        str(tmp_path / "m"), {"v": np.ones(shape, np.float32)}, {"v": layouts.whole(shape)}
    )
    shards = layouts.make_variables("v", np.zeros(shape, np.float32), [[0, 500, 1024], [0, 2048]])
    saver = Saver(verify=verify)
    restore = saver.saver_def.restore_op_name
    feed = {saver.saver_def.filename_tensor_name: prefix}
    ended = set()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        for timeout_in_ms in [1, 2, 3, 5, 8, 12, 20, 40, 10_000]:
            options = tf1.RunOptions(timeout_in_ms=timeout_in_ms)
            try:
                session.run(restore, feed, options=options)
                ended.add("whole")
            except (tf.errors.DeadlineExceededError, tf.errors.CancelledError):
                ended.add("not at all")
            # A step that was given up may still be ending.
            values = [value.flat[0] for value in session.run(shards)]
            for value in session.run(shards):
                assert np.all(value == value.flat[0])
            assert set(values) <= {0, 1}
        assert "whole" in ended
        assert all(np.all(value == 1) for value in session.run(shards))
