"""Programs with loops, branches and functions of both control flows; each says whether its batch must be split."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.src.layers.rnn import legacy_cells

tf1 = tf.compat.v1
DTYPE = tf.float64
STEPS, WIDTH, UNITS = 4, 3, 2


@dataclasses.dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
      build: takes `x` of `[batch, STEPS, WIDTH]`, `lengths` of `[batch]`, and a weight of `[WIDTH,
        WIDTH]`. Returns a tensor whose mean of squares is the loss, or a scalar that is the loss.
      v1: whether it must be split with the v1 control flow.
      v2: the same with v2.
    """

    build: Callable[[Any, Any, Any], Any]
    v1: bool = True
    v2: bool = True


def lstm() -> Any:
    return legacy_cells.LSTMCell(UNITS, dtype=DTYPE)


def dynamic_rnn(x: Any, lengths: Any, w: Any) -> Any:
    outputs, state = tf1.nn.dynamic_rnn(lstm(), x @ w, lengths, dtype=DTYPE)
    return tf.concat([outputs, state.h[:, None]], 1)


def time_major_rnn(x: Any, lengths: Any, w: Any) -> Any:
    steps = tf.transpose(x @ w, [1, 0, 2])
    outputs, _ = tf1.nn.dynamic_rnn(
        legacy_cells.GRUCell(UNITS, dtype=DTYPE), steps, lengths, dtype=DTYPE, time_major=True
    )
    return tf.transpose(outputs, [1, 0, 2])


def bidirectional_rnn(x: Any, lengths: Any, w: Any) -> Any:
    outputs, _ = tf1.nn.bidirectional_dynamic_rnn(lstm(), lstm(), x @ w, lengths, dtype=DTYPE)
    return tf.concat(outputs, 2)


def static_rnn(x: Any, lengths: Any, w: Any) -> Any:
    outputs, state = tf1.nn.static_rnn(
        lstm(), tf.unstack(x @ w, axis=1), sequence_length=lengths, dtype=DTYPE
    )
    return tf.stack([*outputs, state.h], 1)


def scan(x: Any, _: Any, w: Any) -> Any:
    steps = tf.transpose(x, [1, 0, 2])
    states = tf.scan(lambda h, step: tf.tanh(h @ w + step), steps, steps[0])
    return tf.transpose(states, [1, 0, 2])


def foldl(x: Any, _: Any, w: Any) -> Any:
    return tf.foldl(lambda h, step: tf.tanh(h @ w + step), tf.transpose(x, [1, 0, 2]))


def map_over_steps(x: Any, _: Any, w: Any) -> Any:
    steps = tf.map_fn(lambda step: tf.tanh(step @ w), tf.transpose(x, [1, 0, 2]))
    return tf.reduce_mean(steps, 0)


def map_over_rows(x: Any, _: Any, w: Any) -> Any:
    return tf.map_fn(lambda row: tf.tanh(row @ w) + tf.reduce_max(row), x)


def map_over_pairs(x: Any, lengths: Any, w: Any) -> Any:
    def last(row: tuple[Any, Any]) -> Any:
        return tf.tanh(row[0][row[1] - 1][None] @ w)

    return tf.map_fn(last, (x, lengths), fn_output_signature=DTYPE)


def branch_in_each_row(x: Any, _: Any, w: Any) -> Any:
    def change(row: Any) -> Any:
        return tf.cond(row[0, 0] > 0.0, lambda: row @ w, lambda: tf.ones([STEPS, WIDTH], DTYPE))

    return tf.map_fn(change, x)


def loop_in_each_row(x: Any, lengths: Any, w: Any) -> Any:
    def change(row: tuple[Any, Any]) -> Any:
        return tf.while_loop(
            lambda i, _: i < row[1], lambda i, h: (i + 1, tf.tanh(h @ w + row[0][i])), [0, w]
        )[1]

    return tf.map_fn(change, (x, lengths), fn_output_signature=DTYPE)


def decoder_with_attention(x: Any, lengths: Any, w: Any) -> Any:
    """Three steps of a decoder that attends to what it has read, up to each row's length."""
    mask = tf.sequence_mask(lengths, STEPS, DTYPE)

    def step(i: Any, state: Any, made: Any) -> Any:
        scores = tf.einsum("bsw,bw->bs", x, state @ w) * mask
        context = tf.einsum("bs,bsw->bw", tf.nn.softmax(scores), x)
        state = tf.tanh(context @ w + state)
        return i + 1, state, made.write(i, state)

    made = tf.TensorArray(DTYPE, 3)
    _, _, made = tf.while_loop(lambda i, *_: i < 3, step, [0, x[:, 0] @ w, made])
    return tf.transpose(made.stack(), [1, 0, 2])


