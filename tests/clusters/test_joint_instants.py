"""Saves of one instant of several servers, in real processes."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.checkpoint.saving import step_saves
from autodist.errors import ArgumentError, GraphStateError
from autodist.strategy import AllReduce, PartitionedPS, StrategyBuilder
from support.c_programs import compile_library
from support.clusters.ps_job import PsJob, files, running
from support.clusters.server_variables import build, save_by_stock, values_of
from support.ports import free_ports
from support.python_programs import run_python
from support.threads import training
from support.torture.harness import IS_FULL

tf1 = tf.compat.v1

WAYS = ("auto", "stream", "files")


@pytest.mark.parametrize(("servers", "saves"), [(1, 2), (2, 4), (4, 2)])
def test_counters_of_all_servers_are_of_one_instant(
    servers: int, saves: int, directory: Path
) -> None:
    done = run_python(
        *("-m", "support.clusters.instant_program", directory, servers, saves, "instant", *WAYS),
        starts_programs=True,
    )
    assert "all saves were checked" in done.stdout
    assert done.stdout.count("holds one instant of all variables") == saves * len(WAYS)


def test_the_bytes_are_those_of_stock(
    job: PsJob, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        savers = {way: Saver(transport=way) for way in (None, "shared", "stream", "files")}
        session.run(tf1.global_variables_initializer())
        values = values_of(session)
        expected = files(save_by_stock(values, directory))
        for way, saver in savers.items():
            prefix = directory / f"ours_{way}"
            caplog.clear()
            with caplog.at_level(logging.INFO, logger="autodist"):
                # Saves of either kind, in turns.
                for consistency in ("instant", "shard", "instant"):
                    saver.save(
                        session, str(prefix), write_meta_graph=False, consistency=consistency
                    )
            assert caplog.text.count("holds one instant of all variables, kept by references") == 2
            assert "of other times: ref" in caplog.text
            if way == "files":
                reader = tf.train.load_checkpoint(str(prefix))
                assert set(reader.get_variable_to_shape_map()) == set(values)
                for name, value in values.items():
                    assert (reader.get_tensor(name) == value).all()
            else:
                assert files(prefix) == expected, way


def test_a_variable_without_a_value_is_named(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        for task in range(2):
            with tf1.device(f"/job:ps/task:{task}"):
                variable = tf1.get_variable(f"valued_{task}", [3], use_resource=True)
        first = tf1.global_variables()[0]
        session.run(first.initializer)
        for way in (None, "stream", "files"):
            saver = Saver(transport=way)
            with pytest.raises(tf.errors.FailedPreconditionError, match="valued_1"):
                saver.save(session, str(directory / "model"), consistency="instant")
            assert list(directory.iterdir()) == []
        session.run(variable.initializer)
        saver.save(session, str(directory / "model"), consistency="instant")


def test_what_cannot_be_of_one_instant_is_refused(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        for task in range(2):
            with tf1.device(f"/job:ps/task:{task}"):
                tf1.get_variable(f"v{task}", [3], use_resource=False)
        ours = Saver()
        with tf1.device("/job:ps/task:0"):
            tf1.get_variable("resource", [3], use_resource=True)
        with tf.control_dependencies([tf.no_op("before")]):
            waits = Saver()
        session.run(tf1.global_variables_initializer())
        for saver, why in ((ours, "no resource variable"), (waits, "waits for before")):
            with pytest.raises(ArgumentError, match=why):
                saver.save(session, str(directory / "model"), consistency="instant")
    assert list(directory.iterdir()) == []


def test_a_server_without_our_ops_is_named(directory: Path) -> None:
    with (
        running(free_ports(3), lacking=[1]) as job,
        tf.Graph().as_default(),
        tf1.Session(job.target) as session,
    ):
        build()
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        with pytest.raises(ArgumentError, match=r"not loaded in /job:ps/replica:0/task:1\."):
            saver.save(session, str(directory / "model"), consistency="instant")
        assert list(directory.iterdir()) == []
        saver.save(session, str(directory / "model"), write_meta_graph=False)


def test_a_server_that_is_lost_at_any_step_is_named(directory: Path) -> None:
    """Training goes on elsewhere, nothing is committed, and the next save succeeds."""
    # One that takes part is killed when all are locked; the one that leads, when one has heard GO;
    # and it is stopped.
    cases = ["1:5sk1:stream", "0:6sk2:shared", "0:6ss1:stream"]
    if IS_FULL:
        cases += ["1:6rk1:files", "1:5ss1:shared", "0:10sk2:files"]
    program = ("-m", "support.clusters.instant_fault_program", directory / "saves", *cases)
    done = run_python(*program, starts_programs=True)
    assert "all faults were survived" in done.stdout


def test_a_save_in_the_background_holds_what_the_servers_had(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is changed after `save_async` has returned, before servers write it, is not in it."""
    library = compile_library("slow_disk.c", tmp_path / "slow_disk.so")
    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("SLOW_WRITE_MILLISECONDS", "500")
    with (
        running(free_ports(3)) as job,
        tf.Graph().as_default(),
        tf1.Session(job.target) as session,
    ):
        tables = []
        for task in range(2):
            with tf1.device(f"/job:ps/task:{task}"):
                tables.append(
                    tf1.get_variable(
                        f"table_{task}",
                        [4000, 256],
                        initializer=tf1.zeros_initializer(),
                        use_resource=True,
                    )
                )
        with tf1.device("/job:ps/task:0"):
            in_place = tf.raw_ops.ResourceScatterAdd(
                resource=tables[0].handle, indices=tf.range(4000), updates=tf.ones([4000, 256])
            )
        update = [in_place, tables[1].assign_add(tf.ones([4000, 256]), read_value=False)]
        savers = [Saver(transport=way) for way in (None, "stream", "files")]
        session.run(tf1.global_variables_initializer())
        session.run(update)
        for number, saver in enumerate(savers, 1):
            handle = saver.save_async(session, str(directory / f"model{number}"))
            # No task has written all of its bytes.
            assert not list(directory.rglob(f"model{number}*/**/*.index"))
            assert not handle.done()
            session.run(update)
            reader = tf.train.load_checkpoint(handle.result())
            for task in range(2):
                table = reader.get_tensor(f"table_{task}")
                assert table.min() == table.max() == number


