"""`SaveOptions` and `RestoreOptions`: what they ask for happens, and keywords that disagree are refused."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import RestoreOptions, SaveOptions, Saver

tf1 = tf.compat.v1


def marks_of(saver: Saver) -> dict[str, dict[str, Any]]:
    """Our attributes of the nodes of a saver, by the type of the node."""
    graph = tf1.get_default_graph()
    filename = graph.get_tensor_by_name(saver.saver_def.filename_tensor_name)
    return {
        op.type: {
            key.removeprefix("_autodist_"): op.get_attr(key)
            for key in op.node_def.attr
            if key.startswith("_autodist")
        }
        for op in filename.consumers()
        if op.type in {"SaveV2", "RestoreV2"}
    }


@pytest.fixture
def variable() -> Any:
    with tf.Graph().as_default():
        yield tf1.get_variable("v", initializer=tf.ones([2]), use_resource=True)


SAVE = {
    "aggregation": tf.VariableAggregation.SUM,
    "lock": "copy",
    "layout": "slices",
    "durable": False,
    "threads": 3,
}


def test_objects_and_keywords_mark_the_nodes_alike(variable: Any) -> None:
    by_keywords = marks_of(Saver(**SAVE, verify="during"))
    by_objects = marks_of(
        Saver(
            options=SaveOptions(**SAVE), restore_options=RestoreOptions(verify="during", threads=3)
        )
    )
    assert by_keywords == by_objects
    assert by_objects["SaveV2"] == {
        "save": True,
        "aggregations": [b"SUM"],
        "lock": b"copy",
        "layout": b"slices",
        "durable": False,
        "threads": 3,
    }
    assert by_objects["RestoreV2"] == {"restore": True, "verify": b"during", "threads": 3}


def test_defaults_are_those_of_a_saver_without_options(variable: Any) -> None:
    assert marks_of(Saver()) == marks_of(
        Saver(options=SaveOptions(), restore_options=RestoreOptions())
    )


def test_options_for_saving_leave_restoring_alone(variable: Any) -> None:
    assert marks_of(Saver(options=SaveOptions(threads=3)))["RestoreV2"]["threads"] == 0


@pytest.mark.parametrize(
    ("argument", "options", "keyword"),
    [
        ("options", SaveOptions(lock="copy"), {"lock": "block"}),
        ("options", SaveOptions(threads=2), {"threads": 0}),
        ("options", SaveOptions(), {"layout": "original"}),
        ("options", SaveOptions(layout="original"), {"layout": None}),
        ("options", SaveOptions(aggregation=tf.VariableAggregation.SUM), {"aggregation": None}),
        ("restore_options", RestoreOptions(verify="during"), {"verify": "before"}),
        ("restore_options", RestoreOptions(), {"timeout_seconds": 5.0}),
    ],
)
def test_a_keyword_that_disagrees_with_the_options_is_refused(
    argument: str, options: Any, keyword: dict[str, Any], variable: Any
) -> None:
    (name,) = keyword
    with pytest.raises(
        ValueError, match=f"{name}=.* disagrees with {argument}.* in {argument} only"
    ):
        Saver(**{argument: options}, **keyword)


def test_a_keyword_that_agrees_with_the_options_is_accepted(variable: Any) -> None:
    saver = Saver(options=SaveOptions(lock="copy"), lock="copy")
    assert marks_of(saver)["SaveV2"]["lock"] == b"copy"


def test_a_keyword_of_the_other_kind_adds_to_the_options(variable: Any) -> None:
    found = marks_of(Saver(options=SaveOptions(lock="copy"), verify="during"))
    assert (found["SaveV2"]["lock"], found["RestoreV2"]["verify"]) == (b"copy", b"during")


@pytest.mark.parametrize(
    ("kind", "fields", "error", "text"),
    [
        (SaveOptions, {"lock": "none"}, ValueError, "lock must be one of"),
        (SaveOptions, {"layout": "whole"}, ValueError, "layout must be one of .* or None"),
        (SaveOptions, {"durable": 1}, TypeError, "durable must be True or False"),
        (SaveOptions, {"threads": -1}, ValueError, "threads must be 0"),
        (SaveOptions, {"memory_bytes": 1}, ValueError, "memory_bytes must be at least"),
        (SaveOptions, {"aggregation": "MEAN"}, TypeError, "aggregation must be"),
        (RestoreOptions, {"verify": "after"}, ValueError, "verify must be one of"),
        (RestoreOptions, {"transport": "pigeon"}, ValueError, "transport must be one of"),
        (RestoreOptions, {"timeout_seconds": 0}, ValueError, "timeout_seconds must be more than 0"),
        (RestoreOptions, {"threads": True}, TypeError, "threads must be an int"),
    ],
)
def test_values_are_checked_when_they_are_given(
    kind: Any, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        kind(**fields)


@pytest.mark.parametrize("argument", ["options", "restore_options"])
def test_objects_of_another_kind_are_refused(argument: str, variable: Any) -> None:
    other = {"options": RestoreOptions(), "restore_options": SaveOptions()}[argument]
    with pytest.raises(TypeError, match=f"{argument} must be a"):
        Saver(**{argument: other})
    with pytest.raises(TypeError, match=f"{argument} must be a"):
        Saver(**{argument: {"threads": 2}})


# Of the options alone: the saver's signature does not grow.
NO_KEYWORDS = {
    "consistency",
    "snapshot_method",
    "snapshot_memory_bytes",
    "keep_best",
    *("check", "refuse", "proof", "evidence_logdir"),
    *("missing", "unexpected", "name_map", "grow", "cast", "dry_run"),
}


def test_every_option_is_documented_and_the_first_are_keywords_of_the_saver() -> None:
    keywords = set(inspect.signature(Saver.__init__).parameters)
    assert not keywords & NO_KEYWORDS
    for kind in (SaveOptions, RestoreOptions):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names <= keywords | NO_KEYWORDS
        assert all(f"        {name}: " in (kind.__doc__ or "") for name in names)


def test_a_saver_with_options_saves_and_restores(variable: Any, tmp_path: Path) -> None:
    saver = Saver(
        options=SaveOptions(lock="copy", threads=1), restore_options=RestoreOptions(verify="during")
    )
    with tf1.Session() as session:
        session.run(variable.initializer)
        session.run(variable.assign([3.0, 4.0]))
        path = saver.save(session, tmp_path / "m")
        session.run(variable.assign([0.0, 0.0]))
        saver.restore(session, path)
        np.testing.assert_array_equal(session.run(variable), [3.0, 4.0])
