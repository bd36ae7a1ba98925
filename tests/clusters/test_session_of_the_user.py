"""Config, devices, variables and end of the user's session are those of the session that we open beside it.

Two servers have an accelerator that TensorFlow's placer prefers; this process, the worker, has none.
"""

import concurrent.futures
import gc
import json
import logging
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.distributed import save_router
from autodist.checkpoint.distributed.shared_save import save_steps
from autodist.checkpoint.distributed.tasks import masters
from autodist.checkpoint.distributed.variables import placement, sources
from autodist.checkpoint.saver import Saver
from support.c_programs import compile_library
from support.clusters.ps_job import PsJob, files, running
from support.ports import free_ports
from support.python_programs import Start, read_line

tf1 = tf.compat.v1

PARTIAL = (
    "",
    "/job:worker",
    "/job:ps",
    "/task:0",
    "/task:1",
    "/cpu:0",
    "/cpu:5",
    "/job:ps/task:0",
    "/job:ps/task:0/gpu:0",
    "/job:ps/task:1/cpu:0",
    "/device:FAKE:0",
)


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with a device."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    library = tmp_path_factory.mktemp("accelerator") / "fake_accelerator.so"
    tensorflow = (*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags())
    flags = ("-w", "-O0", "-DNDEBUG", *tensorflow)
    return compile_library("clusters/fake_accelerator.cc", library, *flags, compiler=compiler)


@pytest.fixture(scope="module")
def job(accelerator: str) -> Iterator[PsJob]:
    with running(free_ports(3), plugin=accelerator) as job:
        yield job


def soft(**more: Any) -> Any:
    return tf1.ConfigProto(allow_soft_placement=True, **more)


def master_with_accelerator(job: PsJob) -> str:
    """A target whose placer knows the accelerator."""
    return f"grpc://{job.cluster['ps'][1]}"


def constants(devices: Any) -> dict[str, Any]:
    return {f"v{i}": np.full(3, i + 1, np.float32) for i in range(len(devices))}


def make(values: dict[str, Any], devices: Any) -> list[Any]:
    """Makes a variable on each device: a resource variable first, a ref variable where it comes again."""
    made: list[Any] = []
    for (name, value), device in zip(values.items(), devices, strict=True):
        is_resource = device not in devices[: len(made)]
        with tf1.device(device):
            made.append(tf1.get_variable(name, initializer=value, use_resource=is_resource))
    return made


def assert_equal(session: Any, made: list[Any], values: dict[str, Any]) -> None:
    for variable, value in zip(made, values.values(), strict=True):
        np.testing.assert_array_equal(session.run(variable), value, err_msg=variable.name)


@pytest.mark.parametrize(
    "config",
    [
        soft(),
        soft(device_filters=["/job:ps", "/job:worker/task:0"]),
        soft(
            rpc_options={"compression_algorithm": "gzip", "compression_level": 2},
            share_cluster_devices_in_session=True,
        ),
    ],
    ids=["soft", "filters", "rpc"],
)
def test_partial_devices_are_those_of_the_session(job: PsJob, tmp_path: Path, config: Any) -> None:
    # Of both kinds.
    devices = 2 * PARTIAL
    values = constants(devices)
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        made = make(values, devices)
        ours, stock = Saver(), tf1.train.Saver()
        with tf1.Session(master_with_accelerator(job), config=config) as session:
            session.run(tf1.global_variables_initializer())
            stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
            ours.save(session, str(tmp_path / "ours"), write_meta_graph=False)
            assert files(tmp_path / "ours") == files(tmp_path / "stock")
            session.run([variable.assign(-variable) for variable in made])
            ours.restore(session, str(tmp_path / "stock"))
            assert_equal(session, made, values)
    # Into variables without a value, by another master.
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        made = make(values, devices)
        ours = Saver()
        with tf1.Session(job.target, config=config) as session:
            ours.restore(session, str(tmp_path / "ours"))
            assert_equal(session, made, values)
            ours.save(session, str(tmp_path / "again"), write_meta_graph=False)
    assert files(tmp_path / "again") == files(tmp_path / "stock")


