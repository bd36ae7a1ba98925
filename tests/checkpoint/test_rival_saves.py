"""Two savers on one prefix at once: of processes one gets an error, threads wait for each other."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.files import prefix_lock, prefix_turns
from autodist.checkpoint.saver import Saver
from autodist.checkpoint.saving import bundle_saves
from autodist.private_apis import tf_sessions
from support.python_programs import Process, Start, read_line, run_python, stock_environment, tell

tf1 = tf.compat.v1

PROGRAM = ("-m", "support.checkpoint.saving_program")

# Stock TensorFlow says, for each directory it is told, whose values and whose graph are there.
JUDGE = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
for directory in sys.stdin.read().split():
    prefix = tf.train.latest_checkpoint(directory)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
        values = np.unique(session.run(tf.global_variables())).tolist()
        graphs = [op.name for op in graph.get_operations() if op.name.startswith("graph_of_")]
    print(*values, *graphs)
assert "autodist" not in sys.modules
"""


def wait_until_stopped(process: Process) -> None:
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def judge(*directories: Path) -> list[str]:
    """Returns for each directory the values and the graph that stock TensorFlow finds."""
    done = run_python("-c", JUDGE, text="\n".join(map(str, directories)), env=stock_environment())
    return done.stdout.splitlines()


def snapshot(directory: Path, to: Path) -> Path:
    """Keeps what a race left, for the judge; the state file names it relative to itself."""
    to.mkdir()
    for path in directory.iterdir():
        text = path.read_bytes()
        if path.name == "checkpoint":
            text = text.replace(str(directory).encode(), str(to).encode())
        (to / path.name).write_bytes(text)
    return to


NAMES = ["checkpoint", "m.data-00000-of-00001", "m.index", "m.meta"]


