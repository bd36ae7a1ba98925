"""Draws ops that arrange elements, and sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from support.drawn.drawing import CannotDrawError, Chain, draws

raw = tf.raw_ops
F, INT, B = tf.float64, tf.int32, tf.bool


def _vector(*parts: Any) -> Any:
    return tf.stack(list(parts)) if parts else tf.constant([], INT)


@draws("Shape", "Size", "Rank")
def shape(chain: Chain, name: str) -> None:
    """Sizes."""
    chain.add(name, [chain.pick()], lambda t: getattr(raw, name)(input=t))


@draws("ShapeN")
def shape_n(chain: Chain) -> None:
    """`ShapeN`."""
    x = chain.pick()
    y = chain.pick(chain.dtype(x), near=False)
    chain.add("ShapeN", [x, y], lambda *t: raw.ShapeN(input=list(t)))


def _factors(chain: Chain, total: int, count: int) -> list[int]:
    """Random factors of a number of elements."""
    found = []
    for _ in range(count - 1):
        divisors = [d for d in range(1, total + 1) if total % d == 0] or [0]
        found.append(chain.rng.choice(divisors))
        total //= max(found[-1], 1)
    return [*found, total]


@draws("Reshape", "Reshape:merge", "Reshape:apart")
def reshape(chain: Chain, name: str) -> None:
    """Merges dimensions, takes them apart, or does as it likes."""
    x = chain.pick(fits=lambda s: len(s) > 0 and math.prod(s) > 0)
    sizes = chain.shape(x)
    if name == "Reshape":
        asked = [(n, None) for n in _factors(chain, math.prod(sizes), chain.rng.randint(1, 3))]
        parts: list[Any] = [lambda _, n=n: n for n, _ in asked]
        for i, (n, _) in enumerate(asked):
            if n in sizes and chain.flip():
                parts[i] = chain.size(x, sizes.index(n), known=0.2)
    else:
        parts = [chain.size(x, i) for i in range(len(sizes))]
        at = chain.rng.randrange(len(sizes))
        if name == "Reshape:merge" and len(sizes) > 1:
            at = min(at, len(sizes) - 2)
            a, b = parts[at], parts[at + 1]
            parts[at : at + 2] = [lambda t: a(t) * b(t)]
        else:
            pair = _factors(chain, sizes[at], 2)
            whole = parts[at]
            if chain.flip() and pair[1]:
                parts[at : at + 1] = [lambda t: whole(t) // pair[1], lambda _: pair[1]]
            else:
                parts[at : at + 1] = [lambda _: pair[0], lambda t: whole(t) // max(pair[0], 1)]
    if chain.flip(0.6):
        parts[chain.rng.randrange(len(parts))] = lambda _: -1
    chain.add(name, [x], lambda t: raw.Reshape(tensor=t, shape=_vector(*[p(t) for p in parts])))


@draws("Squeeze")
def squeeze(chain: Chain) -> None:
    """Without all, or some, dimensions of size 1."""
    x = chain.pick(fits=lambda s: 1 in s)
    ones = [i for i, n in enumerate(chain.shape(x)) if n == 1]
    dims = chain.rng.sample(ones, chain.rng.randint(0 if chain.flip(0.2) else 1, len(ones)))
    dims = [d - chain.rank(x) if chain.flip(0.3) else d for d in dims]
    chain.add("Squeeze", [x], lambda t: raw.Squeeze(input=t, axis=dims))


@draws("ExpandDims")
def expand_dims(chain: Chain) -> None:
    """With one more dimension."""
    x = chain.pick(fits=lambda s: len(s) < 4)
    at = chain.rng.randint(-chain.rank(x) - 1, chain.rank(x))
    chain.add("ExpandDims", [x], lambda t: raw.ExpandDims(input=t, axis=at))


@draws("Transpose")
def transpose(chain: Chain) -> None:
    """With the dimensions in another order."""
    x = chain.pick(fits=lambda s: len(s) > 1)
    order = chain.rng.sample(range(chain.rank(x)), chain.rank(x))
    chain.add("Transpose", [x], lambda t: raw.Transpose(x=t, perm=order))


@draws("Pack")
def pack(chain: Chain) -> None:
    """Stacks tensors along a new dimension."""
    x = chain.pick(fits=lambda s: len(s) < 4)
    sizes = chain.shape(x)
    y = chain.pick(chain.dtype(x), fits=lambda s: s == sizes, near=False)
    parts: list[Any] = [x, y, *([chain.array(sizes, chain.dtype(x))] if chain.flip(0.2) else [])]
    at = chain.rng.randint(-len(sizes) - 1, len(sizes))
    chain.add("Pack", parts, lambda *t: raw.Pack(values=list(t), axis=at))


@draws("Unpack")
def unpack(chain: Chain) -> None:
    """Takes a dimension apart."""
    x = chain.pick(fits=lambda s: any(0 < n < 5 for n in s))
    at = chain.axis(x)
    count = chain.shape(x)[at]
    if not 0 < count < 8:
        raise CannotDrawError
    chain.add("Unpack", [x], lambda t: list(raw.Unpack(value=t, num=count, axis=at)))


@draws("ConcatV2")
def concat(chain: Chain) -> None:
    """Concatenates tensors, and constants, along any dimension."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    at = chain.axis(x)
    sizes, rank = chain.shape(x), chain.rank(x)

    def fits(s: list[int]) -> bool:
        return len(s) == rank and all(
            a == b for i, (a, b) in enumerate(zip(s, sizes, strict=True)) if i != at % rank
        )

    y: Any = chain.pick(chain.dtype(x), fits=fits, near=False)
    if chain.flip(0.25):
        sizes[at] = chain.rng.randint(1, 3)
        y = chain.array(sizes, chain.dtype(x))
    parts = [x, y] if chain.flip() else [y, x]
    chain.add("ConcatV2", parts, lambda *t: raw.ConcatV2(values=list(t), axis=at))


