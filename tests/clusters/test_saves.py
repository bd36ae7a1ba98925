"""Saves whose variables lie on parameter servers, in real processes: stock TensorFlow's bytes, whatever the way."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.distributed.shared_save import file_systems, save_steps, shared_blocks
from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import PsJob, can_unshare, files
from support.clusters.server_variables import build, save_by_stock, values_of
from support.python_programs import run_python

tf1 = tf.compat.v1

needs_namespaces = pytest.mark.skipif(not can_unshare(), reason="needs the right to unshare mounts")


def test_every_way_writes_the_bytes_of_stock(
    job: PsJob, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        savers = {way: Saver(transport=way) for way in (None, "shared", "stream")}
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        for way, saver in savers.items():
            prefix = directory / f"ours_{way}"
            with caplog.at_level(logging.INFO, logger="autodist"):
                # Twice: also over a prefix in use.
                for _ in range(2):
                    saver.save(session, str(prefix), write_meta_graph=False)
            assert files(prefix) == expected, way
            wrote = "sent their variables" if way == "stream" else "every task wrote"
            assert wrote in caplog.records[-1].getMessage()
    left = [path.name for path in directory.iterdir() if ".autodist" in path.name]
    assert left == []


@pytest.mark.parametrize("damage", ["a byte at a border", "another size"])
def test_what_a_file_system_loses_between_two_writers_is_found(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """The file is damaged as if by it, after all was written; the former checkpoint stays."""
    check = shared_blocks.SharedBlocks.check

    def check_damaged(self: Any, feeds: Any, plan: Any, check_bytes: int, **how: Any) -> None:
        pages = plan.pages_to_check(check_bytes)
        assert len(pages) == 3
        # Where the first parameter server's bytes begin, after those of the second.
        border = pages[1][0]
        assert 0 < border < plan.size_bytes
        with Path(how["path"]).open("r+b") as file:
            if damage == "another size":
                file.truncate(plan.size_bytes + 1)
            else:
                file.seek(border)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
        check(self, feeds, plan, check_bytes, **how)

    prefix = directory / "model"
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(3000)
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(prefix), write_meta_graph=False)
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        monkeypatch.setattr(shared_blocks.SharedBlocks, "check", check_damaged)
        expected = "reads other bytes at" if damage == "a byte at a border" else "sees a file of"
        with pytest.raises(tf.errors.FailedPreconditionError, match=expected) as caught:
            saver.save(session, str(prefix), write_meta_graph=False)
        assert "tmpfs" in caught.value.message
        assert "/job:" in caught.value.message
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
        monkeypatch.undo()
        saver.save(session, str(prefix), write_meta_graph=False)


def test_large_blocks_have_one_writer_each(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripes larger than variables, handed over in several rounds: the bytes are the same."""
    monkeypatch.setattr(file_systems, "shared_block_bytes", lambda *_: 40_960)
    monkeypatch.setattr(save_steps, "ROUND_SHARE", 1 / 1024)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(3000)
        saver = Saver(memory_bytes=16 << 20)
        session.run(tf1.global_variables_initializer())
        expected = files(save_by_stock(values_of(session), directory))
        saver.save(session, str(directory / "ours"), write_meta_graph=False)
    assert files(directory / "ours") == expected


def test_other_saveables_and_slices(job: PsJob, directory: Path) -> None:
    """A table's tensors are no variables; slices stay slices where they are asked for."""
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        insert = table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
        ours, stock = Saver(layout="slices"), tf1.train.Saver()
        session.run([tf1.global_variables_initializer(), insert])
        stock.save(session, str(directory / "stock"), write_meta_graph=False)
        ours.save(session, str(directory / "ours"), write_meta_graph=False)
    assert files(directory / "ours") == files(directory / "stock")


def test_what_a_saver_waits_for_runs_with_each_save(
    job: PsJob, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As with stock: the session has it, a graph of our own has not."""
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        variables = []
        for task in range(2):
            with tf1.device(f"/job:ps/task:{task}"):
                variables.append(tf1.get_variable(f"v{task}", [3], use_resource=True))
        with tf.control_dependencies([variable.assign_add(tf.ones([3])) for variable in variables]):
            stock, ours, asked = (
                tf1.train.Saver(max_to_keep=None),
                Saver(),
                Saver(transport="stream"),
            )
        clear = [variable.assign(tf.zeros([3])) for variable in variables]
        names = ("stock", "ours")
        for name, saver in zip(names, (stock, ours), strict=True):
            session.run(clear)
            for _ in range(2):
                prefix = saver.save(session, str(directory / name), write_meta_graph=False)
            np.testing.assert_array_equal(session.run(variables[1]), [2, 2, 2])
            # The read may come before the update or after it.
            assert tf.train.load_variable(prefix, "v1")[0] in {1, 2}
        assert "waits for" in caplog.text
        with pytest.raises(tf.errors.FailedPreconditionError, match="transport='stream', but"):
            asked.save(session, str(directory / "refused"), write_meta_graph=False)
        # Restoring runs it, too, before it assigns.
        for saver in (stock, ours):
            session.run(clear)
            saver.restore(session, prefix)
            stored = tf.train.load_variable(prefix, "v1")
            np.testing.assert_array_equal(session.run(variables[1]), stored)


def test_a_task_that_waits_longer_than_its_lease_still_holds_the_save(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = save_steps.SharedSave._send

    def send_late(self: Any, *given: Any) -> None:
        time.sleep(3.5)
        send(self, *given)

    monkeypatch.setattr(save_steps, "LEASE_FACTOR", 1 / 3)
    monkeypatch.setattr(save_steps.SharedSave, "_send", send_late)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        saver = Saver(transport="stream", timeout_seconds=5)
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(directory / "model"), write_meta_graph=False)
        expected = values_of(session)["small"]
    reader = tf.train.load_checkpoint(str(directory / "model"))
    np.testing.assert_array_equal(reader.get_tensor("small"), expected)


@needs_namespaces
def test_servers_that_do_not_see_the_files_send_or_write_elsewhere(directory: Path) -> None:
    done = run_python("-m", "support.clusters.unshared_program", directory)
    for way, count in (("shared", 2), ("files", 1)):
        message = f"transport='{way}', but /job:ps/replica:0/task:0, /job:ps"
        assert done.stdout.count(message) == count
    assert files(directory / "sent") == files(directory / "stock")
    # As stock does where a server writes the checkpoint to a directory that this process has not.
    for name in ("ours", "stock"):
        message = f"Parent directory of {directory}-elsewhere/{name} doesn't exist, can't save."
        assert done.stdout.splitlines().count(message) == 1
        assert f"{name}: nothing is left here" in done.stdout


@pytest.mark.parametrize(("operation", "way"), [("save", "stream"), ("restore", "shared")])
def test_a_server_that_is_lost_is_named_and_nothing_else_is(
    directory: Path, operation: str, way: str
) -> None:
    done = run_python(
        "-m", "support.clusters.killed_program", directory, operation, 1, way, starts_programs=True
    )
    assert "all trouble was survived" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transport": "pigeon"}, "transport must be one of"),
        ({"memory_bytes": 1}, "memory_bytes must be at least"),
        ({"memory_bytes": 2.5e8}, "memory_bytes must be an int"),
        ({"timeout_seconds": 0}, "timeout_seconds must be more than 0"),
        ({"timeout_seconds": "1"}, "timeout_seconds must be a number"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with tf.Graph().as_default():
        tf1.get_variable("v", [1])
        with pytest.raises((ValueError, TypeError), match=message):
            Saver(**arguments)
