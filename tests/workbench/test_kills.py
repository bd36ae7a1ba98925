"""A conversion that is killed leaves the former checkpoint, the new one, or none: never a part of one."""

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench.commands.conversion import Conversion, convert
from support.python_programs import run_python
from support.workbench.stock_writer import save, slices, whole

NEW = np.arange(4000, dtype=np.float32).reshape(40, 100)
FORMER = np.arange(30, dtype=np.float32).reshape(10, 3)


def read(prefix):
    """What stock TensorFlow reads under a prefix; None if there is no checkpoint."""
    if not prefix.with_name("m.index").exists():
        return None
    return tf.train.load_checkpoint(str(prefix)).get_tensor("w")


def is_value(found, value):
    return found is not None and found.shape == value.shape and np.array_equal(found, value)


@pytest.mark.parametrize("former", ["none", "one file", "two files"])
def test_kills_before_each_call(tmp_path, former):
    source = save(tmp_path / "source", [whole("v", np.ones(3)), whole("w", NEW)])
    arguments = []
    if former != "none":
        (tmp_path / "former").mkdir()
        entries = [whole("v", np.zeros(3)), *slices("w", FORMER, 0, [5, 5])]
        first = save(tmp_path / "first", entries)
        count = {"one file": 1, "two files": 2}[former]
        convert(first, str(tmp_path / "former/m"), Conversion(file_count=count))
        arguments = [str(tmp_path / "former/m")]
    (tmp_path / "kills").mkdir()
    module = "support.workbench.killed_commands"
    result = run_python("-m", module, source, tmp_path / "kills", *arguments, fresh=True)
    kills = int(result.stdout.split()[-1])
    assert kills > (10 if former == "none" else 20)
    seen = set()
    for number in range(kills + 1):
        found = read(tmp_path / f"kills/{number:03d}/m")
        if is_value(found, NEW):
            seen.add("new")
        elif former == "none":
            assert found is None
            seen.add("former")
        else:
            assert is_value(found, FORMER), number
            seen.add("former")
    assert seen == {"former", "new"}
    # Whatever the kill left, the next conversion writes the checkpoint in full.
    for number in (0, kills // 2, kills - 1):
        target = tmp_path / f"kills/{number:03d}/m"
        convert(source, str(target), Conversion(), overwrite=True)
        assert is_value(read(target), NEW)