@draws("Split", "SplitV")
def split(chain: Chain, name: str) -> None:
    """Splits along any dimension."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    at = chain.axis(x)
    size = chain.shape(x)[at]
    if name == "Split":
        count = chain.rng.choice([d for d in range(1, 5) if size % d == 0])
        chain.add(name, [x], lambda t: list(raw.Split(axis=at, value=t, num_split=count)))
        return
    first = chain.rng.randint(0, size)
    last = -1 if chain.flip() else size - first
    chain.add(
        name,
        [x],
        lambda t: list(raw.SplitV(value=t, size_splits=[first, last], axis=at, num_split=2)),
    )


@draws("StridedSlice")
def strided_slice(chain: Chain) -> None:
    """Slices with every mask."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    sizes = chain.shape(x)
    count = chain.rng.randint(1, len(sizes) + 1)
    begin, end, step = [], [], []
    masks = dict.fromkeys(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 0)
    dim = 0
    for i in range(count):
        kind = chain.rng.choices(["all", "part", "one", "new", "dots"], [5, 4, 2, 1, 1])[0]
        if kind == "dots" and masks["ellipsis"]:
            kind = "all"
        if kind in ("new", "dots") or dim >= len(sizes):
            masks["new_axis" if kind != "dots" else "ellipsis"] |= 1 << i
            begin, end, step = [*begin, 0], [*end, 0], [*step, 1]
            dim += len(sizes) - count if kind == "dots" else 0
            continue
        size, dim = sizes[dim], dim + 1
        b, e = sorted((chain.rng.randint(-size, size), chain.rng.randint(-size, size)))
        s = chain.rng.choice([1, 1, 1, 2, -1])
        if kind == "all":
            b, e, s = 0, 0, 1
            masks["end"] |= 1 << i
        if kind == "one":
            masks["shrink_axis"] |= 1 << i
            b = chain.rng.randint(-size, size - 1) if size else 0
            e, s = b + 1, 1
        if kind == "part":
            masks["begin"] |= (1 << i) * chain.flip(0.3)
            masks["end"] |= (1 << i) * chain.flip(0.3)
        begin, end, step = [*begin, b], [*end, e], [*step, s]
    names = {f"{k}_mask": v for k, v in masks.items()}
    chain.add(
        "StridedSlice",
        [x],
        lambda t: raw.StridedSlice(input=t, begin=begin, end=end, strides=step, **names),
    )


