"""Evidence belongs to values: what becomes of it where saves fail, are killed, or others save."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import checkpoint
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.files import bundle, values_file
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.checkpoint.saving import bundle_saves
from autodist.errors import RefusedCheckpointError
from autodist.evidence import text
from support.evidence import (
    BAD,
    GOOD,
    evidence_of,
    latest_of,
    save,
    save_good_and_refused,
    saver_of,
)
from support.python_programs import starting

tf1 = tf.compat.v1


def test_a_failed_save_puts_the_evidence_back(
    session: Any, variable: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del variable
    saver = Saver(options=SaveOptions(check=True))
    prefix = saver.save(session, str(tmp_path / "m"))
    before = Path(f"{prefix}.evidence.json").read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise tf.errors.InternalError(None, None, "the disk is gone")

    monkeypatch.setattr(session, "run", fail)
    with pytest.raises(tf.errors.InternalError):
        saver.save(session, str(tmp_path / "m"))
    assert Path(f"{prefix}.evidence.json").read_bytes() == before
    monkeypatch.undo()
    # Without check the evidence is of other values, and goes.
    Saver().save(session, str(tmp_path / "m"))
    assert not Path(f"{prefix}.evidence.json").exists()


OVER_A_REFUSED_ONE = """
import os, sys
import numpy as np
import tensorflow as tf
from autodist.checkpoint.files import staged_files
from autodist.checkpoint.saving import bundle_saves
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import RefusedCheckpointError

bundle_saves.BundleSave.run = lambda self, running: os.kill(os.getpid(), 9)
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    w = tf.compat.v1.get_variable("w", initializer=np.float32([1, 2]), use_resource=True)
    session.run(w.initializer)
    refuse = {"nonfinite"} if sys.argv[2] == "refuse" else None
    saver = Saver(options=SaveOptions(refuse=refuse))
    saver.save(session, sys.argv[1] + "/m", 2)
"""


@pytest.mark.parametrize("how", ["refuse", "plain"])
def test_a_killed_save_over_a_refused_one_leaves_it_refused(
    how: str, session: Any, variable: Any, tmp_path: Path
) -> None:
    save_good_and_refused(tmp_path, variable)
    with starting() as start:
        process = start("-c", OVER_A_REFUSED_ONE, tmp_path, how)
        process.communicate()
    assert process.returncode == -9
    assert np.isnan(tf.train.load_variable(str(tmp_path / "m-2"), "w")[1])
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")


def test_what_stock_saved_over_a_refused_one_is_as_good_as_any(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    with pytest.raises(RefusedCheckpointError):
        save(saver_of({"nonfinite"}), tmp_path, variable, BAD, 1)
    variable.load(GOOD, session)
    tf1.train.Saver().save(session, str(tmp_path / "m"), 1)
    assert (tmp_path / "m-1.evidence.json").exists()
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")


def test_a_failed_save_that_can_read_nothing_keeps_the_evidence(
    session: Any, variable: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = save_good_and_refused(tmp_path, variable)

    def fail(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(values_file, "digest_of_index", lambda _: None)
        raise tf.errors.ResourceExhaustedError(None, None, "Too many open files")

    monkeypatch.setattr(bundle_saves.BundleSave, "run", fail)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        save(saver, tmp_path, variable, GOOD, 2)
    monkeypatch.undo()
    assert evidence_of(tmp_path / "m-2").is_refused
    (tmp_path / "checkpoint").unlink()
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")


def test_what_another_program_saved_meanwhile_is_not_compared_with(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    saver = saver_of({"norm_jump": 10})
    save(saver, tmp_path, variable, [2, 0], 1)
    variable.load(np.array([200, 0], np.float32), session)
    tf1.train.Saver().save(session, str(tmp_path / "m"), 1, write_state=False)
    save(saver, tmp_path, variable, [202, 0], 2)
    assert latest_of(tmp_path) == "m-2"
    assert evidence_of(tmp_path / "m-2").former is None


def test_a_repaired_index_does_not_lift_a_refusal(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    """It has other bytes, and the same checksums."""
    save_good_and_refused(tmp_path, variable)
    path = tmp_path / "m-2.evidence.json"
    known = text.parse(path.read_bytes())
    path.write_bytes(text.contents(dataclasses.replace(known, index="0" * 64)))
    (tmp_path / "checkpoint").unlink()
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")


def test_a_pending_checkpoint_names_its_index_before_another_save(
    session: Any, variable: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the new values and the removal of what was known of the former ones."""
    plain = Saver(options=SaveOptions(durable=False))
    save(plain, tmp_path, variable, GOOD, 1)
    evidence_file.mark_pending(str(tmp_path / "m-1"), 1, durable=False)
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "remove_file", lambda _: None)
        save(plain, tmp_path, variable, [5, 6], 1)
    assert evidence_of(tmp_path / "m-1").is_pending
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")
