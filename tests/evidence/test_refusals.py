"""Checkpoints that break a rule: what stays, what moves, and what the next save does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import checkpoint
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.hooks.saver_hook import AsyncCheckpointSaverHook
from autodist.checkpoint.saver import Refuse, SaveOptions, Saver
from autodist.errors import ArgumentError, ArgumentTypeError, RefusedCheckpointError
from autodist.evidence.figures import Evidence
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


def test_a_refused_checkpoint_stays_and_the_latest_too(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    saver = saver_of({"nonfinite"})
    save(saver, tmp_path, variable, GOOD, 1)
    with pytest.raises(RefusedCheckpointError) as caught:
        save(saver, tmp_path, variable, BAD, 2)
    assert "variable 'w': 1 NaN of 2 elements; the limit is 0 (rule 'nonfinite')" in str(
        caught.value
    )
    assert latest_of(tmp_path) == "m-1"
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")
    # All of it is there, to look at.
    assert np.isnan(tf.train.load_variable(str(tmp_path / "m-2"), "w")[1])
    assert (tmp_path / "m-2.meta").exists()
    assert evidence_of(tmp_path / "m-2").violations[0].rule == "nonfinite"
    # The next save is as any.
    save(saver, tmp_path, variable, GOOD, 3)
    assert latest_of(tmp_path) == "m-3"
    assert saver.last_checkpoints == [str(tmp_path / "m-1"), str(tmp_path / "m-3")]
    assert evidence_of(tmp_path / "m-3").former == "m-1"


def test_nothing_good_is_removed_because_of_a_refused_one(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    saver = saver_of({"nonfinite"}, keep=2, keep_best=("loss", 1, "min"))

    def saves(value: Any, step: int, loss: float) -> None:
        variable.load(value, session)
        saver.save(session, str(tmp_path / "m"), step, metrics={"loss": loss})

    saves(GOOD, 1, 5.0)
    saves(GOOD, 2, 4.0)
    for step in (3, 4, 5):
        with pytest.raises(RefusedCheckpointError):
            saves(BAD, step, 0.0)
    assert {path.name for path in tmp_path.glob("*.index")} == {f"m-{n}.index" for n in range(1, 6)}
    saves(GOOD, 6, 6.0)
    saves(GOOD, 7, 7.0)
    saves(GOOD, 8, 8.0)
    # 2 is the best, 7 and 8 are recent; those that were refused are nobody's to remove.
    kept = {path.name.removesuffix(".index") for path in tmp_path.glob("*.index")}
    assert kept == {"m-2", "m-3", "m-4", "m-5", "m-7", "m-8"}
    # Evidence goes with its checkpoint.
    assert {path.name.split(".")[0] for path in tmp_path.glob("m-*")} == kept


def test_a_warning_lets_training_go_on(
    session: Any, variable: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saver = saver_of(Refuse(nonfinite=True, action="warning"))
    save(saver, tmp_path, variable, GOOD, 1)
    assert save(saver, tmp_path, variable, BAD, 2) == str(tmp_path / "m-2")
    assert "is refused: variable 'w': 1 NaN" in caplog.text
    assert latest_of(tmp_path) == "m-1"


def test_a_jump_of_a_norm_is_refused(session: Any, variable: Any, tmp_path: Path) -> None:
    saver = saver_of({"norm_jump": 10})
    save(saver, tmp_path, variable, GOOD, 1)
    save(saver, tmp_path, variable, GOOD * 9, 2)
    with pytest.raises(RefusedCheckpointError, match=r"20 times the former 45; the limit is 10"):
        save(saver, tmp_path, variable, GOOD * 180, 3)
    # As after a restart: compared with what the state file names.
    again = saver_of({"norm_jump": 10})
    with pytest.raises(RefusedCheckpointError, match=r"rule 'norm_jump'"):
        save(again, tmp_path, variable, GOOD * 180, 4)
    save(again, tmp_path, variable, GOOD * 0, 5)
    # What was 0 has no ratio.
    save(again, tmp_path, variable, GOOD * 1e6, 6)
    assert latest_of(tmp_path) == "m-6"


def test_replicas_that_deviate_are_refused(session: Any, tmp_path: Path) -> None:
    copies = []
    for number in range(2):
        copy = tf1.get_variable(f"copy{number}", initializer=GOOD, use_resource=True)
        copy._set_save_slice_info(tf1.Variable.SaveSliceInfo("w", [2], [0], [2]))
        copies.append(copy)
    session.run(tf1.global_variables_initializer())
    saver = saver_of({"deviation": 1e-3})
    save(saver, tmp_path, copies[0], GOOD, 1)
    with pytest.raises(RefusedCheckpointError, match=r"'w': its replicas differ by up to 0\.5"):
        save(saver, tmp_path, copies[0], GOOD + np.float32(0.5), 2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("too large", "too large"),
        (["one", "two"], "one .*two"),
        (ValueError("no"), "raised ValueE"),
    ],
)
def test_a_callable_gives_reasons(
    answer: Any, expected: str, session: Any, variable: Any, tmp_path: Path
) -> None:
    def rule(evidence: Evidence) -> Any:
        if evidence.variables["w"].maximum == 4:
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    saver = saver_of({"rule": rule})
    save(saver, tmp_path, variable, GOOD, 1)
    with pytest.raises(RefusedCheckpointError, match=expected):
        save(saver, tmp_path, variable, GOOD * 2, 2)
    assert latest_of(tmp_path) == "m-1"


def test_rules_leave_out_what_is_ignored(session: Any, variable: Any, tmp_path: Path) -> None:
    save(saver_of({"nonfinite": True, "ignore": "w*"}), tmp_path, variable, BAD, 1)
    assert latest_of(tmp_path) == "m-1"


def test_a_save_over_a_prefix_is_judged_before_it_replaces(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    prefix = str(tmp_path / "m")
    saver = saver_of({"nonfinite"})
    for value in (GOOD, GOOD * 2):
        variable.load(value, session)
        saver.save(session, prefix)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    variable.load(BAD, session)
    with pytest.raises(RefusedCheckpointError, match="The checkpoint that was there before is"):
        saver.save(session, prefix)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    forgiving = saver_of(Refuse(nonfinite=True, action="warning"))
    assert forgiving.save(session, prefix) == prefix
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_save_in_the_background_tells_its_handle(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    saver = saver_of({"nonfinite"})
    saver.save_async(session, str(tmp_path / "m"), 1).result()
    variable.load(BAD, session)
    handle = saver.save_async(session, str(tmp_path / "m"), 2)
    with pytest.raises(RefusedCheckpointError, match="rule 'nonfinite'"):
        handle.result()
    handle = saver_of(Refuse(nonfinite=True, action="warning")).save_async(
        session, str(tmp_path / "m"), 3
    )
    assert handle.result() == str(tmp_path / "m-3")
    assert handle.report is not None
    assert handle.report.is_refused
    # One that nobody asked: the next save tells.
    saver.save_async(session, str(tmp_path / "m"), 4).done()
    variable.load(GOOD, session)
    with pytest.raises(RefusedCheckpointError, match=r"the former save, of .*m-4"):
        saver.save(session, str(tmp_path / "m"), 5)
    saver.save(session, str(tmp_path / "m"), 6)
    assert latest_of(tmp_path) == "m-6"


@pytest.mark.parametrize("action", ["error", "warning"])
def test_hooks_end_a_training_only_if_that_was_chosen(action: str, tmp_path: Path) -> None:
    told: list[int] = []

    class Listener(tf1.train.CheckpointSaverListener):
        def after_save(self, session: Any, global_step_value: int) -> None:
            told.append(int(global_step_value))

    with tf.Graph().as_default():
        step = tf1.train.get_or_create_global_step()
        w = tf1.get_variable("w", initializer=GOOD, use_resource=True)
        advance = step.assign_add(1)
        with tf.control_dependencies([advance]):
            train = w.assign(tf.where(tf.equal(step, 3), tf.constant(BAD), tf.constant(GOOD)))
        saver = saver_of(Refuse(nonfinite=True, action=action))
        hook = AsyncCheckpointSaverHook(
            str(tmp_path), save_steps=1, saver=saver, listeners=[Listener()], when_busy="wait"
        )

        def run() -> None:
            with tf1.train.MonitoredTrainingSession(
                hooks=[hook], save_checkpoint_secs=None, save_summaries_steps=None
            ) as session:
                for _ in range(5):
                    session.run(train)

        if action == "error":
            with pytest.raises(RefusedCheckpointError, match=r"model\.ckpt-3"):
                run()
            assert latest_of(tmp_path) == "model.ckpt-2"
        else:
            run()
            assert latest_of(tmp_path) == "model.ckpt-5"
            assert 3 not in told
            assert told[-1] == 5


def test_a_stock_hook_goes_on_from_the_latest_after_a_restart(tmp_path: Path) -> None:
    """It saves the step that it restored once more, over the prefix in use."""

    def train(bad_step: int) -> None:
        with tf.Graph().as_default():
            step = tf1.train.get_or_create_global_step()
            w = tf1.get_variable("w", initializer=GOOD, use_resource=True)
            with tf.control_dependencies([step.assign_add(1)]):
                next_value = tf.where(tf.equal(step, bad_step), tf.constant(BAD), tf.constant(GOOD))
                advance = w.assign(next_value)
            hook = tf1.train.CheckpointSaverHook(
                str(tmp_path), save_steps=1, saver=saver_of({"nonfinite"})
            )
            with tf1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path),
                hooks=[hook],
                save_checkpoint_secs=None,
                save_summaries_steps=None,
            ) as session:
                for _ in range(3):
                    session.run(advance)

    with pytest.raises(RefusedCheckpointError, match=r"model\.ckpt-3"):
        train(bad_step=3)
    assert latest_of(tmp_path) == "model.ckpt-2"
    train(bad_step=0)
    assert latest_of(tmp_path) == "model.ckpt-5"
    assert not evidence_of(tmp_path / "model.ckpt-3").is_refused


def test_what_nobody_checked_is_refused(session: Any, variable: Any, tmp_path: Path) -> None:
    del variable
    saver = saver_of({"nonfinite"})
    for node in session.graph.get_operations():
        if node.type == "SaveV2":
            for name in [name for name in node.node_def.attr if name.startswith("_autodist")]:
                node._clear_attr(name)
    with pytest.raises(RefusedCheckpointError, match="'w': it has no figures: TensorFlow's own"):
        saver.save(session, str(tmp_path / "m"), 1)


def test_the_newest_sound_one_is_no_refused_one(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    save_good_and_refused(tmp_path, variable)
    (tmp_path / "checkpoint").unlink()
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")
    # As a kill between data and evidence leaves it.
    evidence_file.mark_pending(str(tmp_path / "m-2"), 2, durable=False)
    assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")


KILLED = """
import os, sys
import numpy as np
import tensorflow as tf
from autodist.checkpoint.files import staged_files
from autodist.checkpoint.saver import SaveOptions, Saver

