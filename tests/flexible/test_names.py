"""Under which name of the checkpoint a variable is read, and every way to be wrong about it."""

from typing import Any

import pytest

from autodist.checkpoint.flexible import names
from autodist.errors import ArgumentError, ArgumentTypeError

SHAPES = {"emb": (4, 2), "emb/Adam": (4, 2), "emb/proj": (2, 2), "bias": (2,)}


def mapped(name_map: Any, stored: set[str]) -> dict[str, str]:
    return names.mapped(name_map, SHAPES, stored, "m")


def test_without_a_map_names_stay() -> None:
    assert mapped(None, set()) == {name: name for name in SHAPES}


def test_slots_follow_a_dict_and_other_variables_do_not() -> None:
    found = mapped({"emb": "old"}, {"old", "old/Adam", "emb/proj", "bias"})
    expected = {"emb": "old", "emb/Adam": "old/Adam", "emb/proj": "emb/proj", "bias": "bias"}
    assert found == expected


def test_a_slot_that_is_named_itself_does_not_follow() -> None:
    found = mapped({"emb": "old", "emb/Adam": "m"}, {"old", "m"})
    assert found["emb/Adam"] == "m"


def test_patterns_match_whole_names() -> None:
    found = mapped([("emb(/.*)?", r"model/table\1"), ("bias", "b")], {"model/table", "b"})
    assert found == {
        "emb": "model/table",
        "emb/Adam": "model/table/Adam",
        "emb/proj": "model/table/proj",
        "bias": "b",
    }


def test_a_callable_may_leave_names_as_they_are() -> None:
    found = mapped(lambda name: "x/" + name if name == "bias" else None, {"x/bias"})
    assert found == {**{name: name for name in SHAPES}, "bias": "x/bias"}


def test_a_dict_may_read_one_tensor_twice() -> None:
    found = mapped({"emb": "old", "emb/Adam": "old"}, {"old"})
    assert found["emb"] == found["emb/Adam"] == "old"


@pytest.mark.parametrize(
    ("name_map", "stored", "says"),
    [
        ({"embb": "old"}, {"old"}, "restores no variable 'embb'; nearest are 'emb'"),
        ({"emb": "older"}, {"old"}, "'older', which m does not have; nearest are 'old'"),
        ([("em", "old")], {"old"}, "no variable of this Saver matches 'em' as a whole"),
        (
            [("emb", "a"), (".*", "b")],
            {"a"},
            "'emb' becomes 'a' by 'emb' and 'b' by '.*'. Let one",
        ),
        ([("emb", r"\3")], {"a"}, "does not fit 'emb'"),
        ([("(emb|bias)", "a")], {"a"}, "'emb' and 'bias' would both be read from 'a'"),
        ({"emb": "bias"}, {"bias"}, "'emb' and 'bias' would both be read from 'bias'"),
        (lambda name: "old/" + name, {"bias"}, "it has 'bias'. Leave 'bias' out"),
    ],
)
def test_a_map_that_is_wrong_is_refused(name_map: Any, stored: set[str], says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        mapped(name_map, stored)
    assert says in str(caught.value)


def test_a_callable_that_returns_no_name_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="for 'emb' the callable returned 3"):
        mapped(lambda name: 3, set())
