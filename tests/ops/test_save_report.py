"""What a save reports about itself, and to whom."""

import concurrent.futures
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from support.save_ops import Entry, read_bundle, save

tf1 = tf.compat.v1


def slot_of(prefix: Path) -> contextlib.closing[_native.ReportSlot]:
    return contextlib.closing(_native.ReportSlot(prefix, is_save=True))


def test_a_save_reports_what_it_wrote(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    whole, part = tf.ones([4, 2]), tf.ones([2, 2])
    entries = [Entry("a", whole), Entry("a", whole)]
    entries += [Entry("b", part, spec) for spec in ("4 2 0,2:-", "4 2 2,2:-") for _ in range(3)]
    with slot_of(tmp_path / "ckpt") as slot:
        session.run(save(tmp_path / "ckpt", entries))
    report = slot.take_report()
    size_bytes = len(read_bundle(tmp_path / "ckpt")[1])
    assert report.byte_count == size_bytes
    assert (report.variable_count, report.shard_count, report.value_count) == (2, 3, 8)
    assert 0 < report.seconds < 60
    assert report.max_lock_seconds == 0
    assert slot.bytes() == (size_bytes, size_bytes)


def test_a_failed_save_has_no_report(tmp_path: Path, session: tf1.Session) -> None:
    (tmp_path / "file").touch()
    prefix = tmp_path / "file" / "ckpt"
    with slot_of(prefix) as slot:
        with contextlib.suppress(tf.errors.OpError):
            session.run(save(prefix, [Entry("a", tf.constant(1.0))]))
        assert slot.take_report() is None


def test_nothing_is_kept_of_a_save_that_nobody_asks_for(
    tmp_path: Path, session: tf1.Session
) -> None:
    op = save(tmp_path / "ckpt", [Entry("a", tf.constant(1.0))])
    session.run(op)
    with slot_of(tmp_path / "ckpt") as slot:
        assert slot.take_report() is None
        assert _native.open_report_slots() == 1
    assert _native.open_report_slots() == 0


def test_savers_that_save_at_once_have_their_own_reports(tmp_path: Path) -> None:
    """Each of four threads gets the report of its own saves; so do restores of one checkpoint."""

    def work(number: int) -> list[Any]:
        value = np.arange(1000.0 * (number + 1), dtype=np.float32)
        with tf.Graph().as_default(), tf1.Session() as session:
            variable = tf1.get_variable("v", initializer=value, use_resource=True)
            session.run(variable.initializer)
            saver = Saver({"v": variable})
            found = []
            for step in range(20):
                with transfer.collected() as reports:
                    prefix = saver.save(session, str(tmp_path / f"m{number}"), step)
                    saver.restore(session, prefix)
                assert all(report.variable_count == 1 for report in reports)
                found += [(report.byte_count // value.nbytes) for report in reports]
            return found

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        # A restore into a variable with a value reads twice.
        assert list(pool.map(work, range(4))) == [[1, 2] * 20] * 4
    assert _native.open_report_slots() == 0


def test_restores_of_one_checkpoint_at_once_have_their_own_reports(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    with tf.Graph().as_default(), tf1.Session() as session:
        made = [tf1.get_variable(n, shape=[64], use_resource=True) for n in names]
        session.run(tf1.global_variables_initializer())
        prefix = Saver(made).save(session, str(tmp_path / "m"))

    def restore(count: int) -> None:
        with tf.Graph().as_default(), tf1.Session() as session:
            wanted = [tf1.get_variable(n, shape=[64], use_resource=True) for n in names[:count]]
            saver = Saver(wanted)
            for _ in range(20):
                with transfer.collected() as reports:
                    saver.restore(session, prefix)
                # Which of those that run at once has which slot is not told apart; none has two.
                assert [report.variable_count in range(1, 5) for report in reports] == [True]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(restore, range(1, 5)))
    assert _native.open_report_slots() == 0
