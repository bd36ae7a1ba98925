"""Saves in which every task writes a data file of its own; real servers, stock TensorFlow as the reader."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import PsJob
from support.clusters.server_variables import build, values_of
from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1

TASKS = [f"/job:ps/replica:0/task:{number}" for number in range(2)]

# A process that has not imported autodist: shapes, values by restoring whole variables, which are given by name.
READER = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
values = np.load(sys.argv[2], allow_pickle=True).item()
reader = tf.train.load_checkpoint(sys.argv[1])
shapes = reader.get_variable_to_shape_map()
assert set(shapes) == set(values), shapes
with tf.Graph().as_default(), tf.Session() as session:
    variables = {
        name: tf.get_variable(name, initializer=value, use_resource=True)
        for name, value in values.items()
    }
    tf.train.Saver().restore(session, sys.argv[1])
    for name, value in values.items():
        assert shapes[name] == list(np.shape(value)), name
        assert np.array_equal(session.run(variables[name]), value), name
assert "autodist" not in sys.modules
"""


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def data_names(prefix: str, count: int) -> list[str]:
    return [
        *(f"{prefix}.data-{i:05d}-of-{count:05d}" for i in range(count)),
        f"{prefix}.index",
    ]


def read_by_stock(prefix: str, values: dict[str, Any], directory: Path) -> None:
    path = directory / "values.npy"
    np.save(path, values, allow_pickle=True)
    run_python("-c", READER, prefix, path, env=stock_environment())
    path.unlink()


def saver_of_copies(names: list[str] | str, variables: list[Any], **how: Any) -> Saver:
    """A saver of variables of which several may have one name."""
    names = [names] * len(variables) if isinstance(names, str) else names
    filename = tf1.placeholder_with_default("model", [])
    with tf.device("/job:worker/task:0"):
        save = tf.raw_ops.SaveV2(
            prefix=filename,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[variable.value() for variable in variables],
        )
    with tf.control_dependencies([save]):
        done = tf.identity(filename)
    saver_def = tf1.train.SaverDef(
        filename_tensor_name=filename.name,
        save_tensor_name=done.name,
        restore_op_name=save.name,
        version=tf1.train.SaverDef.V2,
    )
    return Saver(saver_def=saver_def, **how)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_each_server_writes_a_data_file_that_stock_restores(
    job: PsJob, directory: Path, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    prefix = f"{scheme}{directory}/model"
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        ours = Saver(transport="files")
        session.run(tf1.global_variables_initializer())
        expected = values_of(session)
        with caplog.at_level(logging.INFO, logger="autodist"):
            # Twice: also over a prefix in use.
            for _ in range(2):
                ours.save(session, prefix, write_meta_graph=False, write_state=False)
        assert "every task wrote a data file of its own" in caplog.records[-1].getMessage()
        assert f"saved {prefix}: 2 data files" in caplog.records[-1].getMessage()
        assert names_in(directory) == data_names("model", 2)
        session.run(tf1.global_variables_initializer())
        ours.restore(session, prefix)
        for name, value in values_of(session).items():
            np.testing.assert_array_equal(value, expected[name])
    read_by_stock(prefix, expected, directory)


def test_two_servers_write_two_files_over_one(job: PsJob, directory: Path) -> None:
    """Whoever has nothing to write has no file; what another way wrote before is gone."""
    prefix = str(directory / "model")
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        for number, task in enumerate(TASKS):
            with tf.device(task):
                tf1.get_variable(f"v{number}", [40, 2], use_resource=True)
        one, two = Saver(), Saver(transport="files")
        session.run(tf1.global_variables_initializer())
        for saver, count in ((one, 1), (two, 2), (one, 1), (two, 2)):
            saver.save(session, prefix, write_meta_graph=False, write_state=False)
            assert names_in(directory) == data_names("model", count)
        expected = values_of(session)
    reader = tf.train.load_checkpoint(prefix)
    for name, value in expected.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)


