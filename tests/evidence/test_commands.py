"""`autodist stat --evidence`, and what `verify` and `repair` make of evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import cli
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import RefusedCheckpointError

tf1 = tf.compat.v1


@pytest.fixture
def directory(session: Any, tmp_path: Path) -> Path:
    variable = tf1.get_variable("w", initializer=np.float32([3, 4]), use_resource=True)
    session.run(variable.initializer)
    saver = Saver(options=SaveOptions(refuse={"nonfinite"}))
    saver.save(session, str(tmp_path / "m"), 1)
    variable.load(np.float32([3, np.nan]), session)
    with pytest.raises(RefusedCheckpointError):
        saver.save(session, str(tmp_path / "m"), 2)
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process; returns exit code and all that it prints."""

    def call(*arguments: object) -> tuple[int, str]:
        code = cli.main([str(argument) for argument in arguments])
        return code, "".join(capfd.readouterr())

    return call


Run = Callable[..., tuple[int, str]]


def test_stat_shows_evidence(directory: Path, run: Run) -> None:
    code, shown = run("stat", directory / "m-1", "--evidence")
    assert code == 0
    assert shown.splitlines()[1].split() == ["w", "float32", "3", "4", "3.5", "5"]
    code, shown = run("stat", directory / "m-2", "--evidence", "--json")
    assert code == 1
    told = json.loads(shown)
    assert told["refused"][0]["rule"] == "nonfinite"
    assert told["variables"][0]["nan"] == 1
    assert told["former"] == "m-1"


def test_evidence_of_former_values_says_nothing(directory: Path, session: Any, run: Run) -> None:
    """TensorFlow's own saver has saved over a refused checkpoint."""
    variable = tf1.global_variables()[0]
    variable.load(np.float32([1, 2]), session)
    tf1.train.Saver().save(session, str(directory / "m"), 2, write_state=False)
    code, shown = run("stat", directory / "m-2", "--evidence")
    assert code == 1
    assert "is about other values" in shown
    code, shown = run("verify", directory / "m-2")
    assert code == 0
    assert "tensor 'w': its evidence is of another value" in shown
    assert "it was refused" not in shown
    (directory / "checkpoint").unlink()
    code, shown = run("repair", directory, "--write")
    assert tf.train.latest_checkpoint(str(directory)) == str(directory / "m-2")


def test_stat_says_if_there_is_none(directory: Path, run: Run) -> None:
    (directory / "m-1.evidence.json").unlink()
    code, shown = run("stat", directory / "m-1", "--evidence")
    assert code not in (0, 1)
    assert "has no evidence" in shown


def test_verify_finds_evidence_of_other_values(directory: Path, run: Run) -> None:
    assert "remark" not in run("verify", directory / "m-1")[1]
    assert "it was refused: variable 'w': 1 NaN" in run("verify", directory / "m-2")[1]
    other = (directory / "m-2.evidence.json").read_bytes()
    (directory / "m-1.evidence.json").write_bytes(other)
    code, shown = run("verify", directory / "m-1")
    assert "tensor 'w': its evidence is of another value" in shown
    assert code == 0
    (directory / "m-1.evidence.json").write_text("nonsense")
    assert "is of no use: it does not begin" in run("verify", directory / "m-1")[1]


def test_repair_names_no_refused_checkpoint(directory: Path, run: Run) -> None:
    (directory / "checkpoint").write_text("nonsense")
    _, shown = run("repair", directory, "--write")
    assert "it was refused" in shown
    assert tf.train.latest_checkpoint(str(directory)) == str(directory / "m-1")
