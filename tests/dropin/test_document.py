"""The tables of `docs/compatibility.md` list what the classes have and what the tests run."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver
from support.kinds import KEPT_AS_SLICES, KINDS, PARTITIONED

tf1 = tf.compat.v1
StockBuilder = tf1.saved_model.builder.SavedModelBuilder
# Methods that stock's class lacks.
ADDED = {Saver: ["save_async"]}
# Parameters that stock has in 2.21 and lacks in 2.15.
LATER = {"experimental_image_format", "experimental_image_writer_options"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
CLASSES = pytest.mark.parametrize(
    ("ours", "stock"),
    [(Saver, tf1.train.Saver), (SavedModelBuilder, StockBuilder)],
    ids=["Saver", "SavedModelBuilder"],
)


def read_table(heading: str) -> list[list[str]]:
    """Returns the cells of the rows of the table under a heading."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def parameters_of(function: Any) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    return parameters


def public_names(owner: Any) -> list[str]:
    return [name for name, _ in inspect.getmembers(owner) if not name.startswith("_")]


@CLASSES
def test_every_public_method_has_the_signature_of_stock(ours: Any, stock: Any) -> None:
    assert set(public_names(ours)) == {*public_names(stock), *ADDED.get(ours, ())}
    for name in ["__init__", *public_names(stock)]:
        if callable(getattr(stock, name)):
            theirs = parameters_of(getattr(stock, name))
            mine = parameters_of(getattr(ours, name))
            assert list(mine)[: len(theirs)] == list(theirs)
            assert [mine[key].default for key in theirs] == [theirs[key].default for key in theirs]
            added = [p for p in list(mine.values())[len(theirs) :] if p.name not in LATER]
            assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in added)


def test_the_document_lists_every_parameter_of_saver() -> None:
    rows = read_table("Parameters of `Saver`")
    assert [name for name, _ in rows] == list(parameters_of(Saver.__init__))
    stock = parameters_of(tf1.train.Saver.__init__)
    for name, text in rows:
        assert text.startswith("same as stock" if name in stock else "ours: ")


def test_the_document_lists_every_method_of_saver() -> None:
    rows = read_table("Methods of `Saver`")
    assert [name for name, _ in rows] == public_names(Saver)
    assert [name for name, text in rows if text.startswith("ours: ")] == ADDED[Saver]


def test_the_document_lists_every_parameter_of_the_builder() -> None:
    rows = read_table("`SavedModelBuilder`")
    methods = ["__init__", "add_meta_graph", "add_meta_graph_and_variables", "save"]
    assert [(method, name) for method, name, _ in rows] == [
        (method, name)
        for method in methods
        for name in parameters_of(getattr(SavedModelBuilder, method))
    ]
    for method, name, text in rows:
        is_stock = name in LATER or name in parameters_of(getattr(StockBuilder, method))
        assert text.startswith("same as stock" if is_stock else "ours: ")


def test_the_document_lists_every_kind() -> None:
    rows = dict(read_table("Kinds of variables and saveables"))
    assert list(rows) == list(KINDS)
    for name, text in rows.items():
        is_whole = name in PARTITIONED and name != KEPT_AS_SLICES
        assert text.startswith("whole" if is_whole else "same as stock")


def test_the_links_of_the_document_lead_to_its_headings() -> None:
    text = DOCUMENT.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in headings}
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors
