"""The model of what a save of a cluster costs: its fit finds the terms, and a tiny simulation is told in full."""

import json
from pathlib import Path

import pytest

import cluster_costs
from jobs.cost_model import TERMS, WHOSE, Commit, Fit, Machines, Size, predict, total
from support.python_programs import run_python

SIZES = [Size(2, 20, 32 << 20, 2), Size(2, 2000, 32 << 20, 2), Size(2, 200, 8 << 20, 1)]
SIZES += [Size(2, 200, 128 << 20, 8), Size(2, 200, 128 << 20, 64), Size(1, 200, 32 << 20, 2)]
SIZES += [Size(4, 200, 32 << 20, 2)]
MACHINES = Machines(1e9, 1e9, 1e12, 1e-3, 1)


def seconds_of(size: Size, *terms: float) -> float:
    return sum(term * feature for term, feature in zip(terms, size.features(), strict=True))


def test_the_terms_of_exact_measurements_are_found() -> None:
    terms = (0.01, 3e-5, 2e-3, 1e-9, 5e-3)
    fit = Fit.of(SIZES, [seconds_of(size, *terms) for size in SIZES])
    assert [fit.terms[name] for name in TERMS] == pytest.approx(terms)
    assert fit.residual == pytest.approx(0, abs=1e-9)


def test_a_term_below_zero_is_left_out() -> None:
    fit = Fit.of(SIZES, [seconds_of(size, 0.1, 0, -1e-3, 1e-9, 0) for size in SIZES])
    assert fit.terms["server"] == 0
    assert min(fit.terms.values()) == 0
    assert fit.residual > 0


def test_a_stream_is_bound_by_the_network_of_the_chief_and_a_shared_save_by_its_servers() -> None:
    terms = dict.fromkeys(TERMS, 0.0) | {"byte": 1e-9}
    fits = dict.fromkeys(WHOSE, Fit(terms, 0))
    size = Size(10, 1000, 10**12, 0)
    stream, shared = (
        predict(way, size, fits, Commit(0, 0), plan_seconds=1.0, machines=MACHINES)
        for way in ("stream", "shared")
    )
    assert total(stream) == pytest.approx(1000 + 1 + 4e-3)
    assert total(shared) == pytest.approx(100 + 1 + 7e-3)


def test_a_tiny_simulation_tells_what_bounds_each_save(tmp_path: Path) -> None:
    terms = {"terms": dict.fromkeys(TERMS, 1e-9), "residual": 0}
    kinds = {kind: dict.fromkeys(WHOSE, terms) for kind in ("first", "steady")}
    ways = ("shared", "stream")
    commit = {"fixed": 0.01, "byte": 0}
    measured = {
        "machine": {},
        "terms": dict.fromkeys(ways, kinds),
        "commit": dict.fromkeys(ways, commit),
    }
    (tmp_path / "terms.json").write_text(json.dumps(measured))
    command = [cluster_costs.__file__, "simulate", "--keep"]
    command += ["--terms", str(tmp_path / "terms.json"), "--results", str(tmp_path)]
    command += ["--servers", "3", "--shards", "50", "--gb", "1"]
    run_python(*command, timeout=60)
    report = json.loads((tmp_path / "cluster_costs.simulated.json").read_text())
    assert [save["way"] for save in report["saves"]] == list(ways)
    shared, stream = report["plans"]
    assert shared["rounds"] == 0
    # A gigabyte in rounds of at most 16 MiB.
    assert stream["rounds"] >= 60
    assert "bound by" in (tmp_path / "cluster_costs.simulated.md").read_text()
