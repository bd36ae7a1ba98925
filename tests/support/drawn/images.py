"""Draws ops on images: convolutions, pools, colours."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from support.drawn.drawing import Chain, draws

raw = tf.raw_ops
F = tf.float64


def _image(chain: Chain, rank: int = 4) -> int:
    return chain.pick(
        F, fits=lambda s: len(s) == rank and all(1 < n < 9 for n in s[1:-1]) and 0 < s[-1] < 9
    )


@draws(
    "Conv2D",
    "DepthwiseConv2dNative",
    "Dilation2D",
    "Conv2DBackpropInput",
    "DepthwiseConv2dNativeBackpropInput",
)
def convolution(chain: Chain, name: str) -> None:
    """Convolutions of images."""
    x = _image(chain)
    channels = chain.shape(x)[3]
    kernel = chain.array([2, 2, channels, *([] if name == "Dilation2D" else [2])], F)
    stride, padding = chain.rng.choice([1, 2]), chain.rng.choice(["SAME", "VALID"])
    strides = [1, stride, stride, 1]
    size = chain.size(x, 0)

    def make(t: Any, k: Any) -> Any:
        if name == "Dilation2D":
            return raw.Dilation2D(
                input=t, filter=k, strides=strides, rates=[1, 1, 1, 1], padding=padding
            )
        if name == "Conv2DBackpropInput":
            sizes = tf.stack([size(t), t.shape[1] * 2, t.shape[2] * 2, 2])
            k = tf.transpose(k, [0, 1, 3, 2])
            return raw.Conv2DBackpropInput(
                input_sizes=sizes, filter=k, out_backprop=t, strides=[1, 2, 2, 1], padding="SAME"
            )
        if name == "DepthwiseConv2dNativeBackpropInput":
            sizes = tf.stack([size(t), t.shape[1], t.shape[2], t.shape[3]])
            return raw.DepthwiseConv2dNativeBackpropInput(
                input_sizes=sizes,
                filter=k[..., :1],
                out_backprop=t,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
        return getattr(raw, name)(input=t, filter=k, strides=strides, padding=padding)

    chain.add(name, [x, kernel], make)


@draws(
    "MaxPool", "AvgPool", "MaxPoolV2", "LRN", "ExtractImagePatches", "SpaceToDepth", "DepthToSpace"
)
def pooling(chain: Chain, name: str) -> None:
    """Pools, patches and blocks of images."""
    x = _image(chain)
    padding, stride = chain.rng.choice(["SAME", "VALID"]), chain.rng.choice([1, 2])
    window = {"ksize": [1, 2, 2, 1], "strides": [1, stride, stride, 1], "padding": padding}

    def make(t: Any) -> Any:
        if name == "LRN":
            return tf.cast(raw.LRN(input=tf.cast(t, tf.float32)), F)
        if name in ("SpaceToDepth", "DepthToSpace"):
            return getattr(raw, name)(input=t, block_size=2)
        if name == "ExtractImagePatches":
            return raw.ExtractImagePatches(
                images=t,
                ksizes=[1, 2, 2, 1],
                strides=[1, 1, 1, 1],
                rates=[1, 1, 1, 1],
                padding=padding,
            )
        return getattr(raw, name)(**{"value" if name == "AvgPool" else "input": t}, **window)

    chain.add(name, [x], make)


@draws("Conv3D", "MaxPool3D", "AvgPool3D")
def volumes(chain: Chain, name: str) -> None:
    """Ops on volumes."""
    x = _image(chain)
    kernel = chain.array([1, 2, 2, 1, 1], F)

    def make(t: Any, k: Any) -> Any:
        t = t[..., tf.newaxis]
        if name == "Conv3D":
            return raw.Conv3D(input=t, filter=k, strides=[1] * 5, padding="SAME")
        return getattr(raw, name)(input=t, ksize=[1, 1, 2, 2, 1], strides=[1] * 5, padding="SAME")

    chain.add(name, [x, kernel], make)


@draws("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def resize(chain: Chain, name: str) -> None:
    """Resizes images."""
    x = _image(chain)
    chain.add(
        name,
        [x],
        lambda t: tf.cast(getattr(raw, name)(images=tf.cast(t, tf.float32), size=[3, 4]), F),
    )


@draws("RGBToHSV", "HSVToRGB", "AdjustHue", "AdjustSaturation", "AdjustContrastv2")
def colours(chain: Chain, name: str) -> None:
    """Colours."""
    x = chain.pick(F, fits=lambda s: len(s) > 0 and s[-1] >= 3)

    def make(t: Any) -> Any:
        t = tf.sigmoid(tf.cast(t, tf.float32))[..., :3]
        if name.startswith("Adjust"):
            key = {"AdjustHue": "delta", "AdjustSaturation": "scale"}.get(name, "contrast_factor")
            return tf.cast(getattr(raw, name)(images=t, **{key: 0.3}), F)
        return tf.cast(getattr(raw, name)(images=t), F)

    chain.add(name, [x], make)


@draws("RGBToHSV:vector")
def colour_of_rows(chain: Chain) -> None:
    """A batch of three numbers as one colour."""
    x = chain.pick(F, fits=lambda s: len(s) > 0 and s[-1] == 3)
    chain.add("RGBToHSV", [x], lambda t: raw.RGBToHSV(images=tf.sigmoid(t)))
