"""`save_async`: the values of one instant, written in the background; no error of it is lost."""

import functools
import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.options import SNAPSHOT_METHODS, SaveOptions
from autodist.checkpoint.saver import SaveHandle, Saver
from autodist.checkpoint.saving import bundle_saves
from autodist.errors import ArgumentError
from support.c_programs import compile_library
from support.python_programs import environment, run_python
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
PROGRAM = Path(__file__).parent.parent / "support/checkpoint/background_program.py"


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_on_slow_disk(tmp_path_factory: pytest.TempPathFactory) -> Run:
    library = compile_library("slow_disk.c", tmp_path_factory.mktemp("slow") / "slow_disk.so")
    return functools.partial(
        run_python, env=environment(SLOW_WRITE_MILLISECONDS="200"), preload=library
    )


@pytest.mark.parametrize("method", ["pages", "fork", "copy"])
def test_training_goes_on_while_a_slow_disk_writes(
    method: str, run_on_slow_disk: Run, tmp_path: Path
) -> None:
    told = json.loads(run_on_slow_disk(PROGRAM, tmp_path, method).stdout)
    assert told.pop("seconds") > 0
    assert told == {
        "done at once": False,
        "done after steps": False,
        "latest meanwhile": "m-1",
        "former is there": True,
        "result in no time": "TimeoutError",
        "first is done": True,
        "first": str(tmp_path / "m-2"),
        "method": method,
        "at the callback": [2, "m-2"],
        "second": str(tmp_path / "n-3"),
    }
    # The first was removed by the second.
    assert not (tmp_path / "m-2.index").exists()
    reader = tf.train.load_checkpoint(str(tmp_path / "n-3"))
    for name in ("table", "dense"):
        assert (reader.get_tensor(name) == 3).all()


