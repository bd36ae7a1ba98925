"""Loops, branches and functions give one node's values and gradients; a table says which of them are split."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import PS
from support.equivalence import control_flow as programs

tf1 = tf.compat.v1
# The v1 API's cells warn that there are newer ones.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning")
BY_NAME = {p.build.__name__: p for p in programs.PROGRAMS}


@pytest.fixture(params=["v1", "v2"])
def version(request: Any) -> Iterator[str]:
    """Which control flow is used."""
    was_v2 = tf1.control_flow_v2_enabled()
    (tf1.enable_control_flow_v2 if request.param == "v2" else tf1.disable_control_flow_v2)()
    yield request.param
    (tf1.enable_control_flow_v2 if was_v2 else tf1.disable_control_flow_v2)()


def config() -> Any:
    """Without TensorFlow's own rewriting of the graph, which takes longer than all else here."""
    made = tf1.ConfigProto()
    made.graph_options.rewrite_options.disable_meta_optimizer = True
    return made


def build(program: programs.Program) -> Any:
    """What to fetch, the step of training, the variables and the placeholders."""
    x = tf1.placeholder(programs.DTYPE, [None, programs.STEPS, programs.WIDTH], "x")
    lengths = tf1.placeholder(tf.int32, [None], "lengths")
    kernel = np.linspace(-0.9, 1.1, programs.WIDTH**2).reshape(programs.WIDTH, programs.WIDTH)
    w = tf1.get_variable("w", initializer=kernel)
    made = program.build(x, lengths, w)
    loss = tf.reduce_mean(tf.square(made)) if made.shape.rank != 0 else made
    variables = tf1.trainable_variables(tf1.get_variable_scope().name)
    gradients = tf1.gradients(loss, variables)
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    train = tf1.train.MomentumOptimizer(0.1, 0.9).apply_gradients(pairs)
    return (
        [made, loss, *(tf.convert_to_tensor(g) for g, _ in pairs)],
        train,
        variables,
        (x, lengths),
    )


def build_all(names: list[str]) -> dict[str, Any]:
    built = {}
    for name in names:
        with tf1.variable_scope(name, initializer=tf1.ones_initializer()), tf1.name_scope(""):
            built[name] = build(BY_NAME[name])
    return built


def run(session: Any, built: dict[str, Any]) -> dict[str, Any]:
    """What is fetched before and after two steps, and the variables then."""
    feeds = {p: f for b in built.values() for p, f in zip(b[3], programs.feeds(), strict=True)}
    fetches = {name: b[0] for name, b in built.items()}
    before = session.run(fetches, feeds)
    for _ in range(2):
        session.run([b[1] for b in built.values()], feeds)
    after, variables = session.run([fetches, {name: b[2] for name, b in built.items()}], feeds)
    return {name: [*before[name], *after[name], *variables[name]] for name in built}


@pytest.mark.parametrize("must_be_split", [True, False])
def test_loops_branches_and_functions_give_one_nodes_result(
    must_be_split: bool, version: str, make_autodist: Callable[..., Any]
) -> None:
    names = [name for name, p in BY_NAME.items() if getattr(p, version) == must_be_split]
    with tf.Graph().as_default(), tf1.Session(config=config()) as stock:
        built = build_all(names)
        stock.run(tf1.global_variables_initializer())
        expected = run(stock, built)
    autodist = make_autodist(PS(), 3 if version == "v1" else 2)
    with tf.Graph().as_default(), autodist.scope():
        built = build_all(names)
        with autodist.create_distributed_session(config=config()) as session:
            found = run(session, built)
            roots = {key for t in session._transformer.batch.roots for key in [t.name]}
    for name in names:
        for ours, theirs in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-9, 1e-11, err_msg=name)
    are_split = {name: built[name][3][0].name in roots for name in names}
    assert are_split == dict.fromkeys(names, must_be_split)


def test_a_step_inside_a_function_is_one_nodes(distribute: Callable[..., Any]) -> None:
    def build() -> Any:
        v = tf1.get_variable("v", initializer=np.ones([4, 1]))
        x = tf1.placeholder(programs.DTYPE, [None, 4], "x")

        @tf.function
        def step(a: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(a @ v))
            v.assign_sub(0.1 * tape.gradient(loss, v))
            return loss

        return step(x), v

    x = np.arange(20.0).reshape(5, 4) / 10
    expected = np.ones([4, 1])
    expected = expected - 0.1 * 2 * x.T @ (x @ expected) / 5
    session, (loss, v) = distribute(build, replicas=3)
    np.testing.assert_allclose(session.run(loss, {"x:0": x}), np.mean(x.sum(1) ** 2), 1e-12)
    np.testing.assert_allclose(session.run(v), expected, 1e-12)
