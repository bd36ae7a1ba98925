"""Evidence of variables on servers: figures by every transport, deviation of copies, refusals and proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.evidence import stock_proof
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import ArgumentError, RefusedCheckpointError
from support.clusters.ps_job import PsJob
from support.clusters.server_variables import build, values_of
from support.evidence import check, evidence_of, latest_of

tf1 = tf.compat.v1

WAYS = (None, "shared", "stream", "files")


def check_all(prefix: str, wanted: dict[str, Any]) -> None:
    evidence = evidence_of(prefix)
    assert set(evidence.not_checked) == {"text", "flag"}
    assert set(evidence.variables) == set(wanted) - {"text", "flag"}
    for name, figures in evidence.variables.items():
        check(figures, wanted[name])


def load_bad(session: Any) -> None:
    bad = next(v for v in tf1.global_variables() if v.op.name == "rows/part_1")
    value = session.run(bad)
    value[3, 4] = np.nan
    value[5, 6] = np.inf
    bad.load(value, session)


@pytest.mark.parametrize("consistency", ["shard", "instant"])
def test_every_transport_tells_the_same(job: PsJob, directory: Path, consistency: str) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(3000)
        options = {way: SaveOptions(check=True, transport=way, durable=False) for way in WAYS}
        savers = {way: Saver(options=options[way]) for way in WAYS}
        session.run(tf1.global_variables_initializer())
        load_bad(session)
        wanted = values_of(session)
        assert np.isnan(wanted["rows"]).sum() == 1
        for way, saver in savers.items():
            prefix = str(directory / f"m_{way}")
            for _ in range(2):
                saver.save(session, prefix, consistency=consistency)
            check_all(prefix, wanted)
        # Of the same bytes, whoever wrote them.
        crcs = {
            tuple(evidence_of(directory / f"m_{way}").variables["small"].pieces) for way in WAYS
        }
        assert len(crcs) == 1


@pytest.mark.parametrize("way", ["shared", "stream", "files"])
def test_a_refused_checkpoint_of_servers_stays_and_the_latest_too(
    job: PsJob, directory: Path, way: str
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        options = SaveOptions(refuse={"nonfinite"}, transport=way, durable=False)
        saver = Saver(options=options)
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(directory / "m"), 1)
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        load_bad(session)
        with pytest.raises(RefusedCheckpointError, match="'rows': 1 NaN, 1 inf of 15000 elements"):
            saver.save(session, str(directory / "m"), 2)
        assert latest_of(directory) == "m-1"
        assert evidence_of(directory / "m-2").is_refused
        # Over the one that is named: nothing of it changes.
        with pytest.raises(RefusedCheckpointError, match="that was there before is still there"):
            saver.save(session, str(directory / "m"), 1)
        after = {path.name: path.read_bytes() for path in directory.iterdir()}
        assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("way", ["shared", "stream", "files"])
def test_copies_on_two_servers_that_deviate_are_found(
    job: PsJob, directory: Path, way: str
) -> None:
    value = np.random.default_rng(0).normal(size=(700, 300)).astype(np.float32)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        copies = []
        for task in range(2):
            with tf1.device(f"/job:ps/task:{task}"):
                copy = tf1.get_variable(f"copy{task}", initializer=value, use_resource=True)
            info = tf1.Variable.SaveSliceInfo("w", [700, 300], [0, 0], [700, 300])
            copy._set_save_slice_info(info)
            copies.append(copy)
        saver = Saver(options=SaveOptions(check=True, transport=way, durable=False))
        session.run(tf1.global_variables_initializer())
        prefix = saver.save(session, str(directory / "m"), 1)
        assert evidence_of(prefix).variables["w"].deviation == 0
        value[650, 299] += 4
        copies[1].load(value, session)
        prefix = saver.save(session, str(directory / "m"), 2)
        figures = evidence_of(prefix).variables["w"]
        assert figures.deviation == pytest.approx(4, abs=1e-5)
        check(figures, tf.train.load_variable(prefix, "w"))


def test_variables_of_one_server_are_checked_there(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:1"):
            tf1.get_variable("w", initializer=np.float32([3, 4]), use_resource=True)
            saver = Saver(options=SaveOptions(check=True, durable=False))
        session.run(tf1.global_variables_initializer())
        figures = evidence_of(saver.save(session, str(directory / "m"))).variables["w"]
        assert figures.norm == 5


def test_a_proof_in_a_cluster_needs_a_prefix_of_its_own(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text('import json; print(json.dumps({"read": []}))')
    monkeypatch.setattr(stock_proof, "_PROGRAM", program)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        savers = {
            way: Saver(options=SaveOptions(proof="stock", transport=way, durable=False))
            for way in ("stream", "files")
        }
        session.run(tf1.global_variables_initializer())
        for way, saver in savers.items():
            prefix = saver.save(session, str(directory / way))
            assert evidence_of(prefix).proof == "stock"
        savers["files"].save(session, str(directory / "files"))
        with pytest.raises(ArgumentError, match="can be checked only once it is there"):
            savers["stream"].save(session, str(directory / "stream"))


@pytest.mark.parametrize("way", ["shared", "stream", "files"])
def test_a_server_of_strings_alone(job: PsJob, directory: Path, way: str) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:0"):
            tf1.get_variable("w", initializer=np.float32([3, 4]), use_resource=True)
        with tf1.device("/job:ps/task:1"):
            tf1.get_variable("words", initializer=["a", "bc"], use_resource=True)
        saver = Saver(options=SaveOptions(refuse={"nonfinite"}, transport=way, durable=False))
        session.run(tf1.global_variables_initializer())
        found = evidence_of(saver.save(session, str(directory / "m"), 1))
        assert set(found.variables) == {"w"}
        assert set(found.not_checked) == {"words"}
