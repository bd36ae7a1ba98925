"""The evidence of a checkpoint, and figures of arrays by NumPy, for tests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import RefusedCheckpointError
from autodist.evidence import text
from autodist.evidence.figures import Evidence, VariableFigures

tf1 = tf.compat.v1

GOOD = np.array([3, 4], np.float32)
BAD = np.array([3, np.nan], np.float32)


def saver_of(refuse: Any, keep: int = 5, **how: Any) -> Saver:
    return Saver(max_to_keep=keep, options=SaveOptions(refuse=refuse, durable=False, **how))


def save(saver: Saver, directory: Path, variable: Any, value: Any, step: int) -> Any:
    session = tf1.get_default_session()
    variable.load(np.asarray(value, np.float32), session)
    return saver.save(session, str(directory / "m"), step)


def save_good_and_refused(directory: Path, variable: Any) -> Saver:
    """Saves `m-1`, which is good, and `m-2`, which is refused; returns the saver."""
    saver = saver_of({"nonfinite"})
    save(saver, directory, variable, GOOD, 1)
    with pytest.raises(RefusedCheckpointError):
        save(saver, directory, variable, BAD, 2)
    return saver


def evidence_of(prefix: Any) -> Evidence:
    return text.parse(Path(f"{prefix}.evidence.json").read_bytes())


def latest_of(directory: Path) -> str | None:
    found = tf.train.latest_checkpoint(str(directory))
    return None if found is None else Path(found).name


def check(figures: VariableFigures, value: Any) -> None:
    """Compares figures with those that NumPy has of the value."""
    array = np.asarray(value)
    is_complex = array.dtype.kind == "c"
    parts = np.stack([array.real, array.imag]) if is_complex else array
    wide = parts.astype(np.float64).ravel()
    finite = wide[np.isfinite(wide)]
    assert figures.count == array.size
    assert figures.nans == np.isnan(wide).sum()
    assert figures.positive_infinities == (wide == np.inf).sum()
    assert figures.negative_infinities == (wide == -np.inf).sum()
    norm = float(np.sqrt((finite.astype(np.longdouble) ** 2).sum()))
    assert math.isclose(figures.norm, norm, rel_tol=2e-6)
    if is_complex or not finite.size:
        assert figures.minimum is figures.maximum is figures.mean is None
        return
    assert (figures.minimum, figures.maximum) == (finite.min(), finite.max())
    assert figures.mean is not None
    scale = float(np.abs(finite).mean())
    assert abs(figures.mean - float(finite.mean())) <= 2e-6 * scale
