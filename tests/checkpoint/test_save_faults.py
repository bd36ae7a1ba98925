"""What comes from outside during a save: interruptions, and a session that is closed."""

import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# Python's own scandir, interrupted before its `with` statement has begun, is closed by the collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <posix.ScandirIterator")
@pytest.mark.parametrize("step", [1, 2], ids=["same prefix", "new prefix"])
def test_an_interruption_leaves_the_former_checkpoint_or_the_new_one(
    step: int, session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    saver = Saver(max_to_keep=1)
    model["w"].load([1.0, 1.0], session)
    saver.save(session, str(tmp_path / "m"), 1)
    model["w"].load([2.0, 2.0], session)
    former = signal.signal(signal.SIGALRM, interrupt)
    interruptions = 0
    try:
        for attempt in range(15):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + attempt * 0.0015)
                saver.save(session, str(tmp_path / "m"), step)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interruptions += 1
                # An interruption within it leaves TensorFlow's lock of the graph taken for ever.
                lock = session.graph._group_lock
                session.graph._group_lock = type(lock)(num_groups=2)
            latest = tf.train.latest_checkpoint(str(tmp_path))
            assert tf.train.load_variable(latest, "w")[0] in {1.0, 2.0}
            assert not any(".autodist" in name for name in files(tmp_path))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert interruptions > 0
    path = saver.save(session, str(tmp_path / "m"), step)
    assert tf.train.load_variable(path, "w").tolist() == [2.0, 2.0]
    assert tf.train.latest_checkpoint(str(tmp_path)) == path


def test_a_session_closed_during_a_save_ends_it(graph: Any, tmp_path: Path) -> None:
    table = tf1.get_variable(
        "table", [96, 1 << 20], use_resource=True, initializer=tf1.zeros_initializer()
    )
    small = tf1.get_variable("small", initializer=[1.0], use_resource=True)
    init, saver = tf1.global_variables_initializer(), Saver(threads=1)
    session = tf1.Session()
    session.run(init)
    kept = Saver([small]).save(session, str(tmp_path / "m"), 1)
    errors: list[BaseException] = []

    def save() -> None:
        try:
            saver.save(session, str(tmp_path / "m"), 2)
        except tf.errors.OpError as error:
            errors.append(error)

    thread = threading.Thread(target=save)
    thread.start()
    # The op has begun: TensorFlow refuses a run in a closed session by another error.
    while thread.is_alive() and not any("m-2.data" in name for name in files(tmp_path)):
        time.sleep(0.001)
    session.close()
    thread.join()
    assert isinstance(errors[0], tf.errors.CancelledError)
    assert tf.train.latest_checkpoint(str(tmp_path)) == kept
    assert not any("m-2" in name for name in files(tmp_path))
    with tf1.Session() as again:
        again.run(init)
        assert saver.save(again, str(tmp_path / "m"), 2) == str(tmp_path / "m-2")
    del table


@pytest.mark.parametrize("durable", [1, None, "yes"])
def test_durable_is_true_or_false(durable: Any, model: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="durable must be True or False"):
        Saver(durable=durable)


def test_over_a_prefix_in_use_on_a_file_system_that_is_not_posix(
    session: Any, model: dict[str, Any]
) -> None:
    saver = Saver()
    for number in range(3):
        model["w"].load([number, number], session)
        path = saver.save(session, "ram://faults/m")
        assert tf1.train.NewCheckpointReader(path).get_tensor("w").tolist() == [number, number]
        names = tf.io.gfile.listdir("ram://faults")
        assert sum(".data-" in name for name in names) == 1


def test_too_little_space_says_how_much_is_needed_and_what_is_intact(
    graph: Any, tmp_path: Path
) -> None:
    tf1.get_variable("v", [1 << 18])
    saver = Saver()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        former = saver.save(session, str(tmp_path / "m"), 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
        try:
            with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
                saver.save(session, str(tmp_path / "m"), 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        saver.restore(session, former)
    message = caught.value.message
    assert message.startswith(f"Cannot save {tmp_path / 'm-2'}: ")
    assert f"The data file takes {4 << 18} bytes" in message
    assert f"bytes are free in {str(tmp_path)!r}" in message
    assert f"the checkpoint {former} is as it was" in message
    assert "report_tensor_allocations" not in message
    assert not list(tmp_path.glob("m-2*"))