def test_a_server_of_another_cluster_in_this_process_does_not_count(
    job: PsJob, directory: Path
) -> None:
    """The names of its tasks are those of the job, and one of them never starts."""
    tasks = [f"127.0.0.1:{port}" for port in free_ports(2)]
    other = tf.distribute.Server({"worker": tasks}, job_name="worker", task_index=0)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:1"):
            tf1.get_variable("counter", [5])
        saver = Saver()
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(directory / "model"), consistency="step")
    del other


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_committed_before_it_is_known_that_no_step_ran(
    job: PsJob, directory: Path, monkeypatch: pytest.MonkeyPatch, way: str, use_resource: bool
) -> None:
    """Gates are asked whether they were closed while the save writes; here they answer late."""

    def answer_late(rest: step_saves.Rest, outcome: str) -> Exception:
        rest._rest.end()
        time.sleep(1.0)
        return GraphStateError(f"a gate was open. {outcome}")

    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device("/job:ps/task:1"):
            counter = tf1.get_variable("counter", [5], use_resource=use_resource)
        step = tf1.train.get_or_create_global_step()
        saver = Saver(transport=None if way == "auto" else way)
        session.run(tf1.global_variables_initializer())
        prefix = saver.save(session, str(directory / "model"), consistency="step")
        before = {path: path.read_bytes() for path in directory.iterdir()}
        session.run([counter.assign_add(tf.ones([5])), step.assign_add(1)])
        monkeypatch.setattr(step_saves.Rest, "_why_not_kept", answer_late)
        with pytest.raises(GraphStateError, match=r"a gate was open\. Nothing was saved"):
            saver.save(session, prefix, consistency="step")
        assert {path: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("strategy", [AllReduce(), PartitionedPS()], ids=["copies", "slices"])
def test_a_distributed_session_saves_one_instant(
    make_autodist: Callable[..., AutoDist], tmp_path: Path, strategy: StrategyBuilder
) -> None:
    """Two replicas on two tasks: copies of variables, which are sent and averaged, or slices."""
    autodist = make_autodist(strategy, 2)
    with tf.Graph().as_default(), autodist.scope():
        table = tf1.get_variable("table", [300, 8], use_resource=True)
        loss = tf.reduce_sum(tf.gather(table, [0, 7]) ** 2)
        train = tf1.train.AdagradOptimizer(0.1).minimize(loss)
        savers = [Saver(transport=way) for way in (None, "stream", "files")]
        init = tf1.global_variables_initializer()
        with autodist.create_distributed_session() as session:
            session.run(init)
            session.run(train)
            expected = session.run(table)
            for number, saver in enumerate(savers):
                prefix = saver.save(
                    session, str(tmp_path / f"model{number}"), consistency="instant"
                )
                np.testing.assert_array_equal(tf.train.load_variable(prefix, "table"), expected)


@pytest.mark.parametrize("transport", [None, "files"])
def test_a_distributed_session_saves_whole_steps_while_it_trains(
    make_autodist: Callable[..., AutoDist], tmp_path: Path, transport: str | None
) -> None:
    autodist = make_autodist(PartitionedPS(), 2)
    with tf.Graph().as_default(), autodist.scope():
        weights = tf1.get_variable(
            "weights", [300, 8], tf.float64, tf1.zeros_initializer(), use_resource=True
        )
        step = tf1.train.get_or_create_global_step()
        optimizer = tf1.train.MomentumOptimizer(1.0, 1.0)
        train = optimizer.minimize(-tf.reduce_sum(weights), step)
        saver = Saver(transport=transport)
        init = tf1.global_variables_initializer()
        with autodist.create_distributed_session() as session:
            session.run(init)
            with training(session, train):
                for _ in range(4):
                    prefix = saver.save(session, str(tmp_path / "m"), step, consistency="step")
                    reader = tf.train.load_checkpoint(prefix)
                    number = int(reader.get_tensor("global_step"))
                    assert prefix.endswith(f"-{number}")
                    # The gradient is minus one at each step.
                    assert np.all(reader.get_tensor("weights/Momentum") == -number)
                    assert np.all(reader.get_tensor("weights") == number * (number + 1) / 2)
