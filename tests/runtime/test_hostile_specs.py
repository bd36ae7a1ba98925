"""Resource specs made to harm: an error each, soon, and nothing of the file in it that a terminal would obey."""

import re
import time
from pathlib import Path

import pytest

from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import ArgumentError

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    + ["nodes: *a11"]
)
MERGES = "\n".join(
    ["m0: &m0 {k0: 1}"]
    + [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}], k{i}: 1}}" for i in range(1, 12)]
    + ["nodes: *m11"]
)
HOSTILE = {
    "aliases": BOMB,
    "merges": MERGES,
    "a list that holds itself": "nodes: &a [*a]",
    "a mapping that holds itself": "&a {nodes: *a}",
    "deep": "[" * 100_000,
    "deep and closed": "nodes: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "deep blocks": "".join(" " * i + "a:\n" for i in range(1000)),
    "python object": "nodes: !!python/object/apply:os.system ['touch owned']",
    "python name": "nodes: !!python/name:os.system",
    "unknown tag": "nodes: !nothing [1]",
    "binary": "nodes: !!binary aGVsbG8=",
    "no base64": "nodes: !!binary '*'",
    "a date that is none": "nodes: 2001-99-99",
    "a number of many digits": "nodes: " + "9" * 100_000,
    "a key twice": "nodes: [{address: localhost, cpus: [0], cpus: [1]}]",
    "a list as key": "? [1, 2]\n: 3",
    "no key": "{[]: 1}",
    "not UTF-8": b"nodes: \xff\xfe",
    "NUL": "nodes: a\0b",
    "empty": "",
    "only a comment": "# nothing",
    "two documents": "nodes: []\n---\nnodes: []",
    "wrong types": "nodes: {address: localhost}",
    "a number as address": "nodes: [{address: 5}]",
    "address with a path": "nodes: [{address: '../../etc/passwd'}]",
    "control characters": 'nodes: [{address: "\\e[2J\\e]0;owned\\a\\r\\u009b"}]',
    "control characters in a name": 'nodes: [{address: localhost}]\nssh: {"\\e[2J": 5}',
    "all devices": "nodes: [{address: localhost, cpus: [999999999]}]",
    "negative devices": "nodes: [{address: localhost, cpus: [-1]}]",
    "many nodes": "nodes: [" + "{}, " * 30_000 + "]",
    "large": "# " + "x" * (2 << 20),
    "a long text": f"nodes: '{'x' * 900_000}'",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_it_is_refused(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "spec.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.process_time()
    with pytest.raises(ArgumentError) as raised:
        ResourceSpec.from_file(str(path))
    assert time.process_time() - start < 10
    message = str(raised.value)
    assert len(message) < 3000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", message)
    assert list(tmp_path.iterdir()) == [path]


def test_aliases_that_repeat_little_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "spec.yml"
    path.write_text("nodes:\n  - address: localhost\n    cpus: &both [0, 1]\n    gpus: *both\n")
    assert ResourceSpec.from_file(str(path)).nodes[0].cpus == (0, 1)
