"""Tells an observer of each run of a session in this process.

`Session.run`, partial runs, callables, monitored sessions, queue runners and Keras all go through
three methods of TensorFlow's `BaseSession` and its `_Callable`. A fourth sets partial runs up. This
module wraps all four, since TensorFlow has no public way to observe runs. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import tensorflow as tf

from autodist.private_apis import tf_sessions

_BaseSession: Any = tf_sessions.BaseSession

# Paths of the code that `where` skips: TensorFlow, this package, parts of the standard library.
_NOT_THE_PROGRAM = (
    str(pathlib.Path(tf.__file__).parent),
    str(pathlib.Path(__file__).parents[1]),
    str(pathlib.Path(threading.__file__).parent / "threading.py"),
    str(pathlib.Path(contextlib.__file__)),
    "<",
)


class Observer(Protocol):
    """Is called before and after runs."""

    def begin_run(self, session: Any, partial_run: str | None) -> Any:
        """Is called before a run, and may wait; returns what `end_run` gets.

        Args:
            session: The session.
            partial_run: The handle of the partial run that the run belongs to.
        """

    def end_run(self, run: Any) -> None:
        """Is called when a run has ended, with or without an error."""

    def begin_partial_run(self, session: Any) -> Any:
        """Is called before a partial run is set up, and may wait; returns `run` for the next."""

    def note_partial_run(self, run: Any, handle: str, parts: int) -> None:
        """Is called when a partial run was set up.

        Args:
            run: From `begin_partial_run`.
            handle: The handle of the partial run.
            parts: How many tensors can be fed and fetched, each once.
        """

    def end_part(self, handle: str, parts: int) -> None:
        """Is called when tensors of a partial run were fed and fetched.

        Args:
            handle: The handle of the partial run.
            parts: How many tensors.
        """


# The code objects of the methods, and of the functions that wrap them.
_stock: set[Any] = set()
_wrapping: set[Any] = set()
_installing = threading.Lock()


def observe(observer: Observer) -> bool:
    """Tells an observer of all runs from now on; there is one for the life of the process.

    Args:
        observer: The observer.

    Returns:
        Whether this call has set the observer. It was not told of runs that are on their way now.
    """
    with _installing:
        if _stock:
            return False
        functions = [
            (_BaseSession, "_call_tf_sessionrun", _observed_run),
            (_BaseSession, "_call_tf_sessionprun", _observed_part),
            (_BaseSession._Callable, "__call__", _observed_callable),
            (_BaseSession, "partial_run_setup", _observed_setup),
        ]
        wrapped = []
        for owner, name, wrap in functions:
            stock = getattr(owner, name)
            _stock.add(stock.__code__)
            wrapper: Any = functools.wraps(stock)(wrap(stock, observer))
            _wrapping.add(wrapper.__code__)
            wrapped.append((owner, name, wrapper))
        for attribute in wrapped:
            setattr(*attribute)
        return True


def unobserved_runs() -> Iterator[tuple[int, Any]]:
    """Yields the thread and session of each run that had begun before there was an observer.

    No run is missed. CPython switches threads when a function is entered, but not between the
    look-up of a method and its entry. So a thread has entered either a method or its wrapper.
    """
    for thread, frame in _frames():
        caller = frame.f_back
        if frame.f_code in _stock and (caller is None or caller.f_code not in _wrapping):
            of = frame.f_locals["self"]
            yield thread, of._session if isinstance(of, _BaseSession._Callable) else of


def is_running(thread: int) -> bool:
    """Tells whether a thread is inside a run that the observer was told of."""
    return any(running == thread and f.f_code in _wrapping for running, f in _frames())


def is_inside(thread: int, name: str, value: Any) -> bool:
    """Tells whether a thread is inside a function with this object in a local variable.

    Args:
        thread: The thread's identifier.
        name: The name of the variable.
        value: The object.
    """
    return any(
        running == thread and name in frame.f_code.co_varnames and frame.f_locals.get(name) is value
        for running, frame in _frames()
    )


def where(thread: int) -> str:
    """Returns the line of the program that a thread is in, outside of TensorFlow and this package.

    Empty if there is none.
    """
    for running, frame in _frames():
        path = frame.f_code.co_filename
        if running == thread and not path.startswith(_NOT_THE_PROGRAM):
            return f"{path}:{frame.f_lineno}"
    return ""


def _frames() -> Iterator[tuple[int, Any]]:
    """Yields the frames of all threads, from the innermost outwards."""
    for thread, innermost in sys._current_frames().items():
        frame: Any = innermost
        while frame is not None:
            yield thread, frame
            frame = frame.f_back


def _observed_run(stock: Any, observer: Observer) -> Any:
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        begun = observer.begin_run(self, None)
        try:
            return stock(self, *args, **kwargs)
        finally:
            observer.end_run(begun)

    return run


def _observed_callable(stock: Any, observer: Observer) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        begun = observer.begin_run(self._session, None)
        try:
            return stock(self, *args, **kwargs)
        finally:
            observer.end_run(begun)

    return call


def _observed_part(stock: Any, observer: Observer) -> Any:
    def run(self: Any, handle: Any, feed_dict: Any, fetch_list: Any) -> Any:
        begun = observer.begin_run(self, _text(handle))
        # TensorFlow ends a partial run at its first error.
        parts = sys.maxsize
        try:
            values = stock(self, handle, feed_dict, fetch_list)
            parts = len(feed_dict) + len(fetch_list)
        finally:
            observer.end_run(begun)
            observer.end_part(_text(handle), parts)
        return values

    return run


def _observed_setup(stock: Any, observer: Observer) -> Any:
    def set_up(self: Any, fetches: Any, feeds: Any = None) -> Any:
        begun = observer.begin_partial_run(self)
        is_set_up = False
        try:
            handle = stock(self, fetches, feeds)
            fetched = tf_sessions.flatten_fetches(self.graph, fetches)[0]
            given = feeds if isinstance(feeds, (list, tuple)) else [feeds]
            fed = tf.nest.flatten([f for f in given if f is not None], expand_composites=True)
            observer.note_partial_run(begun, _text(handle), len(fed) + len(fetched))
            is_set_up = True
        finally:
            if not is_set_up:
                observer.end_run(begun)
        return handle

    return set_up


def _text(handle: Any) -> str:
    return handle.decode() if isinstance(handle, bytes) else str(handle)