class Held:
    """Holds saves once they have written their bundle, before the files beside it."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.has_written = threading.Event()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    hold, run = Held(), bundle_saves.BundleSave.run

    def run_and_wait(save: Any, *arguments: Any) -> Any:
        report = run(save, *arguments)
        hold.has_written.set()
        assert hold.may_go_on.wait(60)
        return report

    monkeypatch.setattr(bundle_saves.BundleSave, "run", run_and_wait)
    yield hold
    hold.may_go_on.set()


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session


def make_variable(session: Any) -> Any:
    variable = tf1.get_variable(
        "v", [300_000], use_resource=True, initializer=tf1.zeros_initializer()
    )
    session.run(variable.initializer)
    return variable


def make_directory_read_only(directory: Path) -> None:
    """Makes it one that nobody can write to, not even root."""
    directory.rename(directory.with_suffix(".kept"))
    directory.write_text("a file")


def test_the_values_are_those_of_the_call(session: Any, held: Held, tmp_path: Path) -> None:
    variable = make_variable(session)
    saver = Saver()
    handle = saver.save_async(session, tmp_path / "m", 7)
    variable.load(np.ones(300_000), session)
    assert (handle.done(), handle.report, handle.global_step) == (False, None, 7)
    assert handle.prefix == str(tmp_path / "m-7")
    assert tf.train.latest_checkpoint(str(tmp_path)) is None
    held.may_go_on.set()
    assert handle.result() == str(tmp_path / "m-7")
    assert handle.done()
    assert handle.report is not None
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "m-7")
    assert not tf.train.load_variable(handle.prefix, "v").any()
    # All files of a save are there, with the same bytes.
    variable.load(np.zeros(300_000), session)
    stock = tf1.train.Saver().save(session, str(tmp_path / "stock"))
    assert (
        Path(f"{stock}.data-00000-of-00001").read_bytes()
        == Path(f"{handle.prefix}.data-00000-of-00001").read_bytes()
    )
    with tf.Graph().as_default():
        tf1.train.import_meta_graph(handle.prefix + ".meta")


def test_one_at_a_time(session: Any, held: Held, tmp_path: Path) -> None:
    make_variable(session)
    saver = Saver()
    first = saver.save_async(session, tmp_path / "m", 1)
    timer = threading.Timer(0.2, held.may_go_on.set)
    timer.start()
    assert saver.save(session, tmp_path / "m", 2) == str(tmp_path / "m-2")
    assert first.done()
    assert saver.last_checkpoints == [str(tmp_path / "m-1"), str(tmp_path / "m-2")]
    timer.join()


def test_an_error_is_raised_once_by_the_next_save(session: Any, held: Held, tmp_path: Path) -> None:
    make_variable(session)
    directory = tmp_path / "d"
    directory.mkdir()
    saver = Saver()
    handle = saver.save_async(session, directory / "m", 1)
    assert held.has_written.wait(60)
    make_directory_read_only(directory)
    held.may_go_on.set()
    while not handle.done():
        time.sleep(0.01)
    with pytest.raises(Exception, match=r"the former save, of .*m-1 in the background, failed"):
        saver.save(session, tmp_path / "m", 2)
    assert saver.save(session, tmp_path / "m", 2) == str(tmp_path / "m-2")
    # Whoever has the handle still gets it.
    assert handle.report is None
    error = handle.exception()
    assert error is not None
    with pytest.raises(type(error)):
        handle.result()


def test_an_error_that_was_asked_for_is_not_raised_again(
    session: Any, held: Held, tmp_path: Path
) -> None:
    make_variable(session)
    directory = tmp_path / "d"
    directory.mkdir()
    saver = Saver()
    handle = saver.save_async(session, directory / "m", 1)
    make_directory_read_only(directory)
    held.may_go_on.set()
    assert handle.exception() is not None
    assert saver.save_async(session, tmp_path / "m", 2).result() == str(tmp_path / "m-2")


def test_what_fails_before_the_values_are_there_is_raised_at_once(
    session: Any, tmp_path: Path
) -> None:
    make_variable(session)
    uninitialized = tf1.get_variable("u", [1], use_resource=True)
    saver = Saver()
    with pytest.raises(tf.errors.FailedPreconditionError):
        saver.save_async(session, tmp_path / "m")
    with pytest.raises(ValueError, match="consistency"):
        saver.save_async(session, tmp_path / "m", consistency="none")
    with pytest.raises(TypeError):
        saver.save_async(None, tmp_path / "m")
    assert list(tmp_path.glob("m*")) == []
    session.run(uninitialized.initializer)
    assert saver.save_async(session, tmp_path / "m").result() == str(tmp_path / "m")


def test_a_call_says_how_its_values_are_kept(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tf1.get_variable(
        "t", [100_000, 2], use_resource=True, initializer=tf1.zeros_initializer()
    )
    session.run(table.initializer)
    session.run(tf1.scatter_add(table, [1], [[1.0, 1.0]]))
    saver = Saver(options=SaveOptions(snapshot_method="copy"))
    told = {}
    for method in ("pages", "fork", None):
        caplog.clear()
        with caplog.at_level(logging.INFO, "autodist"):
            saver.save_async(session, tmp_path / "m", method=method).result()
        told[method] = [name for name in SNAPSHOT_METHODS if f"kept by {name}" in caplog.text]
    assert told == {"pages": ["pages"], "fork": ["fork"], None: ["copy"]}
    with pytest.raises(tf.errors.FailedPreconditionError, match="1024 of snapshot_memory_bytes"):
        saver.save_async(session, tmp_path / "none", snapshot_memory_bytes=1024)
    for wrong in ({"method": "page"}, {"snapshot_memory_bytes": -1}):
        with pytest.raises(ArgumentError, match=r"snapshot_m"):
            saver.save_async(session, tmp_path / "none", **wrong)
    assert list(tmp_path.glob("none*")) == []


def test_callbacks_are_called_once_done_and_may_save(
    session: Any, held: Held, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_variable(session)
    saver, called = Saver(), threading.Event()
    paths = []

    def save_again(handle: SaveHandle) -> None:
        paths.extend([handle.result(), saver.save(session, tmp_path / "m", 2)])
        called.set()
        raise ValueError("of the callback")

    handle = saver.save_async(session, tmp_path / "m", 1)
    handle.add_done_callback(save_again)
    held.may_go_on.set()
    assert called.wait(60)
    assert paths == [str(tmp_path / "m-1"), str(tmp_path / "m-2")]
    late = []
    handle.add_done_callback(late.append)
    assert late == [handle]


def test_a_cancelled_save_leaves_nothing(run_on_slow_disk: Run, tmp_path: Path) -> None:
    program = f"""
