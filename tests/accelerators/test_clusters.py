"""Variables on accelerators of several servers, copied block by block however their bytes travel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.options import RestoreOptions, SaveOptions
from autodist.checkpoint.saver import Saver
from support.accelerators.hidden import BLOCK_BYTES, Hidden
from support.clusters.ps_job import PsJob, files, running
from support.ports import free_ports

tf1 = tf.compat.v1


@pytest.fixture(scope="module")
def job(loaded: Hidden) -> Iterator[PsJob]:
    with loaded.present(), running(free_ports(3), plugin=loaded.library) as job:
        yield job


def values() -> dict[str, Any]:
    draw = np.random.default_rng(5)
    return {
        "/job:ps/task:0/device:HIDDEN:0": draw.normal(size=(3 << 18) + 1).astype(np.float32),
        "/job:ps/task:1/device:HIDDEN:0": draw.normal(size=(5, 100_000)).astype(np.float32),
        "/job:ps/task:1/device:CPU:0": draw.normal(size=1000).astype(np.float32),
    }


def make() -> list[Any]:
    made = []
    for number, (device, value) in enumerate(values().items()):
        with tf.device(device):
            made.append(
                tf1.get_variable(
                    f"v{number}",
                    value.shape,
                    tf.float32,
                    tf1.zeros_initializer(),
                    use_resource=True,
                )
            )
    return made


def load(session: Any, variables: list[Any], scale: float) -> None:
    for variable, value in zip(variables, values().values(), strict=True):
        variable.load(scale * value, session)


def copies_out(hidden: Hidden, session: Any) -> list[int]:
    numbers = []
    for task in (0, 1):
        with tf.device(f"/job:ps/task:{task}/cpu:0"):
            numbers.append(hidden.ops.hidden_number(counter="copies_out"))
    return [int(number) for number in session.run(numbers)]


@pytest.mark.parametrize("way", ["shared", "stream", "files"])
@pytest.mark.parametrize("consistency", ["shard", "instant"])
def test_servers_save_and_restore_block_by_block(
    loaded: Hidden, job: PsJob, tmp_path: Path, way: str, consistency: str
) -> None:
    config = tf1.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default() as graph, graph.container(f"{way}{consistency}"):
        variables = make()
        stock = tf1.train.Saver()
        ours = Saver(
            options=SaveOptions(transport=way, consistency=consistency, durable=False),
            restore_options=RestoreOptions(transport="stream" if way == "stream" else None),
        )
        with tf1.Session(job.target, config=config) as session:
            load(session, variables, 1)
            before = copies_out(loaded, session)
            ours.save(session, str(tmp_path / "ours"), write_meta_graph=False)
            after = copies_out(loaded, session)
            # A block each, which stock would not do.
            blocks = [-(-value.nbytes // BLOCK_BYTES) for value in list(values().values())[:2]]
            assert [b - a for a, b in zip(before, after, strict=True)] >= blocks
            stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
            if way != "files":
                assert files(tmp_path / "ours") == files(tmp_path / "stock")
            load(session, variables, -1)
            ours.restore(session, str(tmp_path / "ours"))
            for variable, value in zip(variables, values().values(), strict=True):
                np.testing.assert_array_equal(session.run(variable), value)
    with tf.Graph().as_default() as graph, graph.container(f"{way}{consistency}again"):
        variables = make()
        with tf1.Session(job.target, config=config) as session:
            Saver().restore(session, str(tmp_path / "ours"))
            for variable, value in zip(variables, values().values(), strict=True):
                np.testing.assert_array_equal(session.run(variable), value)
