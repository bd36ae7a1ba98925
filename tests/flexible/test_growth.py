"""Which stored row a grown variable takes: by number, and by vocabularies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.flexible.growth import RowMaps, growths
from autodist.checkpoint.options import Growth, RestoreOptions
from autodist.errors import ArgumentError, ArgumentTypeError

SHAPES = {"emb": (5, 2), "emb/Adam": (5, 2), "emb/proj": (2, 2), "head": (2, 5), "open": None}


def vocabulary(path: Path, words: str) -> str:
    path.write_text("".join(f"{word}\n" for word in words))
    return str(path)


def rows(growth: Growth, stored: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    return list(RowMaps().rows("emb", growth, stored, shape))


def test_slots_grow_like_their_variable() -> None:
    assert set(growths({"emb": 0}, SHAPES)) == {"emb", "emb/Adam"}


@pytest.mark.parametrize("rest", ["zeros", tf.compat.v1.random_normal_initializer()])
def test_slots_begin_as_their_optimizer_says(rest: Any) -> None:
    found = growths({"emb": Growth(rest=rest)}, SHAPES)
    assert found["emb"].rest is rest
    assert found["emb/Adam"] == Growth(rest="initialize")
    assert growths({"emb": Growth(rest="keep")}, SHAPES)["emb/Adam"].rest == "keep"
    named = growths({"emb": Growth(rest=rest), "emb/Adam": Growth(rest="zeros")}, SHAPES)
    assert named["emb/Adam"].rest == "zeros"
    by_globs = growths({"emb*": Growth(rest=rest)}, SHAPES)
    assert by_globs["emb/Adam"].rest == "initialize"
    assert by_globs["emb/proj"].rest is rest
    assert growths({"*Adam": Growth(rest=rest)}, SHAPES)["emb/Adam"].rest is rest


def test_globs_name_several() -> None:
    found = growths({"emb*": 0, "head": Growth(axis=1, rest="keep")}, SHAPES)
    assert set(found) == {"emb", "emb/Adam", "emb/proj", "head"}
    assert found["head"].rest == "keep"


@pytest.mark.parametrize(
    ("grow", "says"),
    [
        ({"embb": 0}, "matches 'embb'; nearest are 'emb'"),
        ({"emb": 0, "e*b": 1}, "'emb' and 'e*b' differ for 'emb'"),
        ({"emb": 2}, "has shape [5, 2], and so no axis 2"),
        ({"open": 0}, "the shape of 'open' is not known"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(grow: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        growths(grow, SHAPES)
    assert says in str(caught.value)


def test_rows_keep_their_numbers() -> None:
    assert rows(Growth(), (3, 2), (5, 2)) == [0, 1, 2, -1, -1]
    assert rows(Growth(axis=1), (5, 0), (5, 2)) == [-1, -1]


def test_rows_follow_their_lines(tmp_path: Path) -> None:
    growth = Growth(
        new_vocabulary=vocabulary(tmp_path / "new", "cdaxx"),
        new_size=4,
        old_vocabulary=vocabulary(tmp_path / "old", "abc"),
        num_oov_buckets=2,
    )
    # One stored row is that of a former bucket.
    assert rows(growth, (4, 2), (6, 2)) == [2, -1, 0, -1, -1, -1]


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"b\r\na\r\n")
    (tmp_path / "old").write_bytes(b"a\nb")
    growth = Growth(new_vocabulary=str(tmp_path / "new"), old_vocabulary=str(tmp_path / "old"))
    assert rows(growth, (2,), (2,)) == [1, 0]


@pytest.mark.parametrize(
    ("stored", "shape", "says"),
    [
        ((6, 2), (5, 2), "it is shorter than in the checkpoint"),
        ((3, 3), (5, 2), "all other axes must be as long"),
        ((3,), (5, 2), "all other axes must be as long"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(stored: Any, shape: Any, says: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        rows(Growth(), stored, shape)


@pytest.mark.parametrize(
    ("new", "old", "arguments", "says"),
    [
        ("abc", "ab", {}, "has 5 rows along axis 0, but .*new has 3 lines"),
        ("abcde", "abcd", {}, "has 3 rows in the checkpoint, but .*old has 4 lines"),
        ("abcda", "ab", {}, "new has the line 'a' twice"),
        ("abcde", "aa", {}, "old has the line 'a' twice"),
        ("abcd", "ab", {"new_size": 5}, "new has 4 lines, but 5 of them"),
    ],
)
def test_vocabularies_that_do_not_fit_are_refused(
    tmp_path: Path, new: str, old: str, arguments: Any, says: str
) -> None:
    growth = Growth(
        new_vocabulary=vocabulary(tmp_path / "new", new),
        old_vocabulary=vocabulary(tmp_path / "old", old),
        **arguments,
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        rows(growth, (3, 2), (5, 2))


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    growth = Growth(new_vocabulary=str(tmp_path / "none"), old_vocabulary=str(tmp_path / "none"))
    with pytest.raises(tf.errors.NotFoundError, match="none"):
        rows(growth, (3, 2), (5, 2))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"missing": "ignore"}, "missing must be one of"),
        ({"unexpected": True}, "unexpected must be one of"),
        ({"cast": 1}, "cast must be True or False"),
        ({"dry_run": None}, "dry_run must be True or False"),
        ({"name_map": 3}, "name_map must be a dict"),
        ({"name_map": {"a": 1}}, "a name must be a str"),
        ({"name_map": ["ab"]}, "no pair of a regular expression"),
        ({"name_map": [("(", "a")]}, "no regular expression"),
        ({"grow": ["emb"]}, "grow must be a dict"),
        ({"grow": {"emb": "0"}}, "an axis, a Growth or a VocabInfo"),
        ({"grow": {"emb": -1}}, "axis must be 0 or more"),
        ({"grow": {1: 0}}, "a name must be a str"),
    ],
)
def test_options_are_checked_when_they_are_given(arguments: Any, says: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=says):
        RestoreOptions(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rest": "ones"}, "rest must be one of"),
        ({"new_vocabulary": "a"}, "one of them was given"),
        ({"new_size": 3}, "belong to vocabularies"),
        ({"num_oov_buckets": True}, "num_oov_buckets must be an int"),
    ],
)
def test_a_growth_is_checked_when_it_is_made(arguments: Any, says: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=says):
        Growth(**arguments)


def test_a_vocab_info_of_tensorflow_is_taken() -> None:
    info = tf.compat.v1.train.VocabInfo("new", 5, 1, "old", old_vocab_size=3, axis=1)
    assert Growth.of(info) == Growth(
        axis=1,
        rest="zeros",
        new_vocabulary="new",
        old_vocabulary="old",
        new_size=5,
        old_size=3,
        num_oov_buckets=1,
    )
    np.testing.assert_equal(Growth.of(2).axis, 2)
