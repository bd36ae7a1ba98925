"""Resource specs: what they mean, and what is wrong with a bad one."""

from pathlib import Path
from typing import Any

import pytest

from autodist.autodist import AutoDist
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import ArgumentError, ArgumentTypeError, GraphStateError
from autodist.strategy import PS


def read(node: Any) -> ResourceSpec:
    return ResourceSpec.from_mapping({"nodes": [node]})


def test_each_cpu_is_a_replica_and_a_server() -> None:
    spec = read({"address": "localhost", "cpus": [0, 1]})
    assert spec.replica_devices == ("/device:CPU:0", "/device:CPU:1")
    assert spec.server_devices == spec.replica_devices
    assert spec.chief.cpu_count == 2


def test_each_gpu_is_a_replica_where_there_are_some() -> None:
    spec = read({"address": "127.0.0.1", "cpus": [0], "gpus": [0, 2], "chief": True})
    assert spec.replica_devices == ("/device:GPU:0", "/device:GPU:2")
    assert spec.server_devices == ("/device:CPU:0",)


def test_a_node_has_one_cpu_unless_told_otherwise() -> None:
    assert read({"address": "localhost"}).chief.cpus == (0,)


def test_cpus_may_have_any_numbers() -> None:
    spec = read({"address": "localhost", "cpus": [3, 1]})
    assert spec.replica_devices == ("/device:CPU:3", "/device:CPU:1")
    assert spec.chief.cpu_count == 4


BAD_CONTENT: list[tuple[Any, str]] = [
    (None, "expected a mapping with a list 'nodes'.*found None"),
    ([], "expected a mapping with a list 'nodes'"),
    ({}, "expected a mapping with a list 'nodes'"),
    ({"nodes": []}, "expected a mapping with a list 'nodes'"),
    ({"nodes": {"address": "localhost"}}, "expected a mapping with a list 'nodes'"),
    ({"nodes": [{"address": "localhost"}], "sshs": {}}, r"unknown keys \['sshs'\]"),
    ({"nodes": ["localhost"]}, r"nodes\[0\]: expected a mapping with 'address'"),
    ({"nodes": [{"address": "localhost", "tpus": [0]}]}, r"unknown keys \['tpus'\]"),
    ({"nodes": [{"cpus": [0]}]}, r"address: expected a host or host:port.*found None"),
    ({"nodes": [{"address": "10.0.0.1"}]}, "address '10.0.0.1' is not this machine"),
    ({"nodes": [{"address": "localhost", "cpus": 2}]}, r"cpus: expected a list .* found 2"),
    ({"nodes": [{"address": "localhost", "cpus": [0, 0]}]}, "different device numbers"),
    ({"nodes": [{"address": "localhost", "cpus": [-1]}]}, "different device numbers"),
    ({"nodes": [{"address": "localhost", "cpus": [True]}]}, "different device numbers"),
    ({"nodes": [{"address": "localhost", "gpus": ["a"]}]}, r"gpus: expected a list"),
]


@pytest.mark.parametrize(("content", "message"), BAD_CONTENT)
def test_a_bad_spec_is_refused_with_what_is_wrong(content: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ResourceSpec.from_mapping(content)


def test_a_file_is_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "spec.yml"
    path.write_text("nodes: 3")
    with pytest.raises(ValueError, match=r"spec\.yml"):
        AutoDist(str(path))


def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yml"
    path.write_text("nodes: [")
    with pytest.raises(ArgumentError, match="is not YAML"):
        AutoDist(str(path))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AutoDist(str(tmp_path / "spec.yml"))


def test_a_strategy_must_be_one(spec_file: str) -> None:
    with pytest.raises(ArgumentTypeError, match="strategy_builder must be an instance"):
        AutoDist(spec_file, PS)


def test_gpus_that_are_not_there_are_refused(tmp_path: Path, build: Any) -> None:
    path = tmp_path / "gpus.yml"
    path.write_text("nodes: [{address: localhost, gpus: [64]}]")
    autodist = AutoDist(str(path))
    with autodist.scope():
        build()
        with pytest.raises(GraphStateError, match=r"lists GPUs \[64\], but TensorFlow sees"):
            autodist.create_distributed_session()
