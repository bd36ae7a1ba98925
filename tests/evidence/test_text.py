"""Evidence files: what is written is read again, and what somebody made in order to harm is not."""

from __future__ import annotations

import contextlib
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.evidence import figures as figures_of
from autodist.evidence import text
from autodist.evidence.figures import Change, Evidence, VariableFigures, Violation
from support.evidence import evidence_of

tf1 = tf.compat.v1

W = VariableFigures(
    *("float32", 6, 1, 1, 0, -1.5, 2.5, 0.25, 3.0, math.inf, (("", 123),), Change(True, 2.0))
)
EVIDENCE = Evidence(
    {"w": W, "ä/\udc80": W},
    {"t": "string has no figures"},
    step=3,
    former="m-2",
    violations=(Violation("w", "nonfinite", "1 NaN"),),
    proof="stock",
    index="0123abcd",
)

numbers = st.one_of(st.none(), st.floats(allow_nan=False))
counts = st.integers(0, 2**63 - 1)
variables = st.builds(
    VariableFigures,
    dtype=st.sampled_from(["float32", "int8"]),
    count=counts,
    nans=counts,
    positive_infinities=counts,
    negative_infinities=counts,
    minimum=numbers,
    maximum=numbers,
    mean=numbers,
    norm=st.floats(min_value=0, allow_nan=False),
    deviation=numbers,
    pieces=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**32 - 1)), max_size=3).map(
        tuple
    ),
    change=st.one_of(
        st.none(), st.builds(Change, st.booleans(), st.floats(min_value=0, allow_nan=False))
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8), variables, max_size=3), st.booleans())
def test_what_is_written_is_read_again(found: dict[str, Any], is_pending: bool) -> None:
    evidence = Evidence(found, {"x": "why"}, is_pending=is_pending)
    data = text.contents(evidence)
    assert text.parse(data) == evidence
    assert text.is_ours(data[:64])


def test_what_is_too_large_to_be_read_again_has_no_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text, "MOST_BYTES", 2000)
    figures = VariableFigures("float32", 1, 0, 0, 0, 1.0, 1.0, 1.0, 1.0, None, (("", 1),))
    violations = (Violation("v0", "nonfinite", "1 NaN"),)
    evidence = Evidence({f"v{i}": figures for i in range(100)}, violations=violations)
    read = text.parse(text.contents(evidence))
    assert not read.variables
    assert read.violations == violations
    assert read.not_checked == {"*": "figures of 100 variables take more than 2000 bytes"}


def test_means_of_large_slices_are_finite() -> None:
    large = VariableFigures("float64", 3, 0, 0, 0, 1e308, 1e308, 1e308, 1e308, None, (("", 1),))
    assert figures_of.joined([large, large, large]).mean == pytest.approx(1e308)


def test_all_fields_are_read_again() -> None:
    assert text.parse(text.contents(EVIDENCE)) == EVIDENCE


def replaced(value: Any, *path: Any) -> bytes:
    found = json.loads(text.contents(EVIDENCE))
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "does not begin as"),
        (b"{}", "does not begin as"),
        (b'{"autodist_evidence": 1', "is no JSON"),
        (b'{"autodist_evidence": 1}', "variables is to be an object"),
        (b'{"autodist_evidence": ' + b"[" * 100_000, "is no JSON"),
        (b'{"autodist_evidence": 1, "variables": ' + b'{"a":' * 50_000, "is no JSON"),
        (b'{"autodist_evidence": ' + b"9" * 10_000 + b"}", "is no JSON"),
        (replaced(2, "autodist_evidence"), "its format is 2; this version reads 1"),
        (replaced(True, "autodist_evidence"), "its format is True"),
        (replaced([], "variables"), "variables is to be an object"),
        (replaced(3, "variables", "w"), "variable 'w' is to be an object"),
        (replaced(-1, "variables", "w", "nan"), "'nan' of 'w' is to be a count"),
        (replaced(2**63, "variables", "w", "count"), "is to be a count"),
        (replaced(1.5, "variables", "w", "count"), "is to be a count"),
        (replaced(True, "variables", "w", "count"), "is to be a count"),
        (replaced("1e9", "variables", "w", "norm"), "'norm' of 'w' is to be a number"),
        (replaced(None, "variables", "w", "norm"), "'norm' of 'w' is to be a number"),
        (replaced(10**400, "variables", "w", "min"), "too large"),
        (replaced("w", "variables", "w", "pieces"), "is to be a list"),
        (replaced([["", 2**32]], "variables", "w", "pieces"), "a checksum of 32 bits"),
        (replaced([[""]], "variables", "w", "pieces"), "pairs of a slice and a checksum"),
        (replaced(3, "variables", "w", "dtype"), "is to be a text"),
        (replaced("yes", "pending"), "true or false"),
        (replaced([3], "refused"), "refused is to be an object"),
        (replaced("a", "step"), "is to be an integer"),
        (replaced(["a"], "not_checked"), "not_checked is to be an object"),
    ],
)
def test_a_hostile_file_is_a_named_error(data: bytes, match: str) -> None:
    with pytest.raises(text.EvidenceError, match=match):
        text.parse(data)


def test_damaged_files_never_crash() -> None:
    draws = random.Random(0)
    whole = text.contents(EVIDENCE)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(draws.randrange(1, 4)):
            data[draws.randrange(len(data))] = draws.randrange(256)
        end = draws.randrange(len(data)) if draws.random() < 0.3 else None
        with contextlib.suppress(text.EvidenceError):
            text.parse(bytes(data[:end]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=20), min_size=1, max_size=5))
def test_joined_slices_are_the_whole(parts: list[list[float]]) -> None:
    made = [
        VariableFigures(
            *("float64", len(part), 0, 0, 0, min(part, default=None), max(part, default=None)),
            sum(part) / len(part) if part else None,
            math.sqrt(math.fsum(x * x for x in part)),
            None,
            (("", 1),),
        )
        for part in parts
    ]
    joined = figures_of.joined(made)
    flat = [x for part in parts for x in part]
    assert joined.count == len(flat)
    assert joined.minimum == min(flat, default=None)
    assert joined.maximum == max(flat, default=None)
    assert joined.norm == pytest.approx(np.linalg.norm(flat) if flat else 0, rel=1e-9)
    if flat:
        assert joined.mean == pytest.approx(np.mean(flat), rel=1e-6, abs=1e-6)


def test_a_save_warns_of_a_hostile_file_and_goes_on(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    variable = tf1.get_variable("w", initializer=np.float32(3), use_resource=True)
    session.run(variable.initializer)
    options = SaveOptions(check=True, durable=False)
    Saver(options=options).save(session, str(tmp_path / "m"), 1)
    (tmp_path / "m-1.evidence.json").write_bytes(replaced(-1, "variables", "w", "count"))
    prefix = Saver(options=options).save(session, str(tmp_path / "m"), 2)
    assert "is not used: 'count' of 'w' is to be a count" in caplog.text
    assert evidence_of(prefix).former is None
    # What is somebody else's is never removed or replaced.
    (tmp_path / "m-3.evidence.json").write_text("mine")
    with pytest.raises(tf.errors.FailedPreconditionError, match="Move it away, or save without"):
        Saver(options=options).save(session, str(tmp_path / "m"), 3)
    assert (tmp_path / "m-3.evidence.json").read_text() == "mine"
