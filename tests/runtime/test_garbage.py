"""The garbage collector is paused while a graph is built, and goes on as the program had it."""

import gc
import threading

import pytest

from autodist.process.garbage import collection_paused


@pytest.fixture(autouse=True)
def collector_as_before() -> object:
    was_enabled = gc.isenabled()
    yield
    (gc.enable if was_enabled else gc.disable)()


def test_the_collector_goes_on_also_after_an_error() -> None:
    gc.enable()
    seen = []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"), collection_paused():
        fail()
    assert seen == [False]
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


def test_the_last_of_several_threads_lets_it_go_on() -> None:
    gc.enable()
    is_inside, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with collection_paused():
            is_inside.set()
            may_end.wait(60)

    thread = threading.Thread(target=other)
    with collection_paused():
        thread.start()
        assert is_inside.wait(60)
    assert not gc.isenabled()
    may_end.set()
    thread.join()
    assert gc.isenabled()
