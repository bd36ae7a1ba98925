"""Variants, which have no values to show or to compare: `diff` and `show` say so, or take their bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench.commands import differences
from autodist.workbench.errors import DamagedError
from support.workbench.stock_writer import save, whole


def saved(path: Path, number: float) -> Path:
    """A checkpoint with a list of tensors, as TensorFlow has it, and a variable."""
    items = tf.raw_ops.TensorListFromTensor(
        tensor=tf.constant([[number], [2.0]]), element_shape=tf.constant([1])
    )
    return Path(save(path, [whole("list", items), whole("w", np.float32(1))]))


def test_variants_that_differ_are_told(tmp_path, run):
    a, b, again = (saved(tmp_path / name, n) for name, n in (("a", 1), ("b", 3), ("again", 1)))
    assert run("diff", a, again)[:2] == (0, "0 of 2 variables differ\n")
    for options in ((), ("--quick",)):
        code, out, _ = run("diff", a, b, *options)
        assert (code, "list  values" in out, "1 of 2 variables differ" in out) == (1, True, True)
    (difference,) = json.loads(run("diff", a, b, "--json")[1])["differences"]
    assert (difference["name"], difference["change"]) == ("list", None)


def test_damaged_variants_are_not_compared(tmp_path):
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 1)
    data = Path(f"{b}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:40] + b"?" + data.read_bytes()[41:])
    with pytest.raises(DamagedError, match="tensor 'list'"):
        differences.compare(str(a), str(b))


def test_a_pattern_shows_what_can_be_shown(tmp_path, run):
    path = saved(tmp_path / "a", 1)
    code, out, _ = run("show", path, "*")
    assert code == 0
    assert out.startswith("list  variant []\n(has no values that can be shown)\n\nw  float32 []\n1")
    assert [row["values"] for row in json.loads(run("show", path, "*", "--json")[1])] == [None, 1]
    assert "values of variant cannot be shown" in run("show", path, "list")[2]
