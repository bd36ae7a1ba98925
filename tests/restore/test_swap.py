"""`verify='swap'`: one instant for all variables, memory that runs short, and values that others hold."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.options import SaveOptions
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from support import layouts
from support.python_programs import environment, run_python

tf1 = tf.compat.v1

COUNT, SHAPE = 12, [64, 1024]

# A variable of 96 MiB with a value; where the process may map no second one it is written in place.
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
tf1 = tf.compat.v1
tf1.disable_eager_execution()
MIB = 1 << 20
v = tf1.get_variable("v", initializer=tf.random.uniform([24 * MIB], seed=1), use_resource=True)
total = tf.reduce_sum(v)
saver = Saver(verify="swap", threads=2)
with tf1.Session() as session:
    session.run(v.initializer)
    expected = session.run(total)
    prefix = saver.save(session, sys.argv[1] + "/m", write_meta_graph=False)
    saver.restore(session, prefix)  # swaps; builds what the session keeps
    session.run(v.initializer)
    assert session.run(total) != expected
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 64 * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with transfer.collected() as reports:
        saver.restore(session, prefix)
    assert session.run(total) == expected
    print("passes", reports[0].byte_count // (96 * MIB), reports[0].refused_methods)
"""


def made(directory: Path, number: float) -> str:
    """Saves COUNT variables that have this number everywhere; returns the prefix."""
    values = {f"v{i}": np.full(SHAPE, number, np.float32) for i in range(COUNT)}
    cuts = {name: layouts.whole(SHAPE) for name in values}
    return str(layouts.WRITERS["stock"](str(directory / f"m{number}"), values, cuts))


def variables() -> list[Any]:
    value = np.full(SHAPE, 1, np.float32)
    return [
        shard
        for i in range(COUNT)
        for shard in layouts.make_variables(f"v{i}", value, [[0, 40, 64], [0, SHAPE[1]]])
    ]


@pytest.mark.parametrize("consistency", ["shard", "instant"])
@pytest.mark.parametrize("kind", ["dense", "rows"])
def test_saves_beside_swaps_hold_one_state(kind: str, consistency: str, tmp_path: Path) -> None:
    """Also while an image of the former buffers is open."""
    if kind == "rows" and consistency == "shard":
        pytest.skip("each shard is saved as it was at an instant of its own")
    prefixes = [made(tmp_path, number) for number in (1, 2)]
    shards = variables()
    # Zeros: the update changes the variable's mode, not its value.
    touch = [tf1.scatter_add(each, [0], np.zeros([1, SHAPE[1]], np.float32)) for each in shards]
    options = SaveOptions(consistency=consistency, durable=False)
    saver = Saver(verify="swap", options=options)
    is_over = threading.Event()
    problems: list[BaseException] = []

    def swap(session: Any) -> None:
        try:
            while not is_over.is_set():
                for prefix in prefixes:
                    saver.restore(session, prefix)
        except BaseException as problem:  # noqa: BLE001 shown by the test
            problems.append(problem)

    seen = set()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        if kind == "rows":
            session.run(touch)
        thread = threading.Thread(target=swap, args=(session,))
        thread.start()
        try:
            for number in range(15):
                saved = saver.save(session, str(tmp_path / "s"), number, write_meta_graph=False)
                reader = tf.train.load_checkpoint(saved)
                numbers = {
                    float(each)
                    for i in range(COUNT)
                    for each in np.unique(reader.get_tensor(f"v{i}"))
                }
                assert len(numbers) == 1, numbers
                seen |= numbers
        finally:
            is_over.set()
            thread.join(60)
        assert not thread.is_alive()
        assert not problems
        assert seen <= {1, 2}
        if kind == "rows":
            session.run(touch)
        for prefix, number in zip(prefixes, (1, 2), strict=True):
            saver.restore(session, prefix)
            assert all(np.all(value == number) for value in session.run(shards))


def test_variables_that_share_a_buffer_are_parted(tmp_path: Path) -> None:
    one, two = np.full([300, 1000], 1, np.float32), np.full([300, 1000], 2, np.float32)
    prefix = layouts.WRITERS["stock"](
        str(tmp_path / "m"), {"a": one, "b": two}, dict.fromkeys("ab", layouts.whole(one.shape))
    )
    a, b = (
        tf1.get_variable(name, initializer=np.zeros_like(one), use_resource=True) for name in "ab"
    )
    # TensorFlow gives `b` the buffer of `a`.
    share, update = b.assign(a.read_value()), b.assign_add(np.ones_like(one))
    saver = Saver(verify="swap")
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        session.run(share)
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run([a, b]), [one, two])
        session.run(update)
        np.testing.assert_array_equal(session.run([a, b]), [one, two + 1])


def test_without_address_space_for_a_second_copy_it_is_read_twice(tmp_path: Path) -> None:
    # TensorFlow's other allocator waits for memory.
    env = environment(TF_ENABLE_ONEDNN_OPTS="0")
    done = run_python("-c", PROGRAM, tmp_path, env=env, fresh=True)
    assert "passes 2 no memory for a float of shape [25165824]" in done.stdout
    assert "verify='before' took the place of 'swap': no memory for a float" in done.stderr


def test_new_variables_ref_variables_and_strings_are_read_once_too(tmp_path: Path) -> None:
    values = {
        "live": layouts.random_values(tf.float32, (40, 50), 1),
        "new": layouts.random_values(tf.float32, (40, 50), 2),
        "ref": layouts.random_values(tf.float32, (40, 50), 3),
        "text": layouts.random_values(tf.string, (40,), 4),
    }
    cuts = {name: layouts.whole(np.shape(value)) for name, value in values.items()}
    prefix = layouts.WRITERS["stock"](str(tmp_path / "m"), values, cuts)
    parts = {
        name: layouts.make_variables(
            name,
            layouts.blank(value),
            [[0, 7, 40], *layouts.whole(value.shape[1:])],
            use_resource=name != "ref",
        )
        for name, value in values.items()
    }
    with tf1.Session() as session:
        session.run([v.initializer for name in ("live", "ref", "text") for v in parts[name]])
        with transfer.collected() as reports:
            Saver(verify="swap").restore(session, prefix)
        assert reports[0].byte_count == Path(prefix + ".data-00000-of-00001").stat().st_size
        assert not reports[0].refused_methods
        for name, found in session.run(parts).items():
            wanted = layouts.boxes_of(values[name], [[0, 7, 40], *cuts[name][1:]])
            for part, expected in zip(found, wanted, strict=True):
                layouts.assert_same(part, expected)
