"""Trains a program of the corpus on one node and distributed, and says what came out.

| outcome | meaning |
|---|---|
| equal | every fetch of every step and every saved variable is that of one node |
| refused | an error of autodist says that something cannot be distributed |
| warned | something differs, and a warning about the values was given before the first step |
| silent | something differs without a word: a fault |
| error | another error, which one node does not have: a fault |
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.errors import AutoDistError
from support.programs.registry import PROGRAMS, Built, Program
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
STEPS = 3
FAULTS = ("silent", "error")
# Warnings that tell of speed, not of values.
_OF_SPEED = re.compile(r"(is|are) not split|nothing is split")
_OPTIONS = tf1.RunOptions(timeout_in_ms=120_000)


@dataclasses.dataclass
class Trained:
    """What a program gave.

    Attributes:
      values: by step: the fetched values by name.
      variables: what a checkpoint holds after the last step, read by TensorFlow.
      refused: by name of a fetch: why it was refused.
      warned: the warnings before the first step.
      split: the names of the roots that are split.
      whole: a line for each root that is not, with the op that needs it whole.
      per_replica: the share of the graph's ops that are made once per replica.
      of_one_row: the error of a batch of one row.
    """

    values: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    variables: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    warned: list[str] = dataclasses.field(default_factory=list)
    split: list[str] = dataclasses.field(default_factory=list)
    whole: list[str] = dataclasses.field(default_factory=list)
    per_replica: float = 0.0
    of_one_row: str = ""


@dataclasses.dataclass
class Verdict:
    """The outcome of one program under one strategy, and why."""

    outcome: str
    detail: str = ""
    split: list[str] = dataclasses.field(default_factory=list)
    whole: list[str] = dataclasses.field(default_factory=list)
    per_replica: float = 0.0


class _Warnings(logging.Handler):
    """Keeps the warnings of autodist."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    handler, logger = _Warnings(), logging.getLogger("autodist")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield handler.lines
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _control_flow(version: str) -> Iterator[None]:
    before = tf1.control_flow_v2_enabled()
    (tf1.enable_control_flow_v2 if version == "v2" else tf1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf1.enable_control_flow_v2 if before else tf1.disable_control_flow_v2)()


def _steps(sess: Any, built: Built, refused: dict[str, str]) -> list[dict[str, Any]]:
    values = []
    for step in range(STEPS):
        feed = built.feed(step)
        found = _fetch(sess, built.fetches, feed, refused)
        for number, op in enumerate(built.train):
            beside = built.beside if number == 0 else {}
            wanted = {k: t for k, t in beside.items() if k not in refused}
            found.update(_run(sess, {"": op, **wanted}, feed))
        found.pop("", None)
        values.append(found)
    return values


def _fetch_one_row(sess: Any, built: Built, trained: Trained) -> None:
    """What the fetches give for a batch of one row: fewer than there are replicas."""
    try:
        feed = built.feed(STEPS)
        trained.values.append(_fetch(sess, built.fetches, feed, trained.refused))
    except AutoDistError:
        raise
    except Exception as error:  # noqa: BLE001 - many programs cannot do with one row
        trained.of_one_row = _line(error)


def _fetch(sess: Any, fetches: dict[str, Any], feed: Any, refused: dict[str, str]) -> Any:
    wanted = {k: t for k, t in fetches.items() if k not in refused}
    try:
        return _run(sess, wanted, feed)
    except AutoDistError:
        parts = [_fetch_alone(sess, k, t, feed, refused) for k, t in wanted.items()]
        return {k: v for part in parts for k, v in part.items()}


def _fetch_alone(sess: Any, name: str, tensor: Any, feed: Any, refused: dict[str, str]) -> Any:
    try:
        return _run(sess, {name: tensor}, feed)
    except AutoDistError as error:
        refused[name] = _line(error)
        return {}


def _run(sess: Any, fetches: dict[str, Any], feed: Any) -> dict[str, Any]:
    return dict(sess.run(fetches, feed, options=_OPTIONS))


def _line(error: BaseException) -> str:
    text = str(error) or repr(error)
    lines = [x for x in text.splitlines() if x.strip()]
    told = [x for x in lines if re.search(r"INVALID|Incompatible|hape|must|NotFound", x)]
    return f"{type(error).__name__}: {(told or lines)[0].strip()[:400]}"