import tensorflow as tf
from autodist.checkpoint.saver import Saver
tf1 = tf.compat.v1
with tf.Graph().as_default(), tf1.Session() as session:
    variable = tf1.get_variable("v", [2_000_000], use_resource=True)
    session.run(variable.initializer)
    saver = Saver()
    former = saver.save(session, {str(tmp_path / "m")!r}, 1)
    handle = saver.save_async(session, {str(tmp_path / "m")!r}, 2)
    assert handle.cancel()
    try:
        handle.result()
    except tf.errors.CancelledError as error:
        print(error.message)
    assert not handle.cancel()
    assert tf.train.latest_checkpoint({str(tmp_path)!r}) == former
    saver.save(session, {str(tmp_path / "m")!r}, 3)
"""
    done = run_on_slow_disk("-c", program)
    assert "the save was cancelled; nothing was written" in done.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert not any("m-2" in name or ".autodist" in name for name in names)


def test_a_program_ends_once_its_save_is_done_and_tells_its_error(
    run_on_slow_disk: Run, tmp_path: Path
) -> None:
    program = f"""
import os, sys
import tensorflow as tf
from autodist.checkpoint.saver import Saver
tf1 = tf.compat.v1
session = tf1.Session(graph=tf.Graph())
with session.graph.as_default():
    variable = tf1.get_variable("v", [2_000_000], use_resource=True)
    saver, other = Saver(), Saver()
session.run(variable.initializer)
saver.save_async(session, {str(tmp_path / "m")!r})
os.mkdir({str(tmp_path / "d")!r})
handle = other.save_async(session, {str(tmp_path / "d" / "m")!r})
os.rename({str(tmp_path / "d")!r}, {str(tmp_path / "e")!r})
open({str(tmp_path / "d")!r}, "w").close()
"""
    done = run_on_slow_disk("-c", program)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "m")
    assert f"{tmp_path / 'd' / 'm'} was not saved: " in done.stderr
    assert f"{tmp_path / 'm'} was not saved: " not in done.stderr


def test_a_session_that_is_closed_ends_no_save_that_has_its_values(
    run_on_slow_disk: Run, tmp_path: Path
) -> None:
    program = f"""
import tensorflow as tf
from autodist.checkpoint.saver import Saver
tf1 = tf.compat.v1
prefix = {str(tmp_path / "m")!r}
with tf.Graph().as_default():
    variable = tf1.get_variable("v", [2_000_000], use_resource=True)
    saver = Saver()
    with tf1.Session() as session:
        session.run(variable.initializer)
        handle = saver.save_async(session, prefix)
        assert not handle.done()
    assert handle.result() == prefix
    with tf1.Session() as session:
        saver.restore(session, prefix)
"""
    run_on_slow_disk("-c", program)


@pytest.mark.parametrize("strategy", ["PSLoadBalancing", "PartitionedPS"])
def test_of_a_distributed_session(strategy: str, tmp_path: Path) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        table = tf1.get_variable(
            "table", [64, 64], use_resource=True, initializer=tf1.zeros_initializer()
        )
        train = tf1.scatter_add(table, tf.range(64), tf.ones([64, 64]))
        saver = Saver()
        with autodist.create_distributed_session() as session:
            session.run(train)
            handle = saver.save_async(session, tmp_path / "m")
            session.run(train)
            path = handle.result()
    assert tf.train.load_variable(path, "table").tolist() == [[1.0] * 64] * 64