def loop_to_the_longest(x: Any, lengths: Any, w: Any) -> Any:
    longest = tf.reduce_max(lengths)
    state = tf.TensorShape([None, WIDTH])
    return tf.while_loop(
        lambda i, _: i < longest,
        lambda i, h: (i + 1, tf.tanh(h @ w + tf.gather(x, i, axis=1))),
        [0, x[:, 0] @ w],
        [tf.TensorShape([]), state],
    )[1]


def nested_loops(x: Any, _: Any, w: Any) -> Any:
    def outer(i: Any, h: Any) -> Any:
        _, h = tf.while_loop(lambda j, _: j < i, lambda j, g: (j + 1, tf.tanh(g @ w)), [0, h])
        return i + 1, h + x[:, 0]

    return tf.while_loop(lambda i, _: i < 3, outer, [0, x[:, 1]])[1]


def branch_of_the_batch(x: Any, _: Any, w: Any) -> Any:
    """What all rows say decides for each."""
    return tf.cond(tf.reduce_max(x) > 1.0, lambda: x @ w, lambda: tf.tanh(x @ w) * 3.0)


def switch_of_the_batch(x: Any, lengths: Any, w: Any) -> Any:
    made = [lambda: x @ w, lambda: tf.tanh(x @ w), lambda: x + w[0]]
    return tf.switch_case(tf.reduce_max(lengths) % 3, made)


def branch_with_a_constant(x: Any, _: Any, w: Any) -> Any:
    scale = tf.cond(tf.reduce_max(x) > 1.0, lambda: tf.constant(3.0, DTYPE), lambda: w[0, 0])
    return scale * (x @ w)


def mean_in_a_function(x: Any, _: Any, w: Any) -> Any:
    @tf.function
    def loss(y: Any) -> Any:
        return tf.reduce_mean(tf.square(y)) + tf.reduce_sum(y) / tf.cast(tf.size(y), DTYPE)

    return loss(x @ w)


def sum_in_a_function(x: Any, _: Any, w: Any) -> Any:
    @tf.function
    def loss(y: Any) -> Any:
        return tf.reduce_sum(tf.square(y))

    return loss(x @ w) + tf.reduce_sum(tf.square(w))


def rows_in_a_function(x: Any, lengths: Any, w: Any) -> Any:
    @tf.function
    def read(y: Any) -> Any:
        h = y[:, 0]
        for i in tf.range(STEPS):
            h = tf.where((i < lengths)[:, None], tf.tanh(h @ w + tf.gather(y, i, axis=1)), h)
        return h

    return read(x)


# What must not be split, or only with what is combined first.


def total_of_the_batch(x: Any, _: Any, w: Any) -> Any:
    """A loop that adds up the rows in its state."""
    return tf.while_loop(
        lambda i, _: i < 3,
        lambda i, s: (i + 1, tf.tanh(tf.reduce_sum(x @ w) * 0.1 + s)),
        [0, w[0, 0]],
    )[1]


def largest_of_the_batch(x: Any, _: Any, w: Any) -> Any:
    return tf.while_loop(
        lambda i, _: i < 2, lambda i, h: (i + 1, h @ w / tf.reduce_max(h)), [0, x]
    )[1]


def sorted_steps(x: Any, _: Any, w: Any) -> Any:
    """A loop that moves the rows."""
    return (
        tf.while_loop(lambda i, _: i < 2, lambda i, h: (i + 1, tf.roll(h, 1, 0) @ w), [0, x[:, 0]])[
            1
        ]
        + x[:, 0]
    )


def row_of_the_iteration(x: Any, _: Any, w: Any) -> Any:
    return tf.while_loop(
        lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h @ w + x[i])), [0, x[0]]
    )[1]


def first_rows(x: Any, _: Any, w: Any) -> Any:
    return tf.while_loop(
        lambda i, _: i < 3,
        lambda i, s: (i + 1, s + tf.reduce_mean(x[: i + 1] @ w)),
        [0, tf.constant(0.0, DTYPE)],
    )[1]


def until_a_row_is_large(x: Any, _: Any, w: Any) -> Any:
    return tf.while_loop(
        lambda h: tf.reduce_any(h < 4.0), lambda h: h + tf.square(w[0, 0]) + 1.0, [x]
    )[0]


def until_a_row_is_done(x: Any, lengths: Any, w: Any) -> Any:
    """What decides is carried by the loop."""

    def step(i: Any, h: Any, _: Any) -> Any:
        return i + 1, tf.tanh(h @ w), tf.reduce_all(i >= lengths)

    return tf.while_loop(lambda i, h, done: ~done, step, [0, x, tf.constant(False)])[1]


