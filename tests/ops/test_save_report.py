"""What a save reports about itself."""

from pathlib import Path

import tensorflow as tf

from autodist import _native
from support.save_ops import Entry, read_bundle, save

tf1 = tf.compat.v1


def test_a_save_reports_what_it_wrote(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    whole, part = tf.ones([4, 2]), tf.ones([2, 2])
    entries = [Entry("a", whole), Entry("a", whole)]
    entries += [Entry("b", part, spec) for spec in ("4 2 0,2:-", "4 2 2,2:-") for _ in range(3)]
    session.run(save(tmp_path / "ckpt", entries))
    report = _native.last_save(tmp_path / "ckpt")
    assert report.written_bytes == len(read_bundle(tmp_path / "ckpt")[1])
    assert (report.variable_count, report.shard_count, report.replica_count) == (2, 3, 8)
    assert 0 < report.seconds < 60
    assert report.max_lock_seconds == 0


def test_there_is_no_report_of_a_save_that_never_was(tmp_path: Path) -> None:
    assert _native.last_save(tmp_path / "ckpt") is None


def test_the_reports_of_long_ago_are_forgotten(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    for i in range(66):
        session.run(save(tmp_path / f"ckpt-{i}", [Entry("a", tf.constant(1.0))]))
    kept = [_native.last_save(tmp_path / f"ckpt-{i}") is not None for i in range(66)]
    assert kept == [False] * 2 + [True] * 64
