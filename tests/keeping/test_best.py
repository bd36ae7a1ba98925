"""The best checkpoints stay: by a number, a tensor or a callable, and over restarts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import checkpoint
from autodist.checkpoint.files import values_file
from autodist.checkpoint.keeping import metrics_file
from autodist.checkpoint.keeping.best_checkpoints import KeepBest
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import ArgumentError, ArgumentTypeError

tf1 = tf.compat.v1

LOSSES = {1: 5.0, 2: 1.0, 3: 4.0, 4: 2.0, 5: 2.0, 6: 9.0, 7: 0.5, 8: float("nan"), 9: 8.0}


def prefixes(directory: Path) -> set[str]:
    return {path.name.removesuffix(".index") for path in directory.glob("*.index")}


def saver_of(*keep_best: Any, keep: int = 1) -> Saver:
    return Saver(max_to_keep=keep, options=SaveOptions(keep_best=keep_best, durable=False))


def save_all(saver: Saver, session: Any, directory: Path, losses: dict[int, float]) -> None:
    for step, loss in losses.items():
        saver.save(session, str(directory / "m"), step, metrics={"loss": loss})


def fail_to_write(*_: Any, **__: Any) -> None:
    raise tf.errors.InternalError(None, None, "the disk is gone")


def files_of(directory: Path, name: str) -> set[str]:
    return {path.name for path in directory.glob(name + ".*")}


def test_the_best_stay_beside_the_recent_ones(session: Any, tmp_path: Path) -> None:
    saver = saver_of("loss", 2, "min")
    kept = []
    for step, loss in LOSSES.items():
        save_all(saver, session, tmp_path, {step: loss})
        kept.append(sorted(int(name[2:]) for name in prefixes(tmp_path)))
    # Of steps 4 and 5, which are equal, the earlier is better.
    assert kept == [[1], [1, 2], [2, 3], [2, 4], [2, 4, 5], [2, 4, 6], [2, 7], [2, 7, 8], [2, 7, 9]]
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {
        "checkpoint",
        "m-2",
        "m-7",
        "m-9",
    }
    assert checkpoint.best(tmp_path, "loss", "min") == str(tmp_path / "m-7")
    assert saver.last_checkpoints == [str(tmp_path / "m-9")]


def test_more_may_be_better(session: Any, tmp_path: Path) -> None:
    save_all(saver_of("loss", 1, "max", keep=2), session, tmp_path, LOSSES)
    assert prefixes(tmp_path) == {"m-6", "m-8", "m-9"}
    assert checkpoint.best(tmp_path, "loss", "max") == str(tmp_path / "m-6")


def test_a_tensor_is_evaluated_by_each_save(session: Any, tmp_path: Path) -> None:
    step = tf1.train.get_or_create_global_step()
    distance = tf.abs(tf.cast(step, tf.float32) - 3, name="distance")
    saver = saver_of(distance, 1, "min")
    session.run(step.initializer)
    advance = step.assign_add(1)
    for _ in range(6):
        session.run(advance)
        saver.save(session, str(tmp_path / "m"), step)
    assert prefixes(tmp_path) == {"m-3", "m-6"}
    assert metrics_file.read(str(tmp_path / "m-6")).values == {"distance": 3.0}


def test_a_callable_is_called_with_the_session(session: Any, tmp_path: Path) -> None:
    def accuracy(given: Any) -> Any:
        assert given is session
        return np.float32(0.5)

    saver = saver_of(accuracy, 1, "max")
    prefix = saver.save(session, str(tmp_path / "m"), 1, metrics={"other": 3})
    assert metrics_file.read(str(prefix)).values == {"accuracy": 0.5, "other": 3.0}


def test_a_save_in_the_background_has_metrics(session: Any, tmp_path: Path) -> None:
    saver = saver_of("loss", 1, "min")
    for step, loss in ((1, 1.0), (2, 2.0), (3, 3.0)):
        saver.save_async(session, str(tmp_path / "m"), step, metrics={"loss": loss}).result()
    assert prefixes(tmp_path) == {"m-1", "m-3"}


def test_without_the_metric_a_checkpoint_is_no_best_one(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saver = saver_of("loss", 5, "min")
    saver.save(session, str(tmp_path / "m"), 1)
    assert "was saved without the metric 'loss'" in caplog.text
    saver.save(session, str(tmp_path / "m"), 2, metrics={"loss": 1})
    assert prefixes(tmp_path) == {"m-2"}


def test_another_saver_goes_on(session: Any, tmp_path: Path) -> None:
    save_all(saver_of("loss", 1, "min"), session, tmp_path, {1: 1.0, 2: 9.0, 3: 8.0})
    assert prefixes(tmp_path) == {"m-1", "m-3"}
    for name in ("other-1", "m-x"):
        other = Saver()
        path = str(tmp_path / name)
        other.save(session, path, write_state=False, metrics={"loss": 7.0})
    saver = saver_of("loss", 1, "min")
    state = tf.train.get_checkpoint_state(str(tmp_path))
    saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    save_all(saver, session, tmp_path, {4: 5.0})
    assert prefixes(tmp_path) == {"m-1", "m-4", "other-1", "m-x"}
    save_all(saver, session, tmp_path, {5: 0.5})
    assert prefixes(tmp_path) == {"m-5", "other-1", "m-x"}


def recovered(directory: Path, saver: Saver) -> Saver:
    state = tf.train.get_checkpoint_state(str(directory))
    saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    return saver


def test_what_stays_for_another_reason_outlives_a_restart(session: Any, tmp_path: Path) -> None:
    """Those kept by the hour, and those that no state file names, are not among those aside."""
    by_hour = Saver(
        max_to_keep=1,
        keep_checkpoint_every_n_hours=1e-12,
        options=SaveOptions(keep_best=("loss", 1, "min"), durable=False),
    )
    save_all(by_hour, session, tmp_path, {1: 5.0, 2: 6.0})
    save_all(saver_of("loss", 1, "min"), session, tmp_path, {3: 1.0, 4: 7.0, 5: 7.0})
    other = str(tmp_path / "m-6")
    Saver().save(session, other, write_state=False, metrics={"loss": 9.0})
    assert prefixes(tmp_path) == {"m-1", "m-2", "m-3", "m-5", "m-6"}
    saver = recovered(tmp_path, saver_of("loss", 1, "min"))
    save_all(saver, session, tmp_path, {7: 0.5, 8: 8.0})
    # Only m-3 was there because it was the best.
    assert prefixes(tmp_path) == {"m-1", "m-2", "m-6", "m-7", "m-8"}


@pytest.mark.parametrize("keep", [0, None])
def test_a_saver_that_keeps_all_removes_none_after_a_restart(
    session: Any, tmp_path: Path, keep: Any
) -> None:
    save_all(saver_of("loss", 1, "min"), session, tmp_path, {1: 1.0, 2: 2.0})
    saver = recovered(tmp_path, saver_of("loss", 1, "min", keep=keep))
    save_all(saver, session, tmp_path, {3: 0.5, 4: 0.4})
    assert prefixes(tmp_path) == {"m-1", "m-2", "m-3", "m-4"}


def test_a_best_one_that_cannot_be_marked_stays(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "no right to write")

    with monkeypatch.context() as context:
        context.setattr(metrics_file, "mark_aside", fail)
        save_all(saver_of("loss", 1, "min"), session, tmp_path, {1: 1.0, 2: 2.0})
    assert "its metrics' file cannot be marked: no right to write" in caplog.text
    saver = recovered(tmp_path, saver_of("loss", 1, "min"))
    save_all(saver, session, tmp_path, {3: 0.5, 4: 0.7})
    assert prefixes(tmp_path) == {"m-1", "m-3", "m-4"}


def test_a_failed_save_over_the_best_leaves_it_the_best(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_of("loss", 1, "min", keep=2)
    save_all(saver, session, tmp_path, {1: 9.0, 2: 1.0})
    with monkeypatch.context() as context:
        context.setattr("autodist.checkpoint.saving.bundle_saves.BundleSave.run", fail_to_write)
        with pytest.raises(tf.errors.InternalError):
            save_all(saver, session, tmp_path, {2: 10.0})
    save_all(saver, session, tmp_path, {3: 5.0, 4: 6.0, 5: 7.0})
    assert prefixes(tmp_path) == {"m-2", "m-4", "m-5"}


def test_the_files_say_which_is_the_best(session: Any, tmp_path: Path) -> None:
    """Another program may have saved over a prefix, or removed a checkpoint."""
    saver = saver_of("loss", 1, "min", keep=2)
    save_all(saver, session, tmp_path, {1: 1.0, 2: 2.0, 3: 3.0})
    tf1.train.remove_checkpoint(str(tmp_path / "m-1"))
    save_all(saver, session, tmp_path, {4: 4.0})
    assert prefixes(tmp_path) == {"m-2", "m-3", "m-4"}


def test_metrics_that_cannot_be_read_keep_recovered_ones(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_all(saver_of("loss", 1, "min", keep=2), session, tmp_path, {1: 1.0, 2: 2.0, 3: 3.0})

    def fail(prefix: str) -> None:
        raise tf.errors.UnavailableError(None, None, "the server is away")

    saver = saver_of("loss", 1, "min", keep=2)
    with monkeypatch.context() as context:
        context.setattr(metrics_file, "read", fail)
        with pytest.raises(tf.errors.UnavailableError):
            checkpoint.best(tmp_path, "loss", "min")
        recovered(tmp_path, saver)
        assert "former best checkpoints are not known" in caplog.text
        save_all(saver, session, tmp_path, {4: 4.0})
        assert "its metrics are not known" in caplog.text
        assert prefixes(tmp_path) == {"m-1", "m-2", "m-3", "m-4"}
    # Once they can be read again, m-3 is known to be no best one.
    save_all(saver, session, tmp_path, {5: 0.5, 6: 0.6})
    assert prefixes(tmp_path) == {"m-1", "m-2", "m-5", "m-6"}


def test_metrics_belong_to_the_values_beside_them(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(tmp_path / "m")
    saver = Saver()
    saver.save(session, prefix, metrics={"loss": 2})
    with monkeypatch.context() as context:
        context.setattr(metrics_file, "contents", lambda metrics: b"{")
        saver.save(session, prefix)
    assert metrics_file.read(prefix).values == {}
    assert not Path(prefix + metrics_file.SUFFIX).exists()


def test_metrics_that_were_left_are_not_taken_over(session: Any, tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    Path(f"{prefix}{metrics_file.SUFFIX}").write_bytes(metrics_file.contents({"loss": 1.0}))
    Saver().save(session, prefix)
    assert metrics_file.read(str(prefix)).values == {}


def test_a_save_that_fails_puts_metrics_back(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(tmp_path / "m")
    saver = Saver()
    saver.save(session, prefix, metrics={"loss": 2})

    monkeypatch.setattr("autodist.checkpoint.saving.bundle_saves.BundleSave.run", fail_to_write)
    with pytest.raises(tf.errors.InternalError):
        saver.save(session, prefix, metrics={"loss": 1})
    assert metrics_file.read(prefix).values == {"loss": 2.0}


def test_metrics_are_not_put_back_beside_other_values(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(tmp_path / "m")
    saver = Saver()
    saver.save(session, prefix, metrics={"loss": 2})
    session.run(tf1.trainable_variables()[0].assign_add(tf.ones([50, 4])))

    def fail(*_: Any) -> None:
        raise tf.errors.InternalError(None, None, "after the bundle was replaced")

    monkeypatch.setattr(
        "autodist.checkpoint.files.prefix_lock.HeldPrefix.take_back_directory", fail
    )
    with pytest.raises(tf.errors.InternalError):
        saver.save(session, prefix)
    assert not Path(prefix + metrics_file.SUFFIX).exists()
    assert tf.train.load_variable(prefix, "w")[0, 0] == 2


FOREIGN = ["[]", "not JSON", '{"accuracy": 0.5}', '{"format": "table", "metrics": {}}']


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_file_stays(
    session: Any, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = tmp_path / "m-1.metrics.json"
    foreign.write_text(text)
    saver = Saver(max_to_keep=1)
    saver.save(session, str(tmp_path / "m"), 1)
    assert "no save has written it. It stays" in caplog.text
    saver.save(session, str(tmp_path / "m"), 2)
    assert prefixes(tmp_path) == {"m-2"}
    assert foreign.read_text() == text
    with pytest.raises(tf.errors.FailedPreconditionError, match="Move it away"):
        saver.save(session, str(tmp_path / "m"), 1, metrics={"loss": 1})
    assert prefixes(tmp_path) == {"m-2"}
    assert foreign.read_text() == text


def test_a_directory_in_the_place_of_metrics_stays(session: Any, tmp_path: Path) -> None:
    (tmp_path / "m.metrics.json").mkdir()
    Saver().save(session, str(tmp_path / "m"))
    assert prefixes(tmp_path) == {"m"}
    assert metrics_file.read(str(tmp_path / "m")).values == {}


def test_metrics_that_cannot_be_read_fail_no_save_without_metrics(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "m.metrics.json").write_text("{}")

    def fail(*_: Any) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "no right to read")

    monkeypatch.setattr(values_file, "read", fail)
    Saver().save(session, str(tmp_path / "m"))
    assert "cannot be read (no right to read)" in caplog.text
    with pytest.raises(tf.errors.FailedPreconditionError, match="no right to read"):
        Saver().save(session, str(tmp_path / "m"), metrics={"loss": 1})


def test_the_file_is_small_json(session: Any, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    Saver().save(session, prefix, metrics={"loss": np.inf, "steps": np.int64(3)})
    text = Path(prefix + ".metrics.json").read_text()
    assert json.loads(text) == {"format": 1, "metrics": {"loss": "inf", "steps": 3.0}}
    assert metrics_file.read(prefix).values == {"loss": np.inf, "steps": 3.0}
    tf1.train.Saver().restore(session, prefix)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2}', '{"format": 1, "metrics": {"a": "b"}}']
)
def test_metrics_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.metrics.json").write_text(text)
    assert metrics_file.read(str(tmp_path / "m")).values == {}


@pytest.mark.parametrize(
    "keep_best",
    [3, ("loss", 3), (3, 3, "min"), ("loss", 0, "min"), ("loss", True, "min"), ("loss", 1, "less")],
)
def test_what_cannot_be_kept_is_refused(keep_best: Any) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match="keep_best"):
        SaveOptions(keep_best=keep_best)


def test_a_metric_that_is_no_scalar_is_refused(session: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a scalar"):
        KeepBest(tf.zeros([2]), 1, "min")


@pytest.mark.parametrize("metrics", [[1], {1: 2}, {"loss": "low"}, {"loss": [1, 2]}])
def test_metrics_that_are_no_numbers_are_refused(
    session: Any, tmp_path: Path, metrics: Any
) -> None:
    with pytest.raises(ArgumentTypeError, match="metric"):
        Saver().save(session, str(tmp_path / "m"), metrics=metrics)
    assert not list(tmp_path.iterdir())