left = int(sys.argv[2])
original = staged_files.StagedFiles.commit

def commit(self):
    for path, file in self._files.items():
        if path in self._moved:
            continue
        global left
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
        self._moved.add(path)
        file.commit()

staged_files.StagedFiles.commit = commit
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    w = tf.compat.v1.get_variable("w", initializer=np.float32(sys.argv[3]), use_resource=True)
    session.run(w.initializer)
    saver = Saver(options=SaveOptions(refuse={"nonfinite"}))
    saver.save(session, sys.argv[1] + "/m", 2)
print("saved")
"""


@pytest.mark.parametrize(("value", "commits"), [("1", range(1, 5)), ("nan", range(2, 4))])
def test_a_killed_save_names_nothing_that_nobody_judged(
    value: str, commits: range, session: Any, variable: Any, tmp_path: Path
) -> None:
    save(saver_of({"nonfinite"}), tmp_path, variable, GOOD, 1)
    for committed in commits:
        with starting() as start:
            process = start("-c", KILLED, tmp_path, committed, value)
            process.communicate()
        latest = latest_of(tmp_path)
        if latest == "m-2":
            assert value == "1"
            assert evidence_of(tmp_path / "m-2").why_not_latest() is None
            break
        assert latest == "m-1"
        assert checkpoint.latest(tmp_path) == str(tmp_path / "m-1")
        for path in tmp_path.glob("m-2*"):
            path.unlink()
    else:
        assert value == "nan"


def test_a_prefix_that_the_state_file_names_is_in_use_without_a_bundle(
    session: Any, variable: Any, tmp_path: Path
) -> None:
    saver = saver_of({"nonfinite"})
    save(saver, tmp_path, variable, GOOD, 1)
    for path in tmp_path.glob("m-1.*"):
        path.unlink()
    with pytest.raises(RefusedCheckpointError, match="the state file names this prefix already"):
        save(saver, tmp_path, variable, BAD, 1)
    assert not (tmp_path / "m-1.index").exists()
    save(saver, tmp_path, variable, GOOD, 1)
    assert tf.train.load_variable(str(tmp_path / "m-1"), "w")[1] == 4


def test_a_refused_one_is_not_the_best(session: Any, variable: Any, tmp_path: Path) -> None:
    saver = saver_of({"nonfinite"})
    for step, (value, loss) in enumerate([(GOOD, 2.0), (GOOD, 3.0)]):
        variable.load(value, session)
        saver.save(session, str(tmp_path / "m"), step, metrics={"loss": loss})
    variable.load(BAD, session)
    with pytest.raises(RefusedCheckpointError):
        saver.save(session, str(tmp_path / "m"), 2, metrics={"loss": 1.0})
    assert checkpoint.best(tmp_path, "loss", "min") == str(tmp_path / "m-0")


def test_only_strings_and_empty_variables(session: Any, tmp_path: Path) -> None:
    words = tf1.get_variable("words", initializer=["a", "bc"], use_resource=True)
    empty = tf1.get_variable("empty", shape=(0, 3), use_resource=True)
    session.run(tf1.global_variables_initializer())
    for number, variables in enumerate([[words], [empty], [words, empty]]):
        saver = Saver(variables, options=SaveOptions(refuse={"nonfinite"}))
        prefix = saver.save(session, str(tmp_path / "m"), number)
        found = evidence_of(prefix)
        assert set(found.variables) | set(found.not_checked) == {each.op.name for each in variables}
        assert found.not_checked.get("words", "string has no figures") == "string has no figures"


def test_a_pattern_without_a_variable_turns_no_rule_off(
    session: Any, variable: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RefusedCheckpointError, match="fits the pattern 'W'"):
        save(saver_of({"nonfinite"}, check=["W"]), tmp_path, variable, BAD, 1)
    save(saver_of(None, check=["W", "w"]), tmp_path, variable, BAD, 2)
    assert "fits the pattern 'W'" in caplog.text
    assert "fits the pattern 'w'" not in caplog.text


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"refuse": {"norm_jump"}}, ArgumentError, "cannot be given by name alone"),
        ({"refuse": {"nan": True}}, ArgumentError, "there is no rule 'nan'"),
        ({"refuse": {"norm_jump": 0.5}}, ArgumentError, "must be 1 or more"),
        ({"refuse": {"deviation": "1"}}, ArgumentTypeError, "must be a number"),
        ({"refuse": {"nonfinite": 1}}, ArgumentTypeError, "must be True or False"),
        ({"refuse": {"rule": 3}}, ArgumentTypeError, "must be callable"),
        ({"refuse": {"action": "raise"}}, ArgumentError, "action must be one of"),
        ({"refuse": 3}, ArgumentTypeError, "refuse must be a Refuse"),
        ({"check": "w"}, ArgumentTypeError, "check must be True, False, or names"),
        ({"check": [3]}, ArgumentTypeError, "names must be texts"),
        ({"proof": "stick"}, ArgumentError, "proof must be 'stock'"),
        ({"proof": 3}, ArgumentTypeError, "proof must be 'stock'"),
        ({"evidence_logdir": 3}, ArgumentTypeError, "must be a path"),
    ],
)
def test_wrong_options_are_named(how: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        SaveOptions(**how)


def test_v1_is_refused_by_name(session: Any, variable: Any, tmp_path: Path) -> None:
    del variable
    saver = Saver(write_version=tf1.train.SaverDef.V1, options=SaveOptions(check=True))
    with pytest.raises(ArgumentError, match="need the format V2"):
        saver.save(session, str(tmp_path / "m"))