@draws("StridedSlice:rows")
def slice_by_rows(chain: Chain) -> None:
    """Slices with numbers of rows computed from the batch."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    cut = chain.size(x, 0, known=0.1)
    how = chain.rng.randrange(5)
    chain.add(
        "StridedSlice:rows",
        [x],
        lambda t: (
            t[: cut(t)],
            t[cut(t) // 2 :],
            t[: cut(t) - 1],
            t[-cut(t) :],
            t[cut(t) - 1 :: -1],
        )[how],
    )


@draws("Slice")
def slice_(chain: Chain) -> None:
    """`Slice`."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    begin, size = [], []
    for n in chain.shape(x):
        b = 0 if chain.flip(0.6) else chain.rng.randint(0, n)
        begin.append(b)
        size.append(-1 if chain.flip() else chain.rng.randint(0, n - b))
    chain.add("Slice", [x], lambda t: raw.Slice(input=t, begin=begin, size=size))


@draws("GatherV2", "GatherV2:batch_dims", "Gather")
def gather(chain: Chain, name: str) -> None:
    """Gathers along any dimension, by indices of the batch or constant ones."""
    params = chain.pick(fits=lambda s: len(s) > 0, near=False)
    if name == "GatherV2:batch_dims":

        def fits(s: list[int]) -> bool:
            return len(s) > 0 and s[0] == chain.shape(params)[0]

        indices: Any = chain.pick(INT, fits=fits, near=False)
        most = min(chain.rank(indices), chain.rank(params) - 1)
        shapes = zip(chain.shape(params), chain.shape(indices), strict=False)
        same = next((i for i, (a, b) in enumerate(shapes) if a != b), most)
        dims = chain.rng.randint(1, max(1, min(most, same)))
        at = chain.rng.randint(dims, max(dims, chain.rank(params) - 1))
        chain.add(
            name,
            [params, indices],
            lambda p, i: raw.GatherV2(
                params=p,
                indices=tf.abs(i) % tf.maximum(tf.shape(p)[at], 1),
                axis=at,
                batch_dims=dims,
            ),
        )
        return
    at = chain.axis(params) if name == "GatherV2" else 0
    size = chain.shape(params)[at]
    if chain.flip(0.3) and size:
        indices = np.asarray(chain.numbers.integers(0, size, [2] if chain.flip() else []), np.int32)
    else:
        indices = chain.pick(INT, fits=lambda s: len(s) < 3, near=False)
    known = chain.flip(0.5)

    def make(p: Any, i: Any) -> Any:
        bound = size if known else tf.maximum(tf.shape(p)[at], 1)
        i = tf.abs(i) % bound
        return (
            raw.Gather(params=p, indices=i)
            if name == "Gather"
            else raw.GatherV2(params=p, indices=i, axis=at)
        )

    chain.add(name, [params, indices], make)


@draws("GatherNd")
def gather_nd(chain: Chain) -> None:
    """Gathers elements."""
    params = chain.pick(fits=lambda s: len(s) > 0 and 0 not in s, near=False)
    indices = chain.pick(
        INT, fits=lambda s: len(s) > 0 and 0 < s[-1] <= chain.rank(params), near=False
    )
    depth = chain.shape(indices)[-1]
    bounds = chain.shape(params)[:depth]
    chain.add(
        "GatherNd",
        [params, indices],
        lambda p, i: raw.GatherNd(params=p, indices=tf.abs(i) % tf.constant(bounds, INT)),
    )


