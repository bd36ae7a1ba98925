"""Saves that fail on the way: typed errors, and nothing new on disk."""

import time
from pathlib import Path

import pytest
import tensorflow as tf

from support.python_programs import run_python
from support.save_ops import Entry, save

tf1 = tf.compat.v1

# A process whose files may not grow past a limit, as on a full disk.
WITH_LIMITED_FILES = """
import resource, sys
import tensorflow as tf
from autodist import _native

tf1 = tf.compat.v1
ops = _native.ops()
prefix, size = sys.argv[1], int(sys.argv[2])
with tf.Graph().as_default(), tf1.Session() as session:
    variable = tf1.get_variable("w", initializer=tf.zeros([size // 4]), use_resource=True)
    pins = ops.autodist_pin_variables(handles=[variable.handle])
    op = ops.autodist_save(prefix=prefix, tensor_names=["w"], shape_and_slices=[""], aggregations=["MEAN"],
                           pins=[pins], tensors=[], value_index=[0], threads=3)
    session.run(variable.initializer)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        session.run(op)
    except tf.errors.OpError as error:
        print(type(error).__name__, error.message)
"""


@pytest.mark.parametrize("limit", [0, 5_000_000])
def test_a_file_that_cannot_grow_is_removed(limit: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITH_LIMITED_FILES)
    prefix = tmp_path / "new" / "ckpt"
    done = run_python(script, prefix, 8_000_000, limit)
    assert f"{prefix}.data.autodist" in done.stdout, done.stderr
    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == [script]


def test_a_directory_two_levels_below_is_not_made(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    with pytest.raises(tf.errors.NotFoundError, match="No such file or directory"):
        session.run(save(tmp_path / "a" / "b" / "ckpt", [Entry("w", tf.constant(1.0))]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_target_that_cannot_be_replaced_leaves_no_new_file(
    suffix: str,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    target = tmp_path / f"ckpt{suffix}"
    target.mkdir()
    with pytest.raises(tf.errors.OpError, match=r"cannot rename .* Is a directory"):
        session.run(save(tmp_path / "ckpt", [Entry("w", tf.constant(1.0))]))
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_checkpoint_is_replaced(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    session.run(save(tmp_path / "ckpt", [Entry("old", tf.constant(1.0))]))
    session.run(save(tmp_path / "ckpt", [Entry("new", tf.constant(2.0))]))
    assert tf.train.load_checkpoint(str(tmp_path / "ckpt")).get_tensor("new") == 2.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_timeout_stops_a_save_and_leaves_nothing(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = tf1.get_variable("w", initializer=tf.zeros([64 << 20]), use_resource=True)
    op = save(tmp_path / "new" / "ckpt", [Entry(f"w{i}", variable) for i in range(16)])
    session.run(variable.initializer)
    start = time.process_time()
    with pytest.raises((tf.errors.DeadlineExceededError, tf.errors.CancelledError)):
        session.run(op, options=tf1.RunOptions(timeout_in_ms=50))
    # Of processors, not of a clock: a busy machine makes no difference. All of the save takes several seconds.
    assert time.process_time() - start < 1
    assert list(tmp_path.iterdir()) == []
