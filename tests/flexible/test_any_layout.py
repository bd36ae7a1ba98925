"""Any growth and cast, from every stored layout into every other, beside what NumPy says."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import tensorflow as tf

from autodist.checkpoint.flexible import flexible_restore
from autodist.checkpoint.saver import Growth, RestoreOptions, Saver
from support import layouts

tf1 = tf.compat.v1

# `make torture` tries more of them.
EXAMPLES = 300 if os.environ.get("AUTODIST_TORTURE") == "full" else 20

FLOATS = [tf.float16, tf.bfloat16, tf.float32, tf.float64, layouts.FLOAT8[0]]


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Borders along each dimension."""
    return [
        sorted({0, length, *draw(st.sets(st.integers(1, max(1, length - 1)), max_size=2))})
        if length > 1
        else [0, length]
        for length in shape
    ]


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    more = draw(st.integers(0, 4))
    wanted = (*shape[:axis], shape[axis] + more, *shape[axis + 1 :])
    is_float = draw(st.booleans())
    dtype = draw(st.sampled_from(FLOATS if is_float else layouts.DTYPES))
    return {
        "value": layouts.random_values(dtype, shape, draw(st.integers(0, 99))),
        "stored": draw(cuts(shape)),
        "shape": wanted,
        "wanted": draw(cuts(wanted)),
        "dtype": draw(st.sampled_from(FLOATS)) if is_float else dtype,
        "axis": axis,
        "rest": draw(st.sampled_from(["initialize", "keep", "zeros"])),
    }


@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    chosen=st.lists(cases(), min_size=1, max_size=3),
    writer=st.sampled_from(sorted(layouts.WRITERS)),
    verify=st.sampled_from(["before", "during", "swap"]),
    most=st.sampled_from([1, 2 << 20]),
)
def test_any_growth_and_cast(
    chosen: Any, writer: str, verify: str, most: int, tmp_path: Path
) -> None:
    names = [f"v{number}" for number in range(len(chosen))]
    prefix = layouts.WRITERS[writer](
        str(tmp_path / "m"),
        {"x/" + name: case["value"] for name, case in zip(names, chosen, strict=True)},
        {"x/" + name: case["stored"] for name, case in zip(names, chosen, strict=True)},
    )
    former = flexible_restore._MOST_FED_BYTES
    flexible_restore._MOST_FED_BYTES = most
    try:
        restore_and_compare(prefix, dict(zip(names, chosen, strict=True)), verify)
    finally:
        flexible_restore._MOST_FED_BYTES = former


def restore_and_compare(prefix: str, chosen: dict[str, Any], verify: str) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        made, initial = {}, {}
        for name, case in chosen.items():
            initial[name] = layouts.random_values(case["dtype"], case["shape"], 7)
            made[name] = layouts.make_variables(name, initial[name], case["wanted"])
        saver = Saver(verify=verify)
        session.run(tf1.global_variables_initializer())
        for name, case in chosen.items():
            if case["dtype"] != tf.string:
                for part in made[name]:
                    session.run(part.assign(tf.zeros_like(part)))
        options = RestoreOptions(
            name_map=[("(.*)", r"x/\1")],
            grow={
                name: Growth(axis=case["axis"], rest=case["rest"]) for name, case in chosen.items()
            },
            cast=True,
        )
        saver.restore(session, prefix, options=options)
        for name, case in chosen.items():
            expected = expected_value(case, initial[name])
            boxes = layouts.boxes_of(expected, case["wanted"])
            for part, box in zip(made[name], boxes, strict=True):
                layouts.assert_same(session.run(part), box)


def expected_value(case: dict[str, Any], initial: Any) -> Any:
    keeps_initial = case["rest"] == "initialize" or (
        case["rest"] == "keep" and initial.dtype == object
    )
    expected = initial.copy() if keeps_initial else np.zeros_like(initial)
    if case["rest"] == "zeros" and initial.dtype == object:
        expected[...] = b""
    length = case["value"].shape[case["axis"]]
    place = [slice(None)] * initial.ndim
    place[case["axis"]] = slice(length)
    with np.errstate(all="ignore"):
        expected[tuple(place)] = case["value"].astype(initial.dtype)
    return expected
