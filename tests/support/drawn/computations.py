"""Draws reductions, products, and ops on matrices and images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from support.drawn.drawing import CannotDrawError, Chain, draws

raw = tf.raw_ops
F, INT, B = tf.float64, tf.int32, tf.bool


@draws("Mean", "Sum", "Max", "Min", "Prod", "EuclideanNorm", "All", "Any")
def reduction(chain: Chain, name: str) -> None:
    """Reductions over any dimensions."""
    dtypes = (
        (B,)
        if name in ("All", "Any")
        else (F, F, INT, tf.int64)
        if name != "EuclideanNorm"
        else (F,)
    )
    x = chain.pick(*dtypes)
    rank = chain.rank(x)
    axes = chain.rng.sample(
        range(rank), chain.rng.randint(0 if chain.flip(0.1) else min(1, rank), rank)
    )
    axes = [a - rank if chain.flip(0.3) else a for a in axes]
    keep = chain.flip(0.4)
    chain.add(
        name,
        [x],
        lambda t: getattr(raw, name)(
            input=tf.tanh(t) if name == "Prod" and t.dtype == F else t,
            axis=tf.constant(axes, INT),
            keep_dims=keep,
        ),
    )


@draws("Mean:masked", "Mean:by_hand", "normalised", "Max:less")
def idioms(chain: Chain, name: str) -> None:
    """Reductions that flow back into rows, and means by hand."""
    x = chain.pick(F, fits=lambda s: len(s) > 0)
    keep, at = chain.flip(), chain.axis(x)
    which = chain.rng.randrange(4)

    def make(t: Any) -> Any:
        if name == "Mean:masked":
            mask = tf.cast(t > 0.0, F)
            return tf.reduce_sum(t * mask) / (1.0 + tf.reduce_sum(mask))
        if name == "Mean:by_hand":
            count = tf.shape(t)[at] if keep else tf.size(t)
            return tf.reduce_sum(t, at if keep else None) / tf.cast(count, F)
        if name == "Max:less":
            reduce = (tf.reduce_max, tf.reduce_min, tf.reduce_mean, tf.reduce_sum)[which]
            return t - reduce(t, at, keepdims=True)
        return t / (1.0 + tf.abs(tf.reduce_sum(t, at if keep else None, keepdims=True)))

    chain.add(name, [x], make)


@draws("ArgMax", "ArgMin")
def arg(chain: Chain, name: str) -> None:
    """Where extremes lie."""
    x = chain.pick(F, INT, fits=lambda s: len(s) > 0 and 0 not in s)
    at = chain.axis(x)
    chain.add(name, [x], lambda t: getattr(raw, name)(input=t, dimension=at, output_type=INT))


@draws("Cumsum", "Cumprod", "CumulativeLogsumexp")
def cumulative(chain: Chain, name: str) -> None:
    """Cumulative ops along any dimension."""
    x = chain.pick(F, fits=lambda s: len(s) > 0)
    at, flags = chain.axis(x), (chain.flip(0.3), chain.flip(0.3))
    chain.add(
        name,
        [x],
        lambda t: getattr(raw, name)(
            x=tf.tanh(t) if name == "Cumprod" else t,
            axis=at,
            exclusive=flags[0] and name != "CumulativeLogsumexp",
            reverse=flags[1],
        ),
    )


@draws("L2Loss")
def l2_loss(chain: Chain) -> None:
    """`L2Loss`."""
    chain.add("L2Loss", [chain.pick(F)], lambda t: raw.L2Loss(t=t))


@draws("Softmax", "LogSoftmax")
def softmax(chain: Chain, name: str) -> None:
    """Over the last dimension."""
    x = chain.pick(F, fits=lambda s: len(s) > 0)
    chain.add(name, [x], lambda t: getattr(raw, name)(logits=t))


@draws("TopKV2", "TopK", "NthElement")
def top_k(chain: Chain, name: str) -> None:
    """The largest of the last dimension."""
    x = chain.pick(F, fits=lambda s: len(s) > 0 and s[-1] > 0)
    k = chain.rng.randint(1, chain.shape(x)[-1])

    def make(t: Any) -> Any:
        if name == "NthElement":
            return raw.NthElement(input=t, n=k - 1)
        return list(getattr(raw, name)(input=t, k=k))

    chain.add(name, [x], make)


@draws("MatMul", "MatMul:square")
def matmul(chain: Chain, name: str) -> None:
    """Products of matrices, either transposed; of rows with themselves."""
    x = chain.pick(F, fits=lambda s: len(s) == 2)
    flips = [chain.flip(0.4), chain.flip(0.4)]
    inner = chain.shape(x)[0 if flips[0] else 1]
    at = 1 if flips[1] else 0
    if name == "MatMul:square":
        y: Any = x
    elif chain.flip(0.4):
        shape = [2, 2]
        shape[at] = inner
        y = chain.array(shape, F)
    else:
        y = chain.pick(F, fits=lambda s: len(s) == 2 and s[at] == inner, near=False)
    swap = chain.flip(0.3)
    if swap:
        flips = [not flips[1], not flips[0]]

    def make(a: Any, b: Any) -> Any:
        a, b = (b, a) if swap else (a, b)
        return raw.MatMul(a=a, b=b, transpose_a=flips[0], transpose_b=flips[1])

    chain.add(name, [x, y], make)


@draws("BatchMatMulV2", "BatchMatMul", "BatchMatMulV3")
def batch_matmul(chain: Chain, name: str) -> None:
    """Products of many matrices."""
    x = chain.pick(F, fits=lambda s: len(s) >= 2)
    flips = [chain.flip(0.4), chain.flip(0.4)]
    inner = chain.shape(x)[-2 if flips[0] else -1]
    at = -1 if flips[1] else -2
    if chain.flip(0.3):
        lead = [1] if chain.flip() else []
        shape = [*lead, 2, 2]
        shape[at] = inner
        y: Any = chain.array(shape, F)
    else:
        y = chain.pick(F, fits=lambda s: len(s) >= 2 and s[at] == inner, near=False)
    swap = chain.flip(0.3)
    if swap:
        flips = [not flips[1], not flips[0]]

    def make(a: Any, b: Any) -> Any:
        a, b = (b, a) if swap else (a, b)
        more = {"Tout": F} if name.endswith("V3") else {}
        return getattr(raw, name)(x=a, y=b, adj_x=flips[0], adj_y=flips[1], **more)

    chain.add(name, [x, y], make)


@draws("Einsum")
def einsum(chain: Chain) -> None:
    """Random equations of one or two operands."""
    x = chain.pick(F, fits=lambda s: 0 < len(s) < 4)
    first = "".join(chain.rng.sample("abcdef", chain.rank(x)))
    sizes = dict(zip(first, chain.shape(x), strict=True))
    terms, inputs = [first], [x]
    if chain.flip(0.7):
        y = chain.pick(F, fits=lambda s: 0 < len(s) < 4, near=False)
        labels = ""
        for size in chain.shape(y):
            known = [c for c, n in sizes.items() if n == size and c not in labels]
            label = chain.rng.choice(known) if known and chain.flip(0.7) else ""
            labels += label or next(c for c in "uvwxyz" if c not in sizes and c not in labels)
        terms.append(labels)
        inputs.append(y)
        sizes |= dict(zip(labels, chain.shape(y), strict=True))
    kept = [c for c in sizes if chain.flip(0.6)]
    chain.rng.shuffle(kept)
    equation = f"{','.join(terms)}->{''.join(kept)}"
    chain.add("Einsum", inputs, lambda *t: raw.Einsum(inputs=list(t), equation=equation))


@draws("BiasAdd")
def bias_add(chain: Chain) -> None:
    """`BiasAdd` with either format."""
    x = chain.pick(F, fits=lambda s: len(s) > 1)
    layout = "NCHW" if chain.flip(0.4) else "NHWC"
    size = chain.shape(x)[1 if layout == "NCHW" else -1]
    y: Any = chain.array([size], F)
    if chain.flip(0.4):
        y = chain.pick(F, fits=lambda s: s == [size], near=False)
    chain.add("BiasAdd", [x, y], lambda a, b: raw.BiasAdd(value=a, bias=b, data_format=layout))


@draws("SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits")
def cross_entropy(chain: Chain, name: str) -> None:
    """Cross entropies of matrices."""
    x = chain.pick(F, fits=lambda s: len(s) == 2 and s[1] > 0)
    rows, classes = chain.shape(x)
    if name.startswith("Sparse"):
        labels: Any = chain.pick(INT, fits=lambda s: s == [rows], near=False)
        chain.add(
            name,
            [x, labels],
            lambda t, y: list(
                raw.SparseSoftmaxCrossEntropyWithLogits(features=t, labels=tf.abs(y) % classes)
            ),
        )
        return
    labels = chain.pick(
        F, fits=lambda s: len(s) == 2 and s[0] in (1, rows) and s[1] == classes, near=False
    )
    chain.add(
        name,
        [x, labels],
        lambda t, y: list(raw.SoftmaxCrossEntropyWithLogits(features=t, labels=tf.nn.softmax(y))),
    )


@draws("InTopKV2", "InTopK")
def in_top_k(chain: Chain, name: str) -> None:
    """`InTopK`."""
    x = chain.pick(F, fits=lambda s: len(s) == 2 and s[1] > 0)
    y = chain.pick(INT, fits=lambda s: s == chain.shape(x)[:1], near=False)
    chain.add(
        name,
        [x, y],
        lambda t, i: getattr(raw, name)(predictions=tf.cast(t, tf.float32), targets=i, k=2),
    )


@draws(
    "UnsortedSegmentSum",
    "UnsortedSegmentMax",
    "UnsortedSegmentMin",
    "UnsortedSegmentProd",
    "SegmentSum",
)
def segments(chain: Chain, name: str) -> None:
    """Reductions by numbers of segments."""
    x = chain.pick(F, INT, fits=lambda s: len(s) > 0)
    sizes = chain.shape(x)
    ids = chain.pick(INT, fits=lambda s: len(s) > 0 and sizes[: len(s)] == s, near=False)

    def make(t: Any, i: Any) -> Any:
        if name == "SegmentSum":
            return raw.SegmentSum(data=t, segment_ids=tf.sort(tf.abs(i) % 4))
        made = getattr(raw, name)(data=t, segment_ids=i % 5 - 1, num_segments=4)
        return tf.clip_by_value(made, tf.cast(-50, made.dtype), tf.cast(50, made.dtype))

    chain.add(name, [x, ids], make)


@draws("ScatterNd")
def scatter_nd(chain: Chain) -> None:
    """Rows added up where each says."""
    x = chain.pick(F, INT, fits=lambda s: len(s) > 0)
    ids = chain.pick(INT, fits=lambda s: s == chain.shape(x)[:1], near=False)
    shape = [4, *chain.shape(x)[1:]]
    chain.add(
        "ScatterNd",
        [x, ids],
        lambda t, i: raw.ScatterNd(
            indices=tf.expand_dims(tf.abs(i) % 4, 1), updates=t, shape=shape
        ),
    )


@draws("Bincount", "DenseBincount")
def bincount(chain: Chain, name: str) -> None:
    """Counts."""
    x = chain.pick(INT, fits=lambda s: len(s) in (1, 2))
    binary = chain.flip(0.3)
    if name == "Bincount":
        weights: Any = chain.array([0], F)
        if chain.flip():
            weights = chain.pick(F, fits=lambda s: s == chain.shape(x), near=False)
        chain.add(name, [x, weights], lambda t, w: raw.Bincount(arr=tf.abs(t), size=4, weights=w))
        return
    chain.add(
        name,
        [x],
        lambda t: raw.DenseBincount(
            input=tf.abs(t), size=4, weights=tf.constant([], F), binary_output=binary
        ),
    )


# fmt: off
_MATRICES = {
    "MatrixInverse": "input", "MatrixDeterminant": "input", "LogMatrixDeterminant": "input", "Cholesky": "input",
    "Qr": "input", "Svd": "input", "SelfAdjointEigV2": "input", "MatrixDiagPart": "input",
    "MatrixLogarithm": "input", "MatrixSquareRoot": "input", "MatrixExponential": "input",
}
# fmt: on


def _well(t: Any) -> Any:
    """A positive matrix of each that is there."""
    eye = tf.eye(t.shape[-1], dtype=F)
    return tf.matmul(tf.tanh(t), tf.tanh(t), transpose_a=True) + 2.0 * eye


@draws(*_MATRICES)
def matrices(chain: Chain, name: str) -> None:
    """Ops on each matrix."""
    x = chain.pick(F, fits=lambda s: len(s) >= 2 and 0 < s[-1] < 5 and s[-1] != chain.rows)

    def make(t: Any) -> Any:
        t = _well(t) if name != "MatrixDiagPart" else t
        if name == "MatrixLogarithm":
            return tf.math.real(raw.MatrixLogarithm(input=tf.cast(t, tf.complex128)))
        found = getattr(raw, name)(input=t)
        if name in ("Qr", "Svd", "SelfAdjointEigV2"):
            # The signs of vectors are chosen by the library.
            return [tf.abs(f) for f in found]
        return list(found) if isinstance(found, tuple) else found

    chain.add(name, [x], make)


@draws("MatrixBandPart", "MatrixDiagPartV3", "MatrixSetDiag", "MatrixSetDiagV3", "MatrixDiagPartV2")
def parts_of_matrices(chain: Chain, name: str) -> None:
    """Parts of each matrix."""
    x = chain.pick(F, fits=lambda s: len(s) >= 2 and 0 not in s)
    k = chain.rng.choice([0, 0, 1 if min(chain.shape(x)[-2:]) > 1 else 0])

    def make(t: Any) -> Any:
        zero = tf.constant(0.0, F)
        if name == "MatrixBandPart":
            return raw.MatrixBandPart(
                input=t, num_lower=tf.constant(k, tf.int64), num_upper=tf.constant(0, tf.int64)
            )
        if name.startswith("MatrixDiagPart"):
            return getattr(raw, name)(input=t, k=k, padding_value=zero)
        if name == "MatrixSetDiag":
            return raw.MatrixSetDiag(input=t, diagonal=tf.linalg.diag_part(t) * 2)
        return raw.MatrixSetDiagV3(input=t, diagonal=tf.linalg.diag_part(t, k=k) * 2, k=k)

    chain.add(name, [x], make)


@draws("MatrixSolve", "MatrixTriangularSolve")
def solve(chain: Chain, name: str) -> None:
    """Solves with each matrix."""
    x = chain.pick(F, fits=lambda s: len(s) >= 2 and 0 < s[-1] < 5 and s[-1] != chain.rows)
    adjoint = chain.flip()
    if chain.flip(0.6):
        y: Any = x
    else:
        size = chain.shape(x)[-1]
        y = (
            chain.array([size, 2], F)
            if name == "MatrixTriangularSolve" or chain.rank(x) == 2
            else x
        )
    chain.add(
        name,
        [x, y],
        lambda a, b: getattr(raw, name)(
            matrix=_well(a), rhs=_well(b) if y is x else b, adjoint=adjoint
        ),
    )


@draws(
    "FFT", "CTCLoss", "Cross", "LowerBound", "SparseToDense", "DynamicPartition", "ReverseSequence"
)
def others(chain: Chain, name: str) -> None:
    """Other ops that compute."""
    if name == "FFT":
        x = chain.pick(F, fits=lambda s: len(s) > 0)
        chain.add(name, [x], lambda t: tf.abs(raw.FFT(input=tf.cast(t, tf.complex128)) + 5.0))
    elif name == "Cross":
        x = chain.pick(F, fits=lambda s: len(s) > 0 and s[-1] == 3)
        chain.add(name, [x], lambda t: raw.Cross(a=t, b=tf.square(t)))
    elif name == "LowerBound":
        x = chain.pick(F, fits=lambda s: len(s) == 2)
        chain.add(name, [x], lambda t: raw.LowerBound(sorted_inputs=tf.sort(t), values=t * 0.5))
    elif name == "SparseToDense":
        x = chain.pick(F, fits=lambda s: len(s) == 1)
        chain.add(
            name,
            [x],
            lambda t: raw.SparseToDense(
                sparse_indices=tf.range(tf.shape(t)[0]),
                output_shape=tf.shape(t),
                sparse_values=t,
                default_value=tf.constant(0.0, F),
            ),
        )
    elif name == "DynamicPartition":
        x = chain.pick(F, fits=lambda s: len(s) > 0)
        ids = chain.pick(INT, fits=lambda s: s == chain.shape(x)[:1], near=False)
        chain.add(
            name,
            [x, ids],
            lambda t, i: list(
                raw.DynamicPartition(data=t, partitions=tf.abs(i) % 2, num_partitions=2)
            ),
        )
    elif name == "ReverseSequence":
        x = chain.pick(F, fits=lambda s: len(s) > 1 and s[1] > 0)
        ids = chain.pick(INT, fits=lambda s: s == chain.shape(x)[:1], near=False)
        chain.add(
            name,
            [x, ids],
            lambda t, i: raw.ReverseSequence(
                input=t, seq_lengths=tf.abs(i) % (tf.shape(t)[1] + 1), seq_dim=1, batch_dim=0
            ),
        )
    else:
        raise CannotDrawError


@draws("ResourceGather", "ResourceGatherNd")
def embedding(chain: Chain, name: str) -> None:
    """Rows, or elements, of a variable by indices of the batch."""
    variables = [
        i for i, (what, _) in enumerate(chain.given) if what == "variable" and chain.shape(i)
    ]
    if not variables:
        raise CannotDrawError
    table = chain.rng.choice(variables)
    size = chain.shape(table)[0]
    x = chain.pick(INT, fits=lambda s: len(s) < 3, near=False)
    if name == "ResourceGather":
        chain.add(name, [table, x], lambda v, i: tf.gather(v, tf.abs(i) % size))
    else:
        chain.add(
            name, [table, x], lambda v, i: tf.gather_nd(v, tf.expand_dims(tf.abs(i) % size, -1))
        )
