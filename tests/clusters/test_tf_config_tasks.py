"""One program on every node of a `TF_CONFIG`: the chief's runs, the others serve it and end with it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.errors import ArgumentError, GraphStateError
from support.ports import free_ports
from support.python_programs import Start

TWO_WORKERS = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def start_task(
    start: Start, cluster: Any, job: str, index: int, directory: Path
) -> "subprocess.Popen[str]":
    """Starts the program as one task."""
    config = json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
    program = ("-m", "support.clusters.tf_config_program", directory)
    return start(*program, TF_CONFIG=config, log=subprocess.PIPE)


def test_one_program_on_every_node(start: Start, tmp_path: Path) -> None:
    """All begin at the same time: on one machine the chief may start a server before the node's own process does."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    cluster = {"chief": addresses[:1], "worker": addresses[1:2], "ps": addresses[2:]}
    tasks = [(job, index) for job in cluster for index in range(len(cluster[job]))]
    running = {task: start_task(start, cluster, *task, tmp_path) for task in reversed(tasks)}
    for task, process in running.items():
        output, log = process.communicate(timeout=300)
        assert process.returncode == 0, log
        assert ("trained" in output) == (task == ("chief", 0))
        if task != ("chief", 0):
            assert f"this process is /job:{task[0]}/task:{task[1]}" in log
            assert f"the program runs in the chief's, /job:chief/task:0 at {addresses[0]}" in log
    assert [p.name for p in tmp_path.glob("ran_as_*")] == ["ran_as_chief_0"]
    trained: Any = tf.train.latest_checkpoint(str(tmp_path / "train"))
    np.testing.assert_array_equal(tf.train.load_variable(trained, "w"), np.full([4, 2], -0.5))


def make(monkeypatch: pytest.MonkeyPatch, config: Any, spec: str | None = None) -> AutoDist:
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    return AutoDist(spec)


@pytest.mark.parametrize(
    "config",
    [
        {"cluster": TWO_WORKERS, "task": {"type": "chief", "index": 0}},
        {"cluster": TWO_WORKERS, "task": {"type": "chief", "index": "0"}},
        {"cluster": {"master": ["a:1"], "worker": ["b:1"]}, "task": {"type": "master"}},
        {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"chief": ["a:1"]}},
        {"cluster": {**TWO_WORKERS, "evaluator": ["e:1"]}, "task": {"type": "chief", "index": 0}},
    ],
)
def test_the_chief_goes_on(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(monkeypatch, config).resource_spec.chief.address == "a:1"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG is not JSON"),
        ({"cluster": TWO_WORKERS}, "expected a 'task'"),
        ({"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 2}}, "'worker': 2"),
        ({"cluster": TWO_WORKERS, "task": {"type": "worker", "index": -1}}, "'worker': 2"),
        ({"cluster": TWO_WORKERS, "task": {"type": "ps", "index": 0}}, "expected a 'task'"),
        ({"cluster": TWO_WORKERS, "task": {"type": "evaluator", "index": 0}}, "an evaluator"),
        (
            {"cluster": {**TWO_WORKERS, "master": ["m:1"]}, "task": {"type": "chief"}},
            "a 'chief' and a 'master'",
        ),
    ],
)
def test_a_task_that_is_none_is_refused(
    config: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(monkeypatch, config)


@pytest.mark.parametrize("task", [("worker", 0), ("worker", 1), ("ps", 0)])
def test_a_resource_spec_does_not_make_another_task_the_chief(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "spec.yml"
    spec.write_text("nodes:\n  - address: localhost\n    cpus: [0, 1]\n")
    config = {
        "cluster": {**TWO_WORKERS, "ps": ["p:1"]},
        "task": {"type": task[0], "index": task[1]},
    }
    with pytest.raises(
        GraphStateError, match=rf"task {task[1]} of job '{task[0]}'.*autodist serve"
    ):
        make(monkeypatch, config, str(spec))
    for own in ({"type": "chief", "index": 0}, {"type": "evaluator", "index": 0}):
        assert not make(monkeypatch, {**config, "task": own}, str(spec)).resource_spec.is_cluster
    assert not make(monkeypatch, "{", str(spec)).resource_spec.is_cluster
