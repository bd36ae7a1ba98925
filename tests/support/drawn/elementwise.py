"""Draws ops that work element by element."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from support.drawn.drawing import Chain, draws

raw = tf.raw_ops
F, INT, B, S, C = tf.float64, tf.int32, tf.bool, tf.string, tf.complex128


def _small(x: Any) -> Any:
    return tf.tanh(x) * 0.9


def _positive(x: Any) -> Any:
    return 0.3 + tf.square(x)


def _any(x: Any) -> Any:
    return x


# fmt: off
_UNARY = {
    _small: ("Acos", "Asin", "Atanh", "Erfinv", "Exp", "Cosh", "Sinh", "Expm1"),
    _positive: ("Log", "Log1p", "Rsqrt", "Sqrt", "Reciprocal", "Inv", "Lgamma", "Digamma"),
    lambda x: 1.1 + tf.square(x): ("Acosh",),
    lambda x: 0.1 + 0.8 * tf.sigmoid(x): ("Ndtri",),
    _any: (
        "Abs", "Asinh", "Atan", "Ceil", "Cos", "Erf", "Erfc", "Floor", "Neg", "Rint", "Round", "Sigmoid", "Sign",
        "Sin", "Square", "Tan", "Tanh", "OnesLike", "ZerosLike", "Identity", "StopGradient", "PreventGradient",
        "Snapshot",
    ),
}
# fmt: on
_PREPARE = {name: prepare for prepare, names in _UNARY.items() for name in names}
_BY_INPUT = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot"})


@draws(*_PREPARE)
def unary(chain: Chain, name: str) -> None:
    """Ops of one floating tensor."""
    key = "input" if name in _BY_INPUT else "x"

    def make(t: Any) -> Any:
        # A derivative through `PreventGradient` is an error.
        t = tf.stop_gradient(t) if name == "PreventGradient" else t
        return getattr(raw, name)(**{key: _PREPARE[name](t)})

    chain.add(name, [chain.pick(F)], make)


@draws("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign")
def activation(chain: Chain, name: str) -> None:
    """Activations."""
    chain.add(name, [chain.pick(F)], lambda t: getattr(raw, name)(features=t))


@draws("LeakyRelu")
def leaky(chain: Chain) -> None:
    """`LeakyRelu`."""
    chain.add("LeakyRelu", [chain.pick(F)], lambda t: raw.LeakyRelu(features=t, alpha=0.3))


# fmt: off
_BINARY = {
    "Add": (_any, _any), "AddV2": (_any, _any), "Sub": (_any, _any), "Mul": (_any, _any), "Maximum": (_any, _any),
    "Minimum": (_any, _any), "SquaredDifference": (_any, _any), "MulNoNan": (_any, _any), "DivNoNan": (_any, _any),
    "RealDiv": (_any, _positive), "Div": (_any, _positive), "FloorDiv": (_any, _positive),
    "FloorMod": (_any, _positive), "Mod": (_any, _positive), "Pow": (_positive, _small), "Atan2": (_any, _positive),
    "Xdivy": (_any, _positive), "Xlogy": (_any, _positive), "Xlog1py": (_any, _positive), "NextAfter": (_any, _any),
    "Igamma": (_positive, _positive), "Igammac": (_positive, _positive),
    "Zeta": (lambda x: 1.5 + tf.square(x), _positive), "Polygamma": (lambda x: tf.round(tf.abs(_small(x))), _positive),
}
# fmt: on


@draws(*_BINARY)
def binary(chain: Chain, name: str) -> None:
    """Ops of two floating tensors."""
    x = chain.pick(F)
    y = chain.partner(x)
    first, second = _BINARY[name]
    keys = {
        "Igamma": ("a", "x"),
        "Igammac": ("a", "x"),
        "Polygamma": ("a", "x"),
        "Zeta": ("x", "q"),
    }
    keys |= {"Atan2": ("y", "x"), "NextAfter": ("x1", "x2")}
    one, two = keys.get(name, ("x", "y"))
    swap = chain.flip(0.3)

    def make(a: Any, b: Any) -> Any:
        a, b = (b, a) if swap else (a, b)
        return getattr(raw, name)(**{one: first(a), two: second(b)})

    chain.add(name, [x, y], make)


@draws("Betainc")
def betainc(chain: Chain) -> None:
    """`Betainc`."""
    x = chain.pick(F)
    chain.add(
        "Betainc",
        [x],
        lambda t: raw.Betainc(a=_positive(t), b=_positive(t - 1.0), x=0.1 + 0.8 * tf.sigmoid(t)),
    )


@draws("AddN")
def add_n(chain: Chain) -> None:
    """`AddN`."""
    x = chain.pick(F, INT)
    shape = chain.shape(x)
    y = chain.pick(chain.dtype(x), fits=lambda s: s == shape, near=False)
    chain.add("AddN", [x, y, x], lambda *t: raw.AddN(inputs=list(t)))


@draws("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "ApproximateEqual")
def compare(chain: Chain, name: str) -> None:
    """Comparisons."""
    x = chain.pick(F, INT)
    y = chain.partner(x) if name != "ApproximateEqual" else x
    chain.add(name, [x, y], lambda a, b: getattr(raw, name)(x=a, y=b))


@draws("LogicalAnd", "LogicalOr")
def logical(chain: Chain, name: str) -> None:
    """Ops of two bool tensors."""
    x = chain.pick(B)
    chain.add(name, [x, chain.partner(x)], lambda a, b: getattr(raw, name)(x=a, y=b))


@draws("LogicalNot")
def logical_not(chain: Chain) -> None:
    """`LogicalNot`."""
    chain.add("LogicalNot", [chain.pick(B)], lambda t: raw.LogicalNot(x=t))


@draws("IsFinite", "IsInf", "IsNan")
def is_number(chain: Chain, name: str) -> None:
    """Tests of floating numbers."""
    chain.add(name, [chain.pick(F)], lambda t: getattr(raw, name)(x=t))


@draws(
    "BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift", "TruncateDiv", "TruncateMod"
)
def integers(chain: Chain, name: str) -> None:
    """Ops of two integer tensors."""
    x = chain.pick(INT, tf.int64)
    y = chain.partner(x)

    def make(a: Any, b: Any) -> Any:
        if "Shift" in name:
            b = tf.abs(b) % 3
        if "Truncate" in name:
            b = tf.maximum(tf.abs(b), 1)
        return getattr(raw, name)(x=a, y=b)

    chain.add(name, [x, y], make)


@draws("Mul:int", "Sub:int", "AddV2:int", "FloorDiv:int", "Maximum:int", "FloorMod:int")
def integer_arithmetic(chain: Chain, name: str) -> None:
    """Arithmetic of integers, at times of sizes."""
    x = chain.pick(INT, tf.int64)
    y = chain.partner(x)
    op = getattr(raw, name.split(":", maxsplit=1)[0])
    safe = name.startswith("Floor")
    chain.add(name, [x, y], lambda a, b: op(x=a, y=tf.maximum(tf.abs(b), 1) if safe else b))


@draws("Invert")
def invert(chain: Chain) -> None:
    """`Invert`."""
    chain.add("Invert", [chain.pick(INT, tf.int64)], lambda t: raw.Invert(x=t))


@draws("Cast")
def cast(chain: Chain) -> None:
    """Casts between any numbers."""
    x = chain.pick(F, INT, B, tf.int64)
    to = chain.rng.choice([F, F, INT, INT, tf.int64, B, tf.int8])
    chain.add("Cast", [x], lambda t: raw.Cast(x=t, DstT=to))


@draws("Cast:truncated")
def cast_fraction(chain: Chain) -> None:
    """A part of a number, as of rows, cast to an integer."""
    x = chain.pick(INT, tf.int64)
    part = chain.rng.choice([0.5, 0.3, 1.5])
    chain.add("Cast", [x], lambda t: tf.cast(tf.cast(t, F) * part, t.dtype))


@draws("Complex")
def complex_(chain: Chain) -> None:
    """`Complex`."""
    x = chain.pick(F)
    chain.add("Complex", [x, chain.partner(x)], lambda a, b: raw.Complex(real=a, imag=b))


@draws("Real", "Imag", "Angle", "ComplexAbs", "Conj")
def of_complex(chain: Chain, name: str) -> None:
    """Ops of complex tensors."""
    x = chain.pick(F)
    key = "x" if name == "ComplexAbs" else "input"
    chain.add(
        name,
        [x],
        lambda t: getattr(raw, name)(
            **{key: tf.complex(t, tf.cos(t))}, **({} if name == "Conj" else {"Tout": F})
        ),
    )


@draws("ClipByValue")
def clip(chain: Chain) -> None:
    """Clips by constants or by tensors of the same shape."""
    x = chain.pick(F)
    if chain.flip():
        chain.add(
            "ClipByValue",
            [x],
            lambda t: raw.ClipByValue(t=t, clip_value_min=-0.5, clip_value_max=0.7),
        )
    else:
        chain.add(
            "ClipByValue",
            [x],
            lambda t: raw.ClipByValue(t=t, clip_value_min=-tf.abs(t) / 2, clip_value_max=t * t),
        )


@draws("CheckNumerics", "CheckNumericsV2")
def check(chain: Chain, name: str) -> None:
    """Checks that pass their input on."""
    chain.add(name, [chain.pick(F)], lambda t: getattr(raw, name)(tensor=t, message="no number"))


@draws("EnsureShape")
def ensure(chain: Chain) -> None:
    """Ensures what is known of a shape, at times the size of the batch."""
    x = chain.pick()
    shape = [None if chain.flip(0.8 if n == chain.rows else 0.4) else n for n in chain.shape(x)]
    chain.add("EnsureShape", [x], lambda t: raw.EnsureShape(input=t, shape=shape))


@draws("SelectV2", "Select")
def select(chain: Chain, name: str) -> None:
    """Chooses by a condition."""
    x = chain.pick(F, INT)
    shape = chain.shape(x)
    if name == "SelectV2":
        y = chain.partner(x)
        where = chain.partner(x, B)
        chain.add(name, [where, x, y], lambda c, a, b: raw.SelectV2(condition=c, t=a, e=b))
        return
    y = chain.pick(chain.dtype(x), fits=lambda s: s == shape, near=False)
    where = chain.pick(B, fits=lambda s: s in ([], shape, shape[:1]), near=False)
    chain.add(name, [where, x, y], lambda c, a, b: raw.Select(condition=c, x=a, y=b * 2))


@draws("Bucketize")
def bucketize(chain: Chain) -> None:
    """`Bucketize`."""
    chain.add(
        "Bucketize", [chain.pick(F)], lambda t: raw.Bucketize(input=t, boundaries=[-1.0, 0.0, 0.5])
    )


@draws("FakeQuantWithMinMaxArgs")
def quantize(chain: Chain) -> None:
    """`FakeQuantWithMinMaxArgs`."""
    chain.add(
        "FakeQuantWithMinMaxArgs",
        [chain.pick(F)],
        lambda t: tf.cast(raw.FakeQuantWithMinMaxArgs(inputs=tf.cast(t, tf.float32)), F),
    )


# fmt: off
_GRADS = (
    "SigmoidGrad", "TanhGrad", "SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad", "ReluGrad", "Relu6Grad",
    "EluGrad", "SeluGrad", "SoftplusGrad", "SoftsignGrad", "LeakyReluGrad",
)
# fmt: on


@draws(*_GRADS)
def gradient(chain: Chain, name: str) -> None:
    """Ops that gradient functions make, called by hand."""
    x = chain.pick(F)
    shape = chain.shape(x)
    y = chain.pick(F, fits=lambda s: s == shape, near=False)
    keys = ("gradients", "outputs" if name in ("EluGrad", "SeluGrad") else "features")
    if not name.startswith(("Relu", "Elu", "Selu", "Soft", "Leaky")):
        keys = ("dy", "y")
    op = getattr(raw, name)
    chain.add(name, [x, y], lambda a, b: op(**{keys[0]: a, keys[1]: _positive(b)}))


# fmt: off
_STRINGS = {
    "StringLower": {}, "StringUpper": {}, "StringStrip": {}, "StringLength": {},
    "StringToHashBucketFast": {"num_buckets": 5}, "StringToHashBucketStrong": {"num_buckets": 5, "key": [1, 2]},
    "StringToHashBucket": {"num_buckets": 5}, "StaticRegexReplace": {"pattern": "[a-c]", "rewrite": "x"},
    "StaticRegexFullMatch": {"pattern": "[a-c]*"}, "RegexReplace": {"pattern": "[a-c]", "rewrite": "x"},
}
# fmt: on


@draws(*_STRINGS)
def strings(chain: Chain, name: str) -> None:
    """Ops of strings."""
    x = chain.pick(S)
    key = "string_tensor" if name == "StringToHashBucket" else "input"
    chain.add(name, [x], lambda t: getattr(raw, name)(**{key: t}, **_STRINGS[name]))


@draws("StringToNumber", "AsString")
def numbers_and_strings(chain: Chain, name: str) -> None:
    """Numbers to strings and back."""
    x = chain.pick(INT, F)
    if name == "AsString":
        chain.add(name, [x], lambda t: raw.AsString(input=t, precision=3 if t.dtype == F else -1))
    else:
        chain.add(
            name, [x], lambda t: raw.StringToNumber(string_tensor=raw.AsString(input=t), out_type=F)
        )