def train(
    program: Program, make_strategy: Callable[[], Any] | None, replicas: int, trained: Trained
) -> Trained:
    """Trains a program; on one node where there is no strategy. Fills `trained`, and returns it.

    Raises:
      Exception: whatever the program meets.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        _control_flow(program.flow),
        _listening() as warned,
        tf.Graph().as_default(),
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)
        tf1.set_random_seed(3)
        if make_strategy is None:
            built = program.build()
            tf1.train.get_or_create_global_step()
            saver = tf1.train.Saver()
            sess = stack.enter_context(tf1.Session())
            sess.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
            sess.run(tf1.tables_initializer())
        else:
            autodist = AutoDist(
                write_local_spec(directory, replicas), make_strategy(), **program.options
            )
            stack.enter_context(autodist.scope())
            built = program.build()
            tf1.train.get_or_create_global_step()
            saver = Saver()
            # It initialises all.
            sess = stack.enter_context(autodist.create_distributed_session())
        if make_strategy is not None:
            _describe(sess, trained)
        for op in built.prepare:
            sess.run(op, built.feed(0))
        trained.warned = list(warned)
        trained.values = _steps(sess, built, trained.refused)
        _fetch_one_row(sess, built, trained)
        path = saver.save(sess, str(directory / "model"), write_meta_graph=False)
        reader = tf.train.load_checkpoint(path)
        trained.variables = {k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()}
        return trained


def _describe(sess: Any, trained: Trained) -> None:
    roots = sess.explain().roots
    trained.split = [r.name for r in roots if r.is_split]
    trained.whole = [f"{r.name} because of {r.cause}" for r in roots if not r.is_split]
    transformer = sess._transformer
    ops = transformer.original.get_operations()
    trained.per_replica = sum(bool(transformer.batch.mask(op)) for op in ops) / len(ops)


@functools.cache
def on_one_node(name: str) -> Trained:
    """What a program gives in stock TensorFlow."""
    return train(PROGRAMS[name], None, 1, Trained())


def compare(name: str, strategy_name: str, replicas: int) -> Verdict:
    """Trains a program under a strategy and compares it with one node."""
    program, one = PROGRAMS[name], on_one_node(name)
    ours = Trained()
    try:
        train(program, STRATEGIES[strategy_name], replicas, ours)
    except AutoDistError as error:
        return _verdict(ours, "refused", _line(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, one node has it not
        return _verdict(ours, "error", _line(error))
    lines = list(_differences(one, ours, program.tolerance))
    if ours.of_one_row and not one.of_one_row:
        return _verdict(ours, "error", f"a batch of one row: {ours.of_one_row}")
    if lines:
        told = [line for line in ours.warned if not _OF_SPEED.search(line)]
        outcome, detail = ("warned" if told else "silent"), "; ".join(lines + told[:2])
    elif ours.refused:
        outcome = "refused"
        detail = "; ".join(f"fetch {k}: {why}" for k, why in ours.refused.items())
    else:
        outcome, detail = "equal", ""
    return _verdict(ours, outcome, detail)


def _verdict(ours: Trained, outcome: str, detail: str) -> Verdict:
    return Verdict(outcome, detail, ours.split, ours.whole, ours.per_replica)


def _differences(one: Trained, ours: Trained, tolerance: float) -> Iterator[str]:
    """A line for each fetch (of the first step where it differs) and each variable."""
    told: set[str] = set()
    for step, (want, got) in enumerate(zip(one.values, ours.values, strict=False)):
        for key in want:
            if key in ours.refused or key in told:
                continue
            line = _difference(want[key], got.get(key), tolerance)
            if line:
                told.add(key)
                yield f"fetch {key} of step {step}: {line}"
    for key in sorted(one.variables.keys() | ours.variables.keys()):
        if key not in one.variables or key not in ours.variables:
            yield f"variable {key} is in one checkpoint only"
            continue
        line = _difference(one.variables[key], ours.variables[key], tolerance)
        if line:
            yield f"variable {key}: {line}"


def _difference(want: Any, got: Any, tolerance: float) -> str:
    wants, gots = tf.nest.flatten(_plain(want)), tf.nest.flatten(_plain(got))
    if len(wants) != len(gots):
        return f"{len(wants)} parts, not {len(gots)}"
    for a, b in zip(map(np.asarray, wants), map(np.asarray, gots), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
        if a.dtype.kind not in "fc":
            if not (a == b).all():
                return f"{_short(a)}, not {_short(b)}"
        else:
            limit = max(tolerance, 1e-5) if a.dtype.itemsize <= 4 else tolerance
            if not np.allclose(b, a, rtol=limit, atol=limit / 10, equal_nan=True):
                return f"{_short(a)}, not {_short(b)}"
    return ""


def _plain(value: Any) -> Any:
    """A fetched value; of a summary, what is in it."""
    if not isinstance(value, bytes):
        return value
    found = {}
    for entry in tf1.Summary.FromString(value).value:
        kind = entry.WhichOneof("value")
        held = getattr(entry, kind)
        if kind == "histo":
            held = [held.min, held.max, held.num, held.sum, held.sum_squares, *held.bucket]
            held = np.array(held, np.float32)
        elif kind == "image":
            held = held.encoded_image_string
        elif kind == "tensor":
            held = tf.make_ndarray(held)
        found[f"{entry.tag} {kind}"] = np.float32(held) if kind == "simple_value" else held
    return found


def _short(value: np.ndarray) -> str:
    with np.printoptions(precision=6, threshold=4, edgeitems=1):
        return " ".join(str(value).split())[:80]