def test_the_saver_is_where_tensorflow_puts_it(job: PsJob) -> None:
    devices = [*PARTIAL, "/job:worker/task:0", "/job:ps/replica:0/task:1/device:CPU:0"]
    for target in (job.target, master_with_accelerator(job)):
        with tf.Graph().as_default() as graph, tf1.Session(target, config=soft()) as session:
            tf1.get_variable("v", [], use_resource=True)
            stock = []
            for device in devices:
                with tf1.device(device):
                    # As `SaveV2`, it is for processors only, and no generator of a value that another takes.
                    stock.append(tf.raw_ops.Print(input=0, data=[0]).op)
                    Saver(name=f"saver_{len(stock)}")
            metadata = tf1.RunMetadata()
            options = tf1.RunOptions(output_partition_graphs=True)
            session.run(stock, options=options, run_metadata=metadata)
            placed = {n.name: n.device for part in metadata.partition_graphs for n in part.node}
            for number, op in enumerate(stock, 1):
                node = sources.read(graph.get_operation_by_name(f"saver_{number}/SaveV2"))
                assert node is not None
                found = placement.of_save(session, node, 60).device
                assert found == placed[op.name], devices[number - 1]


def test_an_accelerators_variables_are_saved_and_restored(job: PsJob, tmp_path: Path) -> None:
    devices = ["/job:ps/task:0", "/job:ps/task:1", "/job:worker"]
    values = constants(devices)
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        made = make(values, devices)
        saver = Saver()
        with tf1.Session(master_with_accelerator(job)) as session:
            metadata = tf1.RunMetadata()
            options = tf1.RunOptions(output_partition_graphs=True)
            initializer = tf1.global_variables_initializer()
            session.run(initializer, options=options, run_metadata=metadata)
            placed = {n.name: n.device for part in metadata.partition_graphs for n in part.node}
            assert placed["v0"] == "/job:ps/replica:0/task:0/device:FAKE:0"
            saver.save(session, str(tmp_path / "ours"), write_meta_graph=False)
            session.run([variable.assign(-variable) for variable in made])
            saver.restore(session, str(tmp_path / "ours"))
            assert_equal(session, made, values)


def cluster_def_of(job: PsJob) -> Any:
    """The servers under names that they were not started with, as a session may give them."""
    tasks = dict(enumerate(job.cluster["ps"]))
    return tf.train.ClusterSpec({"renamed": tasks}).as_cluster_def()