@draws("Range")
def count_rows(chain: Chain) -> None:
    """Row numbers, and rows indexed by them."""
    x = chain.pick(F, INT, fits=lambda s: len(s) > 1)
    at = 0 if chain.flip(0.7) else chain.axis(x)
    how = chain.rng.randrange(4)
    column = chain.rng.randrange(max(chain.shape(x)[1], 1))

    def make(t: Any) -> Any:
        n = raw.Range(start=0, limit=tf.shape(t)[at], delta=1)
        if how == 0:
            return n
        if how == 1:
            return raw.GatherV2(params=t, indices=n, axis=at)
        if how == 2:
            return raw.GatherNd(params=t, indices=tf.stack([n, tf.zeros_like(n) + column], 1))
        flat = tf.reshape(t, [-1, *t.shape.as_list()[2:]])
        return raw.GatherV2(params=flat, indices=n * tf.shape(t)[1] + column, axis=0)

    chain.add("Range", [x], make)


@draws("OneHot")
def one_hot(chain: Chain) -> None:
    """`OneHot` along any new dimension."""
    x = chain.pick(INT, fits=lambda s: len(s) < 4)
    at = chain.rng.randint(-1, chain.rank(x))
    depth = chain.rng.choice([3, 3, chain.rows])
    chain.add(
        "OneHot",
        [x],
        lambda t: raw.OneHot(
            indices=t,
            depth=depth,
            on_value=tf.constant(1.5, F),
            off_value=tf.constant(-0.5, F),
            axis=at,
        ),
    )


@draws("Tile")
def tile(chain: Chain) -> None:
    """Repeats along any dimensions, at times as often as there are rows."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    times = [chain.rng.choice([1, 1, 2]) for _ in chain.shape(x)]
    other = chain.pick(fits=lambda s: len(s) > 0, near=False)
    at = chain.rng.randrange(len(times)) if chain.flip(0.3) else None
    count = chain.size(other, 0)

    def make(t: Any, o: Any) -> Any:
        parts = [count(o) if i == at else n for i, n in enumerate(times)]
        return raw.Tile(input=t, multiples=_vector(*parts))

    chain.add("Tile", [x, other], make)


@draws("Pad", "PadV2", "MirrorPad")
def pad(chain: Chain, name: str) -> None:
    """Pads any dimensions."""
    x = chain.pick(F, INT, fits=lambda s: len(s) > 0)
    margins = [[chain.rng.choice([0, 0, 1]), chain.rng.choice([0, 0, 1])] for _ in chain.shape(x)]
    mode = chain.rng.choice(["REFLECT", "SYMMETRIC"])

    def make(t: Any) -> Any:
        if name == "Pad":
            return raw.Pad(input=t, paddings=margins)
        if name == "PadV2":
            return raw.PadV2(input=t, paddings=margins, constant_values=tf.cast(2, t.dtype))
        return raw.MirrorPad(input=t, paddings=margins, mode=mode)

    chain.add(name, [x], make)


@draws("Fill", "BroadcastTo")
def fill(chain: Chain, name: str) -> None:
    """One value for each row; a tensor broadcast to rows."""
    x = chain.pick(F, INT)
    other = chain.pick(fits=lambda s: len(s) > 0, near=False)
    sizes = chain.shape(x)
    count = chain.size(other, chain.rng.randrange(chain.rank(other)), known=0.1)
    extra = chain.flip()

    def make(t: Any, o: Any) -> Any:
        own = [tf.shape(t)[i] for i in range(len(sizes))]
        if name == "Fill":
            value = tf.reduce_max(t) if extra else tf.constant(2, t.dtype)
            return raw.Fill(dims=_vector(count(o), 2), value=value)
        ones = [i for i, n in enumerate(sizes) if n == 1]
        parts = [count(o) if ones and i == ones[0] else n for i, n in enumerate(own)]
        return raw.BroadcastTo(input=t, shape=_vector(*([count(o)] if extra else []), *parts))

    chain.add(name, [x, other], make)