def test_of_two_processes_one_wins_whole(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "live"
    rivals = [start(*PROGRAM, directory / "m", number) for number in (1, 2)]
    for rival in rivals:
        assert read_line(rival) == "ready"
    refused = 0
    kept, winners = [], []
    for number in range(25):
        for rival in rivals:
            tell(rival, "save")
        answers = [read_line(rival) for rival in rivals]
        assert "saved" in answers
        losers = [text for text in answers if text != "saved"]
        refused += len(losers)
        for text in losers:
            assert "is saving to" in text
            assert str(directory / "m") in text
        assert sorted(path.name for path in directory.iterdir()) == NAMES
        kept.append(snapshot(directory, tmp_path / str(number)))
        winners.append({i + 1 for i, text in enumerate(answers) if text == "saved"})
    assert refused > 0
    for found, who in zip(judge(*kept), winners, strict=True):
        assert found in {f"{float(number)} graph_of_{number}" for number in who}


def test_the_lock_is_held_to_the_end_of_the_save_and_ends_with_its_process(
    start: Start, tmp_path: Path
) -> None:
    directory = tmp_path / "live"
    stopped, other = (
        start(*PROGRAM, directory / "m", 1, "stops"),
        start(*PROGRAM, directory / "m", 2),
    )
    assert [read_line(process) for process in (stopped, other)] == ["ready", "ready"]
    tell(stopped, "save")
    wait_until_stopped(stopped)
    tell(other, "save")
    assert f"process {stopped.pid} on " in read_line(other)
    os.kill(stopped.pid, signal.SIGCONT)
    assert read_line(stopped) == "saved"
    first = snapshot(directory, tmp_path / "first")
    tell(stopped, "save")
    wait_until_stopped(stopped)
    stopped.kill()
    stopped.wait()
    tell(other, "save")
    assert read_line(other) == "saved"
    assert judge(first, directory) == ["1.0 graph_of_1", "2.0 graph_of_2"]
    assert sorted(path.name for path in directory.iterdir()) == NAMES


class Gate:
    """Holds the first save of a process where its bundle is about to be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.fails = False
        self.in_it: list[int] = []
        save_bundle = bundle_saves.BundleSave.run

        def pause(save: bundle_saves.BundleSave, *arguments: object, **options: object) -> object:
            self.in_it.append(threading.get_ident())
            if not self.inside.is_set():
                self.inside.set()
                assert self.go_on.wait(60)
                if self.fails:
                    raise tf.errors.DataLossError(None, None, "the first save fails")
            return save_bundle(save, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(bundle_saves.BundleSave, "run", pause)


def is_inside(thread: threading.Thread, path: str) -> bool:
    """Tells whether a thread is in a function of a file that it has called."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_filename != path:
        frame = frame.f_back
    return frame is not None


@pytest.mark.parametrize(
    "how", ["same", "relative", "symlink", "dots", "slashes", "file", "sharded"]
)
@pytest.mark.parametrize("fails", [False, True])
def test_of_two_threads_the_second_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, fails: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    # The first save makes the directory, and takes it back if it fails.
    directory = tmp_path / "made"
    (tmp_path / "link").symlink_to(tmp_path)
    if how == "sharded":
        directory.mkdir()
    prefix = str(directory / "m")
    other = {
        "relative": "made/m",
        "symlink": str(tmp_path / "link" / "made" / "m"),
        # As TensorFlow takes it, whatever the link leads to.
        "dots": "link/../made/m",
        "slashes": f"{tmp_path}//made/./m",
        "file": f"file://{prefix}",
    }.get(how, prefix)
    gate = Gate(monkeypatch)
    gate.fails = fails
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        savers = Saver(sharded=how == "sharded"), Saver()
        session.run(tf1.global_variables_initializer())
        errors: dict[int, BaseException] = {}

        def save(number: int, path: str) -> None:
            try:
                savers[number].save(session, path)
            except tf.errors.OpError as error:
                errors[number] = error

        threads = [
            threading.Thread(target=save, args=arguments) for arguments in ((0, prefix), (1, other))
        ]
        threads[0].start()
        assert gate.inside.wait(60)
        threads[1].start()
        while not is_inside(threads[1], prefix_turns.__file__) and len(gate.in_it) == 1:
            time.sleep(0.01)
        assert gate.in_it == [threads[0].ident]
        gate.go_on.set()
        for thread in threads:
            thread.join()
    assert list(errors) == ([0] if fails else [])
    assert sorted(path.name for path in directory.iterdir()) == NAMES


def test_a_thread_that_waits_too_long_gets_an_error_and_the_next_save_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(tmp_path / "m")
    gate = Gate(monkeypatch)
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        first, hasty = Saver(), Saver(timeout_seconds=0.2)
        session.run(tf1.global_variables_initializer())
        thread = threading.Thread(target=first.save, args=(session, prefix))
        thread.start()
        assert gate.inside.wait(60)
        with pytest.raises(tf.errors.AlreadyExistsError, match=r"another thread .* within 0.2 s"):
            hasty.save(session, prefix)
        # Another prefix is free.
        hasty.save(session, str(tmp_path / "other"), write_state=False)
        # So is this one in a child, whose parent is another process.
        child = os.fork()
        if child == 0:
            try:
                with prefix_lock.held(prefix, durable=False, timeout_seconds=60):
                    os._exit(1)
            except tf.errors.AlreadyExistsError as error:
                os._exit(0 if f"process {os.getppid()} on" in error.message else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gate.go_on.set()
        thread.join()
        hasty.save(session, prefix)
    assert {path.name for path in tmp_path.iterdir()} >= set(NAMES)


@pytest.mark.parametrize("is_overwriting", [False, True])
def test_a_save_that_fails_takes_no_other_threads_checkpoint_off_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_overwriting: bool
) -> None:
    prefixes = [str(tmp_path / f"m-{step}") for step in range(5)]
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        saver = Saver(max_to_keep=3)
        session.run(tf1.global_variables_initializer())
        for prefix in prefixes[:3]:
            saver.save(session, prefix)
        gate = Gate(monkeypatch)
        gate.fails = True
        errors: list[BaseException] = []

        def fail() -> None:
            try:
                saver.save(session, prefixes[1 if is_overwriting else 3])
            except tf.errors.DataLossError as error:
                errors.append(error)

        thread = threading.Thread(target=fail)
        thread.start()
        assert gate.inside.wait(60)
        saver.save(session, prefixes[4])
        gate.go_on.set()
        thread.join()
        assert errors
        assert saver.last_checkpoints == [*prefixes[1:3], prefixes[4]]


class NestingSession(tf_sessions.SessionInterface):
    """Saves to the same prefix within a save, as a debugger's session may, and can fail after it."""

    def __init__(self, session: Any, prefix: str) -> None:
        self.session, self.prefix = session, prefix
        self.saver, self.fails = Saver(), False

    @property
    def graph(self) -> Any:
        return self.session.graph

    @property
    def sess_str(self) -> Any:
        return self.session.sess_str

    def run(self, *arguments: Any, **options: Any) -> Any:
        self.saver.save(self.session, self.prefix)
        if self.fails:
            raise tf.errors.DataLossError(None, None, "the outer save fails")
        return self.session.run(*arguments, **options)


@pytest.mark.parametrize("fails", [False, True])
def test_a_save_within_a_save_of_one_thread_does_not_wait_for_itself(
    tmp_path: Path, fails: bool
) -> None:
    prefix = str(tmp_path / "m")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        outer, nesting = Saver(), NestingSession(session, prefix)
        nesting.fails = fails
        session.run(tf1.global_variables_initializer())
        with pytest.raises(tf.errors.DataLossError) if fails else contextlib.nullcontext():
            outer.save(nesting, prefix)
    # What the inner one saved stays.
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_a_supervisor_saves_beside_the_program(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        tf1.get_variable("v", initializer=1.0)
        supervisor = tf1.train.Supervisor(
            logdir=str(tmp_path), saver=Saver(durable=False), save_model_secs=0.001
        )
        session = supervisor.prepare_or_wait_for_session("", start_standard_services=True)
        for _ in range(40):
            supervisor.saver.save(session, supervisor.save_path)
        # Raises what its thread raised.
        supervisor.stop()
    assert tf.train.latest_checkpoint(str(tmp_path)) == supervisor.save_path
    assert tf.train.load_checkpoint(supervisor.save_path).get_tensor("v") == 1.0


def test_a_rival_that_saves_without_a_saver_keeps_its_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The op locks the bundle itself; the saver that is refused removes nothing of it."""
    prefix = str(tmp_path / "m")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        saver = Saver()
        session.run(tf1.global_variables_initializer())

        def refuse(*_arguments: object, **_options: object) -> None:
            session.run(
                saver.saver_def.save_tensor_name, {saver.saver_def.filename_tensor_name: prefix}
            )
            raise tf.errors.AlreadyExistsError(None, None, "another is saving")

        monkeypatch.setattr(bundle_saves.BundleSave, "run", refuse)
        with pytest.raises(tf.errors.AlreadyExistsError):
            saver.save(session, prefix)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES[1:3]


def test_an_old_checkpoint_that_another_save_writes_anew_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        saver = Saver(max_to_keep=1)
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(tmp_path / "m"))
        with prefix_lock.held(str(tmp_path / "m"), durable=True, timeout_seconds=60):
            saver.save(session, str(tmp_path / "next"))
    assert "is not removed" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} >= set(NAMES)