@pytest.mark.parametrize("how", ["session", "cluster_def"])
def test_a_session_with_variables_of_its_own_saves_and_restores_these(
    job: PsJob, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    target = f"grpc://{job.cluster['ps'][0]}"
    config, name = tf1.ConfigProto(isolate_session_state=True), "ps"
    if how == "cluster_def":
        config, name = tf1.ConfigProto(cluster_def=cluster_def_of(job)), "renamed"
    devices = [f"/job:{name}/task:{task}/device:CPU:0" for task in (0, 1)]
    check_own_values(target, config, devices, tmp_path, caplog)
    check_others_are_as_they_were(target, [d.replace(name, "ps") for d in devices])


def test_a_server_may_isolate_sessions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ports = free_ports(3)
    with running(ports, isolated=True) as job:
        devices = [f"/job:ps/task:{task}" for task in (0, 1)]
        target = f"grpc://{job.cluster['ps'][0]}"
        check_own_values(target, tf1.ConfigProto(), devices, tmp_path, caplog)


def check_own_values(
    target: str, config: Any, devices: list[str], directory: Path, caplog: Any
) -> None:
    """Two sessions have variables of the same names; each saves its own, and restores the other's into its own."""
    with tf.Graph().as_default():
        made = make(constants(devices), devices)
        saver, demanding = Saver(), Saver(transport="shared")
        given = [tf1.placeholder(tf.float32, [3]) for _ in made]
        assigns = [v.assign(g) for v, g in zip(made, given, strict=True)]
        first, second = (tf1.Session(target, config=config) for _ in range(2))
        own = {first: np.full(3, 10.0), second: np.full(3, 20.0)}
        for session, value in own.items():
            session.run(assigns, dict.fromkeys(given, value))
        with caplog.at_level(logging.WARNING, logger="autodist"):
            for session, value in own.items():
                caplog.clear()
                prefix = str(directory / f"{value[0]:g}")
                for _ in range(2):
                    saver.save(session, prefix, write_meta_graph=False)
                (warning,) = [record.getMessage() for record in caplog.records]
                assert "variables of its own. TensorFlow saves in that session" in warning
                np.testing.assert_array_equal(tf.train.load_variable(prefix, "v0"), value)
                np.testing.assert_array_equal(tf.train.load_variable(prefix, "v1"), value)
        saver.restore(first, str(directory / "20"))
        for session in (first, second):
            assert_equal(session, made, {"v0": own[second], "v1": own[second]})
        saver.restore(second, str(directory / "10"))
        assert_equal(second, made, {"v0": own[first], "v1": own[first]})
        assert_equal(first, made, {"v0": own[second], "v1": own[second]})
        with pytest.raises(
            tf.errors.FailedPreconditionError, match=r"transport='shared', but .*own"
        ):
            demanding.save(first, str(directory / "refused"))
        with pytest.raises(
            tf.errors.FailedPreconditionError, match=r"transport='shared', but .*own"
        ):
            demanding.restore(first, str(directory / "20"))
        assert not list(directory.glob("refused*"))
        for session in (first, second):
            session.close()


def check_others_are_as_they_were(target: str, devices: list[str]) -> None:
    """Sessions that share their variables have none of these."""
    with tf.Graph().as_default(), tf1.Session(target) as session:
        made = make(constants(devices), devices)
        assert not any(session.run([tf1.is_variable_initialized(variable) for variable in made]))


def test_what_the_session_does_not_see_is_never_taken_for_restored(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the master were wrong about what other sessions see."""
    monkeypatch.setattr(masters, "shared_task", lambda *_: "/job:ps/replica:0/task:0")
    devices = [f"/job:ps/task:{task}/device:CPU:0" for task in (0, 1)]
    config = tf1.ConfigProto(isolate_session_state=True)
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        make(constants(devices), devices)
        saver, stock = Saver(), tf1.train.Saver()
        with tf1.Session(f"grpc://{job.cluster['ps'][0]}", config=config) as session:
            session.run(tf1.global_variables_initializer())
            stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
            with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
                saver.save(session, str(tmp_path / "ours"))
        with (
            tf1.Session(f"grpc://{job.cluster['ps'][0]}", config=config) as session,
            pytest.raises(tf.errors.FailedPreconditionError, match="sees no value of v0, v1"),
        ):
            saver.restore(session, str(tmp_path / "stock"))


def test_a_task_that_hangs_when_it_is_first_asked_is_named(job: PsJob, tmp_path: Path) -> None:
    devices = ["/job:ps/task:0", "/job:ps/task:1"]
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        made = make(constants(devices), devices)
        saver = Saver(timeout_seconds=2)
        with tf1.Session(master_with_accelerator(job)) as session:
            session.run(tf1.global_variables_initializer())
            job.servers[0].send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(
                    tf.errors.UnavailableError, match=r"^/job:ps/replica:0/task:0 did not answer"
                ):
                    saver.save(session, str(tmp_path / "model"))
            finally:
                job.servers[0].send_signal(signal.SIGCONT)
            assert not list(tmp_path.iterdir())
            Saver(name="again").save(session, str(tmp_path / "model"))
            assert_equal(session, made, constants(devices))


def test_our_session_ends_with_the_users(job: PsJob, tmp_path: Path) -> None:
    devices = ["/job:ps/task:0", "/job:ps/task:1"]
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        make(constants(devices), devices)
        saver = Saver()
        initializer = tf1.global_variables_initializer()
        prefix = str(tmp_path / "model")

        def begin() -> tuple[Any, Any]:
            session = tf1.Session(job.target)
            session.run(initializer)
            saver.save(session, prefix, write_meta_graph=False)
            return session, saver._save_router._saves[session][False][1]

        session, ours = begin()
        assert ours.is_usable
        session.close()
        assert not ours.is_usable
        # As stock does.
        with pytest.raises(RuntimeError, match="closed Session"):
            saver.save(session, prefix, write_meta_graph=False)
        with pytest.raises(RuntimeError, match="closed Session"):
            saver.restore(session, prefix)
        session, ours = begin()
        del session
        assert not ours.is_usable
        session, ours = begin()
        session.cycle = session
        del session
        gc.collect()
        assert not ours.is_usable


def test_a_program_ends_after_its_servers(start: Start, tmp_path: Path) -> None:
    job = PsJob("", {"ps": [f"127.0.0.1:{port}" for port in free_ports(2)]})
    kinds = ("hangs", "killed", "monitored")
    try:
        for number in range(2):
            job.start(number)
        job.wait(0, 1)
        programs = {
            kind: start(
                *("-m", "support.clusters.exit_program"),
                *(json.dumps(job.cluster), tmp_path / kind, kind),
            )
            for kind in kinds
        }
        for program in programs.values():
            assert read_line(program) == "closed"
        for server in job.servers.values():
            server.send_signal(signal.SIGSTOP)
        programs["hangs"].communicate("end\n", timeout=120)
        job.kill(0)
        job.kill(1)
        for kind in ("killed", "monitored"):
            programs[kind].communicate("end\n", timeout=120)
        assert {kind: programs[kind].returncode for kind in kinds} == dict.fromkeys(kinds, 0)
    finally:
        for number in list(job.servers):
            job.kill(number)


def test_threads_that_share_a_saver_share_what_it_opened(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = ["/job:ps/task:0", "/job:ps/task:1"]
    opened: list[Any] = []
    open_one, plan = save_router.SaveRouter._open, save_steps.SharedSave._plan

    def note_opening(self: Any, *given: Any) -> Any:
        opened.append(open_one(self, *given))
        return opened[-1]

    monkeypatch.setattr(save_router.SaveRouter, "_open", note_opening)
    with tf.Graph().as_default() as graph, graph.container(secrets.token_hex(4)):
        made = make(constants(devices), devices)
        saver = Saver(max_to_keep=None)
        with (
            tf1.Session(job.target) as session,
            concurrent.futures.ThreadPoolExecutor(4) as pool,
        ):
            session.run(tf1.global_variables_initializer())
            barrier = threading.Barrier(4)

            def save_to(name: str) -> str:
                barrier.wait(60)
                return str(saver.save(session, str(tmp_path / name / "m"), write_meta_graph=False))

            prefixes = list(pool.map(save_to, "abcd"))
            assert len(opened) == 1
            # One thread saves in another way while a save of the other is on its way.
            is_planning, may_go_on = threading.Event(), threading.Event()

            def wait_first(self: Any, *given: Any) -> Any:
                is_planning.set()
                may_go_on.wait(60)
                return plan(self, *given)

            monkeypatch.setattr(save_steps.SharedSave, "_plan", wait_first)
            held = pool.submit(saver.save, session, str(tmp_path / "m"), write_meta_graph=False)
            assert is_planning.wait(60)
            saver._save_router._in_order.add(str(tmp_path / "in_order"))
            prefixes.append(saver.save(session, str(tmp_path / "in_order" / "m")))
            assert len(opened) == 2
            may_go_on.set()
            prefixes.append(held.result(60))
            for variable, value in zip(made, session.run(made), strict=True):
                for prefix in prefixes:
                    saved = tf.train.load_variable(prefix, variable.op.name)
                    np.testing.assert_array_equal(saved, value)
