"""Two savers on one prefix at once: one wins whole, the other gets an error; real processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from autodist.checkpoint import prefix_lock
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1

PROGRAM = Path(__file__).with_name("saving_program.py")

Process = subprocess.Popen[str]
Start = Callable[..., Process]

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


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def run(*arguments: object) -> Process:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ask(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write("save\n")
    process.stdin.flush()


def answer(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_until_stopped(process: Process) -> None:
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def judge(*directories: Path) -> list[str]:
    """Returns for each directory the values and the graph that stock TensorFlow finds."""
    done = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input="\n".join(map(str, directories)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
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
    rivals = [start(directory / "m", number) for number in (1, 2)]
    for rival in rivals:
        assert answer(rival) == "ready"
    refused = 0
    kept, winners = [], []
    for number in range(25):
        for rival in rivals:
            ask(rival)
        answers = [answer(rival) for rival in rivals]
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
    stopped, other = start(directory / "m", 1, "stops"), start(directory / "m", 2)
    assert [answer(process) for process in (stopped, other)] == ["ready", "ready"]
    ask(stopped)
    wait_until_stopped(stopped)
    ask(other)
    assert f"process {stopped.pid} on " in answer(other)
    os.kill(stopped.pid, signal.SIGCONT)
    assert answer(stopped) == "saved"
    first = snapshot(directory, tmp_path / "first")
    ask(stopped)
    wait_until_stopped(stopped)
    stopped.kill()
    stopped.wait()
    ask(other)
    assert answer(other) == "saved"
    assert judge(first, directory) == ["1.0 graph_of_1", "2.0 graph_of_2"]
    assert sorted(path.name for path in directory.iterdir()) == NAMES


def test_of_two_threads_one_gets_an_error_and_the_next_save_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(tmp_path / "m")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=1.0)
        savers = Saver(), Saver()
        session.run(tf1.global_variables_initializer())
        inside, go_on = threading.Event(), threading.Event()
        save_bundle = Saver._save_bundle

        def pause(self: Saver, *arguments: object, **options: object) -> object:
            inside.set()
            assert go_on.wait(30)
            return save_bundle(self, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Saver, "_save_bundle", pause)
        thread = threading.Thread(target=savers[0].save, args=(session, prefix))
        thread.start()
        assert inside.wait(30)
        with pytest.raises(tf.errors.AlreadyExistsError, match=f"{os.getpid()} on .* is saving"):
            savers[1].save(session, prefix)
        go_on.set()
        thread.join()
        savers[1].save(session, prefix)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


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

        monkeypatch.setattr(Saver, "_save_bundle", refuse)
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
        with prefix_lock.held(str(tmp_path / "m"), durable=True):
            saver.save(session, str(tmp_path / "next"))
    assert "is not removed" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} >= set(NAMES)
