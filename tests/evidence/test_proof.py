"""Proofs by a process with TensorFlow alone: what it reads, what it tells, and that it ends."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.evidence import stock_proof, stock_restore
from autodist.checkpoint.saver import Proof, SaveOptions, Saver
from autodist.errors import ArgumentError, RefusedCheckpointError
from support.evidence import evidence_of, latest_of
from support.processes import is_running
from support.python_programs import starting

tf1 = tf.compat.v1

PROVED = SaveOptions(proof="stock", durable=False)

# In place of the program: what a process may do.
FAILS = 'import json; print(json.dumps({"error": "NotFoundError: Key w not found"})); raise SystemExit(1)'
DIES = "import os; os.kill(os.getpid(), 11)"
PRINTS = "import sys; print('no such library', file=sys.stderr); sys.exit(5)"
READS = """
import json
print("noise")
print(json.dumps({"read": ["w"]}))
print(1)
print("more noise")
"""
HANGS = """
import os, sys, time
open(sys.argv[3] + ".pid", "w").write(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def saver(session: Any) -> Saver:
    tf1.get_variable("w", initializer=np.float32(3), use_resource=True)
    session.run(tf1.global_variables_initializer())
    return Saver(options=PROVED)


def instead(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(program)
    monkeypatch.setattr(stock_proof, "_PROGRAM", path)


def test_stock_restores_what_was_saved(session: Any, saver: Saver, tmp_path: Path) -> None:
    handle = saver.save_async(session, str(tmp_path / "m"), 1)
    assert latest_of(tmp_path) is None
    assert handle.result() == str(tmp_path / "m-1")
    assert evidence_of(tmp_path / "m-1").proof == "stock"
    assert latest_of(tmp_path) == "m-1"


def test_a_graph_that_is_not_the_checkpoints_fails(tmp_path: Path) -> None:
    """What the program does, in this process."""
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [tf1.get_variable(name, initializer=np.float32(3)) for name in "ab"]
        session.run(tf1.global_variables_initializer())
        prefix = Saver().save(session, str(tmp_path / "m"))
        assert stock_restore.restore(prefix + ".meta", prefix, []) == ["a", "b"]
        less = str(tmp_path / "less.meta")
        Saver(variables[:1]).export_meta_graph(less)
        tf1.get_variable("missing", initializer=np.float32(3))
        more = str(tmp_path / "more.meta")
        Saver().export_meta_graph(more)
    with pytest.raises(ValueError, match="the graph restores 1 names, but not 1 of: b"):
        stock_restore.restore(less, prefix, [])
    with pytest.raises(tf.errors.NotFoundError, match="missing"):
        stock_restore.restore(more, prefix, [])


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (FAILS, "cannot restore it: NotFoundError: Key w not found"),
        (DIES, "was killed by signal 11"),
        (PRINTS, "ended with code 5. no such library"),
    ],
)
def test_what_failed_is_told(
    program: str, expected: str, saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tf1.get_default_session()
    instead(READS, monkeypatch, tmp_path)
    saver.save(session, str(tmp_path / "m"), 1)
    instead(program, monkeypatch, tmp_path)
    with pytest.raises(RefusedCheckpointError) as caught:
        saver.save(session, str(tmp_path / "m"), 2)
    assert expected in str(caught.value)
    assert latest_of(tmp_path) == "m-1"
    assert evidence_of(tmp_path / "m-2").violations[0].rule == "proof"


def test_a_save_over_a_prefix_is_proved_first(
    session: Any, saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(READS, monkeypatch, tmp_path)
    prefix = saver.save(session, str(tmp_path / "m"))
    saver.save(session, prefix)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("m*")}
    instead(FAILS, monkeypatch, tmp_path)
    with pytest.raises(RefusedCheckpointError, match="rule 'proof'"):
        saver.save(session, prefix)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("m*")} == before


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e7])
def test_a_proof_takes_a_week_at_most(seconds: float) -> None:
    with pytest.raises(ArgumentError, match="more than 0 and at most 604800, not "):
        Proof(timeout_seconds=seconds)


def test_a_process_that_takes_too_long_is_killed(
    session: Any, saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del saver
    instead(HANGS, monkeypatch, tmp_path)
    slow = Saver(options=SaveOptions(proof=Proof(timeout_seconds=0.5)))
    handle = slow.save_async(session, str(tmp_path / "m"))
    # Training goes on meanwhile: the values are taken.
    with pytest.raises(RefusedCheckpointError, match=r"did not end within 0\.5 s"):
        handle.result()
    process = int((tmp_path / "m.pid").read_text())
    assert not is_running(process)


SAVES = """
import sys
import numpy as np
import tensorflow as tf
from pathlib import Path
from autodist.checkpoint.evidence import stock_proof, stock_restore
from autodist.checkpoint.saver import SaveOptions, Saver

program = Path(stock_proof._PROGRAM).read_text().replace(
    "_end_with(int(parent))",
    "_end_with(int(parent)); open(prefix + '.pid', 'w').write(str(os.getpid())); time.sleep(600)",
)
stock_proof._PROGRAM = Path(sys.argv[1]) / "program.py"
stock_proof._PROGRAM.write_text(program)
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    w = tf.compat.v1.get_variable("w", initializer=np.float32(3), use_resource=True)
    session.run(w.initializer)
    Saver(options=SaveOptions(proof="stock")).save(session, sys.argv[1] + "/m")
"""


def proving_process(directory: Path) -> int:
    """Waits until the process of a proof has told its number; returns it."""
    told = directory / "m.pid"
    end = time.monotonic() + 60
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(told.read_text())


def test_the_process_does_not_outlive_a_killed_save(tmp_path: Path) -> None:
    with starting() as start:
        process = start("-c", SAVES, tmp_path)
        proving = proving_process(tmp_path)
        assert is_running(proving)
        os.kill(process.pid, signal.SIGKILL)
        end = time.monotonic() + 20
        while is_running(proving):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert latest_of(tmp_path) is None
    assert evidence_of(tmp_path / "m").is_pending


def test_signals_to_all_processes_of_the_job_do_not_refuse(tmp_path: Path) -> None:
    """A job that handles SIGTERM, as hooks do, goes on with its save."""
    program = (
        "import os, signal\nos.setpgid(0, 0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n" + SAVES.replace("(600)", "(2)")
    )
    with starting() as start:
        process = start("-c", program, tmp_path)
        proving = proving_process(tmp_path)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
            # A scheduler sends it to each process.
            os.kill(proving, number)
        assert process.wait() == 0
    assert latest_of(tmp_path) == "m"
    assert evidence_of(tmp_path / "m").proof == "stock"


def test_modules_of_the_directory_are_not_imported(
    session: Any, saver: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "ctypes", "threading", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is somebody else's')")
    monkeypatch.chdir(tmp_path)
    saver.save(session, str(tmp_path / "m"), 1)
    assert evidence_of(tmp_path / "m-1").proof == "stock"


def test_the_program_knows_nothing_of_autodist() -> None:
    source = Path(stock_proof._PROGRAM).read_text()
    assert "autodist" not in [
        word.split(".")[0]
        for line in source.splitlines()
        if line.strip().startswith(("import ", "from "))
        for word in line.split()[1:2]
    ]
