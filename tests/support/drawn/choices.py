"""Elements in another order, some of them, and what few programs make of them."""

from __future__ import annotations

import tensorflow as tf

from support.drawn.drawing import Chain, draws

raw = tf.raw_ops
F, INT, B = tf.float64, tf.int32, tf.bool


@draws("ReverseV2")
def reverse(chain: Chain) -> None:
    """Reverses along any dimension."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    at = [chain.axis(x)]
    chain.add("ReverseV2", [x], lambda t: raw.ReverseV2(tensor=t, axis=at))


@draws("Roll")
def roll(chain: Chain) -> None:
    """Rolls along any dimension."""
    x = chain.pick(fits=lambda s: len(s) > 0)
    at = chain.axis(x)
    chain.add("Roll", [x], lambda t: raw.Roll(input=t, shift=1, axis=at))


@draws("IdentityN")
def identity_n(chain: Chain) -> None:
    """`IdentityN`."""
    x, y = chain.pick(F), chain.pick(near=False)
    chain.add("IdentityN", [x, y], lambda *t: list(raw.IdentityN(input=list(t))))


@draws("Where", "boolean_mask")
def where(chain: Chain, name: str) -> None:
    """Indices of what is true, and rows that a mask leaves."""
    mask = chain.pick(B, fits=lambda s: len(s) > 0)
    if name == "Where":
        chain.add(name, [mask], lambda m: raw.Where(condition=m))
        return
    sizes = chain.shape(mask)
    x = chain.pick(F, INT, fits=lambda s: s[: len(sizes)] == sizes, near=False)
    chain.add(name, [x, mask], tf.boolean_mask)


@draws("MatrixDiag", "SpaceToBatchND", "InvertPermutation", "Unique", "DynamicStitch", "Bitcast")
def others(chain: Chain, name: str) -> None:
    """Other ops that arrange."""
    if name == "MatrixDiag":
        x = chain.pick(F, INT, fits=lambda s: 0 < len(s) < 4)
        chain.add(name, [x], lambda t: raw.MatrixDiag(diagonal=t))
    elif name == "Unique":
        x = chain.pick(INT, fits=lambda s: len(s) == 1)
        chain.add(name, [x], lambda t: list(raw.Unique(x=t)))
    elif name == "DynamicStitch":
        x = chain.pick(F, fits=lambda s: len(s) > 0)
        chain.add(
            name,
            [x],
            lambda t: raw.DynamicStitch(
                indices=[tf.range(tf.shape(t)[0]), [0]], data=[t, 2 * t[:1]]
            ),
        )
    elif name == "InvertPermutation":
        x = chain.pick(F, fits=lambda s: len(s) == 1)
        chain.add(name, [x], lambda t: raw.InvertPermutation(x=tf.argsort(t)))
    elif name == "Bitcast":
        x = chain.pick(INT)
        chain.add(name, [x], lambda t: raw.Bitcast(input=t, type=tf.int8))
    else:
        x = chain.pick(F, fits=lambda s: len(s) == 4)
        chain.add(
            name,
            [x],
            lambda t: raw.SpaceToBatchND(
                input=t, block_shape=[1, 2], paddings=[[0, 0], [0, t.shape[2] % 2]]
            ),
        )
