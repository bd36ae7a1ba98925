"""What a saver removes, and what it leaves alone whatever a state file says."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def place(session: Any, tmp_path: Path) -> Path:
    """A directory with checkpoints of another saver, beside one with a checkpoint that nobody may touch."""
    for name in ("ours", "others"):
        (tmp_path / name).mkdir()
    Saver().save(session, str(tmp_path / "others" / "m"), write_state=False)
    saver = Saver(max_to_keep=10)
    for step in (1, 2, 3):
        saver.save(session, str(tmp_path / "ours" / "m"), step)
    return tmp_path / "ours"


def save_after(recovered: list[str], session: Any, place: Path, keep: int = 3) -> Saver:
    """Saves steps 4 to 8 with a new saver that took over these checkpoints; each save removes at most one."""
    saver = Saver(max_to_keep=keep)
    saver.recover_last_checkpoints(recovered)
    for step in range(4, 9):
        saver.save(session, str(place / "m"), step)
    return saver


def test_recovered_checkpoints_in_the_directory_are_removed(session: Any, place: Path) -> None:
    save_after([str(place / f"m-{step}") for step in (1, 2, 3)], session, place)
    assert {name.split(".")[0] for name in files(place)} == {"checkpoint", "m-6", "m-7", "m-8"}


def test_checkpoints_elsewhere_stay(session: Any, place: Path) -> None:
    others = place.parent / "others"
    before = files(others)
    (place / "link").symlink_to(others)
    save_after(
        [
            str(others / "m"),
            str(place / "../others/m"),
            str(place / "link/m"),
            str(place / "./../ours/../others/m"),
        ],
        session,
        place,
    )
    assert files(others) == before


def test_a_prefix_stands_for_itself_alone(session: Any, place: Path) -> None:
    saver = save_after([str(place / "m-*"), str(place / "m-?"), str(place / "*")], session, place)
    assert saver.last_checkpoints == [str(place / f"m-{step}") for step in (6, 7, 8)]
    assert {f"m-{step}.index" for step in (1, 2, 3, 6, 7, 8)} <= files(place)


def test_wild_characters_in_a_prefix_of_ones_own(session: Any, place: Path) -> None:
    saver = Saver(max_to_keep=1)
    for step in range(3):
        saver.save(session, str(place / "m*"), step)
    assert {"m*-2.index", "m-1.index", "m-2.index"} <= files(place)
    assert not {"m*-0.index", "m*-1.index", "m*-1.meta"} & files(place)


def test_another_spelling_of_the_checkpoint_just_saved_is_not_removed(
    session: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    saver = Saver(max_to_keep=1)
    saver.recover_last_checkpoints(["m-3", "./m-3", "../ours/m-3"])
    for _ in range(4):
        saver.save(session, str(place / "m"), 3)
    latest = tf.train.latest_checkpoint(str(place))
    assert latest == str(place / "m-3")
    assert tf.train.load_variable(latest, "w").tolist() == [5.0, 7.0]


def test_absurd_paths_are_left_out(session: Any, place: Path) -> None:
    before = files(place)
    absurd = ["", "/", "..", str(place), "x" * 1_000_000, "a\0b", "/" * 5000, str(place / "none")]
    saver = Saver(max_to_keep=1)
    saver.recover_last_checkpoints(absurd + [str(place / f"gone-{i}") for i in range(5000)])
    assert saver.last_checkpoints == []
    saver.save(session, str(place / "m"), 3)
    assert files(place) == before


def test_what_a_session_recovers_from_a_hostile_state_file_stays(
    session: Any, graph: Any, place: Path
) -> None:
    others = place.parent / "others"
    before = files(others)
    (place / "checkpoint").write_text(
        f'model_checkpoint_path: "m-3"\n'
        f'all_model_checkpoint_paths: "{others}/m"\n'
        f'all_model_checkpoint_paths: "../others/m"\n'
        f'all_model_checkpoint_paths: "m-*"\n'
        f'all_model_checkpoint_paths: "m-3"\n'
    )
    saver = Saver(max_to_keep=1)
    with tf1.train.MonitoredTrainingSession(
        scaffold=tf1.train.Scaffold(saver=saver),
        checkpoint_dir=str(place),
        save_checkpoint_steps=1000,
        save_summaries_steps=None,
        log_step_count_steps=None,
    ) as monitored:
        for step in (10, 11, 12):
            saver.save(monitored._tf_sess(), str(place / "m"), step)
    assert files(others) == before
    latest = tf.train.latest_checkpoint(str(place))
    assert tf.train.load_variable(latest, "w").tolist() == [5.0, 7.0]


def test_the_eager_saver_of_tensorflow_still_removes(tmp_path: Path) -> None:
    with tf.init_scope():
        variable = tf.Variable([1.0], name="x")
        saver = Saver([variable], max_to_keep=1)
        for step in range(3):
            saver.save(None, str(tmp_path / "m"), step)
    assert {name.split(".")[0] for name in files(tmp_path)} == {"checkpoint", "m-2"}


def test_checkpoints_of_the_v1_format_are_recovered_as_stock_recovers_them(
    session: Any, place: Path
) -> None:
    v1 = tf1.train.SaverDef.V1
    whole = tf1.train.Saver(write_version=v1).save(session, str(place / "old"), write_state=False)
    sharded = tf1.train.Saver(write_version=v1, sharded=True)
    parts = sharded.save(session, str(place / "parts"), write_state=False)
    assert "-?????-of-00001" in parts
    prefixes = [
        whole,
        str(place / "m-1"),
        parts,
        str(place / "gone"),
        str(place / "g-?????-of-00001"),
    ]
    stock, saver = tf1.train.Saver(), Saver(max_to_keep=2)
    for each in (stock, saver):
        each.recover_last_checkpoints(prefixes)
    assert saver._last_checkpoints == stock._last_checkpoints
    assert saver.last_checkpoints == [whole, str(place / "m-1"), parts]
    # As with stock, a saver of the V2 format does not remove the data of the other.
    for step in (4, 5, 6):
        saver.save(session, str(place / "m"), step)
    assert "m-1.index" not in files(place)
    assert "old" in files(place)


def test_a_saver_remembers_no_more_than_it_may_remove(session: Any, tmp_path: Path) -> None:
    for keep in (None, 0, 2):
        saver = Saver(max_to_keep=keep)
        for step in range(6):
            saver.save(session, str(tmp_path / str(keep) / "m"), step, write_meta_graph=False)
        assert len(saver._own_checkpoints) <= (keep or 0)
    saver = Saver(max_to_keep=2)
    for step in range(6):
        saver.set_last_checkpoints_with_time([(str(tmp_path / f"m-{step}"), 1.0)])
    assert list(saver._own_checkpoints) == [str(tmp_path / "m-5")]
    saver = Saver(max_to_keep=1, keep_checkpoint_every_n_hours=1e-9)
    for step in range(6):
        saver.save(session, str(tmp_path / "hours" / "m"), step, write_meta_graph=False)
    assert len(saver._own_checkpoints) == 1
    assert "m-0.index" in files(tmp_path / "hours")