def sum_over_rows(x: Any, _: Any, w: Any) -> Any:
    """A loop over the rows that carries something."""
    rows = tf.shape(x)[0]
    return tf.while_loop(
        lambda i, _: i < rows,
        lambda i, h: (i + 1, tf.tanh(h @ w + x[i])),
        [0, tf.zeros([STEPS, WIDTH], DTYPE)],
    )[1]


def numbered_rows(x: Any, _: Any, w: Any) -> Any:
    """A loop over the rows in which their number counts."""

    def change(row: tuple[Any, Any]) -> Any:
        return row[0] @ w * tf.cast(row[1], DTYPE)

    return tf.map_fn(change, (x, tf.range(tf.shape(x)[0])), fn_output_signature=DTYPE)


def neighbours(x: Any, _: Any, w: Any) -> Any:
    """A loop over the rows that reads another row."""
    rows = tf.shape(x)[0]
    made = tf.TensorArray(DTYPE, rows, element_shape=[STEPS, WIDTH])
    _, made = tf.while_loop(
        lambda i, _: i < rows,
        lambda i, made: (i + 1, made.write(i, x[rows - 1 - i] @ w + x[i])),
        [0, made],
    )
    return made.stack()


def reversed_rows(x: Any, _: Any, w: Any) -> Any:
    rows = tf.shape(x)[0]
    made = tf.TensorArray(DTYPE, rows, element_shape=[STEPS, WIDTH])
    _, made = tf.while_loop(
        lambda i, _: i < rows,
        lambda i, made: (i + 1, made.write(rows - 1 - i, x[i] @ w)),
        [0, made],
    )
    return made.stack() + x


def sums_in_an_array(x: Any, _: Any, w: Any) -> Any:
    """An array with rows and what is made of all of them."""
    made = tf.TensorArray(DTYPE, 2, clear_after_read=False, infer_shape=False)
    made = made.write(0, tf.reduce_sum(x @ w)).write(1, tf.reduce_max(x @ w))
    return tf.tanh(made.read(0)) * made.read(1)


def centred_in_a_function(x: Any, _: Any, w: Any) -> Any:
    @tf.function
    def centre(y: Any) -> Any:
        return y - tf.reduce_mean(y, 0)

    return centre(x @ w)


def gradient_for_each_row(x: Any, _: Any, w: Any) -> Any:
    """One step of learning for each row."""
    return tf.map_fn(lambda row: row @ (w - 0.1 * tf.gradients(tf.square(row @ w), w)[0]), x)


def gradient_in_a_branch(x: Any, _: Any, w: Any) -> Any:
    pred = tf.reduce_max(x) > 1.0
    change = tf.cond(
        pred,
        lambda: tf.gradients(tf.reduce_mean(tf.square(x @ w)), w)[0],
        lambda: tf.zeros([WIDTH, WIDTH], DTYPE),
    )
    return x @ (w - tf.stop_gradient(change))


PROGRAMS = [
    Program(dynamic_rnn),
    Program(time_major_rnn),
    Program(bidirectional_rnn),
    Program(static_rnn),
    Program(scan),
    Program(foldl),
    Program(map_over_steps),
    Program(map_over_rows),
    Program(map_over_pairs),
    Program(branch_in_each_row),
    Program(loop_in_each_row),
    Program(decoder_with_attention),
    Program(loop_to_the_longest),
    Program(nested_loops),
    Program(branch_of_the_batch),
    Program(switch_of_the_batch),
    Program(branch_with_a_constant),
    Program(mean_in_a_function),
    Program(sum_in_a_function),
    Program(rows_in_a_function),
    Program(total_of_the_batch, False, False),
    Program(largest_of_the_batch, False, False),
    Program(sorted_steps, False, False),
    Program(row_of_the_iteration, False, False),
    Program(first_rows, False, False),
    Program(until_a_row_is_large, False, False),
    Program(until_a_row_is_done, False, False),
    Program(sum_over_rows, False, False),
    Program(numbered_rows, False, False),
    Program(neighbours, False, False),
    Program(reversed_rows, False, False),
    Program(sums_in_an_array, False, False),
    Program(centred_in_a_function, False, False),
    Program(gradient_for_each_row, False, True),
    Program(gradient_in_a_branch, True, False),
]


def feeds() -> list[np.ndarray]:
    """Five rows, so that their parts are uneven, and their lengths."""
    generator = np.random.default_rng(3)
    return [generator.normal(size=(5, STEPS, WIDTH)), np.array([1, 4, 2, 3, 1], np.int32)]