def test_copies_on_several_tasks_become_one_value(job: PsJob, directory: Path) -> None:
    """Copies of one variable on both servers, two of another on one of them: means, as elsewhere."""
    prefix = str(directory / "model")
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        variables, names = [], []
        for task, name, value in (
            (0, "wide", 1.0),
            (1, "wide", 4.0),
            (0, "near", 2.0),
            (0, "near", 5.0),
            (1, "far", 7.0),
            (0, "far", 8.0),
        ):
            with tf.device(TASKS[task]):
                variables.append(tf1.get_variable(f"v{len(names)}", initializer=[value] * 6))
                names.append(name)
        first = {"far": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        saver = saver_of_copies(names, variables, transport="files", aggregation=first)
        session.run(tf1.global_variables_initializer())
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name).tolist() for name in ("wide", "near", "far")}
    assert values == {"wide": [2.5] * 6, "near": [3.5] * 6, "far": [7.0] * 6}
    assert names_in(directory) == data_names("model", 2)


def test_slices_that_stock_cannot_join_are_made_whole_where_that_is_asked(
    job: PsJob, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of float16; the other variable's slices stay where they are."""
    prefix = str(directory / "model")
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        with tf1.device(tf1.train.replica_device_setter(ps_tasks=2)):
            for dtype in (tf.float16, tf.float32):
                tf1.get_variable(
                    dtype.name,
                    [10, 3],
                    dtype,
                    tf1.random_uniform_initializer(),
                    partitioner=tf1.fixed_size_partitioner(2),
                )
        saver = Saver(transport="files", layout="original")
        session.run(tf1.global_variables_initializer())
        with caplog.at_level(logging.INFO, logger="autodist"):
            saver.save(session, prefix, write_meta_graph=False, write_state=False)
        parts = [session.run(variable) for variable in tf1.global_variables()]
    reader = tf.train.load_checkpoint(prefix)
    np.testing.assert_array_equal(reader.get_tensor("float16"), np.concatenate(parts[:2]))
    np.testing.assert_array_equal(reader.get_tensor("float32"), np.concatenate(parts[2:]))
    assert "1 copies and slices were sent" in caplog.text


def test_what_is_sent_is_bounded(job: PsJob, directory: Path) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        variables = []
        for task in TASKS:
            with tf.device(task):
                variables.append(tf1.get_variable(f"v{task[-1]}", [1 << 20, 5]))
        saver = saver_of_copies("both", variables, transport="files", memory_bytes=16 << 20)
        session.run(tf1.global_variables_initializer())
        with pytest.raises(tf.errors.ResourceExhaustedError, match="above memory_bytes"):
            saver.save(session, str(directory / "model"), write_meta_graph=False)
        assert names_in(directory) == []


def test_a_memory_file_system_is_not_reached_by_servers(
    job: PsJob, caplog: pytest.LogCaptureFixture
) -> None:
    """`ram://` is another one in every process."""
    prefix = "ram://data_files/model"
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        found_out, asked, shared = Saver(), Saver(transport="files"), Saver(transport="shared")
        session.run(tf1.global_variables_initializer())
        for saver, message in ((asked, ", ".join(TASKS)), (shared, "out of order")):
            with pytest.raises(tf.errors.FailedPreconditionError, match=message):
                saver.save(session, prefix)
            assert not [n for n in tf.io.gfile.glob("ram://data_files/*") if "temp" in n]
            assert not tf.io.gfile.exists(prefix + ".index")
        with caplog.at_level(logging.WARNING, logger="autodist"):
            found_out.save(session, prefix, write_meta_graph=False)
        expected = values_of(session)["rows"]
    assert f"{', '.join(TASKS)} cannot write" in caplog.text
    reader = tf1.train.NewCheckpointReader(prefix)
    np.testing.assert_array_equal(reader.get_tensor("rows"), expected)


def test_a_lost_server_is_named_and_the_former_checkpoint_stays(
    job: PsJob, directory: Path
) -> None:
    prefix = str(directory / "model")
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(20_000)
        saver = Saver(transport="files", timeout_seconds=2)
        session.run(tf1.global_variables_initializer())
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        former = {name: (directory / name).read_bytes() for name in names_in(directory)}
        for trouble in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(job.servers[1].pid, trouble)
            with pytest.raises(
                (tf.errors.UnavailableError, tf.errors.DeadlineExceededError), match=TASKS[1]
            ):
                saver.save(session, prefix, write_meta_graph=False, write_state=False)
            assert {n: (directory / n).read_bytes() for n in names_in(directory)} == former
        job.kill(1)
        job.start(1)
        job.wait(1)
    # What the server held is gone with it.
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build()
        saver = Saver(transport="files")
        session.run(tf1.global_variables_initializer())
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
    assert names_in(directory) == data_names("model", 2)
