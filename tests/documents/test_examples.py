"""The programs of `examples` run, twice in a row, and the Kubernetes files say what the example needs."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml

from support.ports import free_ports
from support.python_programs import Process, Start, run_python, users_environment

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 40


def numbers_in(output: str, pattern: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, output)]


def test_plain_keras_goes_on_where_the_distributed_fit_ended(tmp_path: Path) -> None:
    for _ in range(2):
        output = run_python(
            EXAMPLES / "keras_fit.py", "--directory", tmp_path, env=users_environment()
        ).stdout
        distributed, plain = numbers_in(output, r"loss ([\d.]+)")
        assert plain < distributed


def test_the_language_model_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    losses = []
    for call in (1, 2):
        output = run_python(
            EXAMPLES / "bert_like.py", "--directory", tmp_path, "--steps", 60, fresh=True
        ).stdout
        assert f"model.ckpt-{60 * call}:" in output
        assert f"export-{60 * call}:" in output
        losses += numbers_in(output, r"loss ([\d.]+)")
    assert losses[1] < losses[0]


@pytest.fixture
def job_file() -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / "kubernetes/job.yaml").read_text(encoding="utf-8")))


def of_kind(documents: list[Any], kind: str) -> Any:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def test_the_parts_of_the_kubernetes_job_name_each_other(job_file: list[Any]) -> None:
    claim, service, tasks, job = (
        of_kind(job_file, kind) for kind in ("PersistentVolumeClaim", "Service", "ConfigMap", "Job")
    )
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name, domain = job["metadata"]["name"], service["metadata"]["name"]
    lines = [line.split() for line in tasks["data"]["TASKS"].splitlines()]
    port = container["ports"][0]["containerPort"]
    assert [address for _, address in lines] == [
        f"{name}-{number}.{domain}:{port}" for number in range(len(lines))
    ]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == len(lines)
    assert pod["subdomain"] == domain
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["ports"][0]["port"] == port
    assert container["envFrom"][0]["configMapRef"]["name"] == tasks["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    directory = container["args"][container["args"].index("--directory") + 1]
    assert Path(directory).is_relative_to(mount["mountPath"])


def test_the_image_copies_files_that_exist() -> None:
    text = (EXAMPLES / "kubernetes/Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"examples/\S+\.py", text)
    assert copied
    for name in copied:
        assert (EXAMPLES.parent / name).is_file()
    entry: list[str] = json.loads(re.findall(r"ENTRYPOINT (\[.*\])", text)[0])
    assert {"entry_point.py", "parameter_server.py"} <= {Path(name).name for name in copied}
    assert entry == ["python", "entry_point.py", "parameter_server.py"]


@pytest.fixture
def pods(job_file: list[Any], start: Start, tmp_path: Path) -> list[Process]:
    """Runs every Pod of the Job as a process of this machine."""
    jobs = [
        line.split()[0] for line in of_kind(job_file, "ConfigMap")["data"]["TASKS"].splitlines()
    ]
    lines = [
        f"{job} localhost:{port}" for job, port in zip(jobs, free_ports(len(jobs)), strict=True)
    ]
    program = [EXAMPLES / "kubernetes/entry_point.py", EXAMPLES / "parameter_server.py"]
    options = ["--directory", tmp_path / "model", "--steps", STEPS]
    return [
        start(
            *program,
            *options,
            log=subprocess.STDOUT,
            fresh=True,
            TASKS="\n".join(lines),
            JOB_COMPLETION_INDEX=str(number),
        )
        for number in range(len(jobs))
    ]


def test_the_parameter_server_job_trains_saves_evaluates_and_ends(
    pods: list[Process], tmp_path: Path
) -> None:
    said = [process.communicate(timeout=600)[0] for process in pods]
    assert [process.returncode for process in pods] == [0] * len(pods), "\n\n".join(said)
    assert any("of 3 tasks in" in text for text in said), said[0]
    latest = tf.train.latest_checkpoint(str(tmp_path / "model"))
    step = int(latest.rpartition("-")[2])
    assert step >= STEPS
    # The chief's last checkpoint may hold a step that another worker made meanwhile.
    evaluated = re.findall(r"evaluator: model\.ckpt-(\d+) loss", "".join(said))
    assert STEPS <= int(evaluated[-1]) <= step
    assert tf.train.load_checkpoint(latest).get_variable_to_shape_map()["table"] == [1000, 16]
