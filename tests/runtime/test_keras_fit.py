"""`compile` and `fit` of Keras inside the scope: they run in the distributed session and train as on one node."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.errors import GraphStateError, UnsupportedGraphError
from autodist.strategy import PartitionedPS
from support.python_programs import run_python
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
layers = tf_keras.layers
legacy = tf_keras.optimizers.legacy
pytestmark = [
    pytest.mark.filterwarnings("ignore:`Model.state_updates`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
]
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 20, size=(25, 4))
TARGETS = IDS.sum(1, keepdims=True) / np.float32(20)
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "string": lambda: "adam",
    "legacy": lambda: legacy.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
    "v1": lambda: tf1.train.AdagradOptimizer(0.1),
}


@pytest.fixture(autouse=True)
def fresh_keras() -> Iterator[None]:
    """Keras keeps one session per thread."""
    yield
    tf_keras.src.backend._SESSION.session = None


def build_model(optimizer: Any = "sgd") -> Any:
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential(
        [
            layers.Embedding(20, 3, input_length=4),
            layers.Flatten(),
            layers.Dense(5, activation="tanh", kernel_regularizer="l2"),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def fit(model: Any) -> dict[str, Any]:
    """Trains on batches of 8, 8, 8 and 1 rows; returns all that can be compared."""
    history = model.fit(
        IDS,
        TARGETS,
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        validation_data=(IDS[:7], TARGETS[:7]),
    )
    slots = [v for v in tf1.global_variables() if "training" in v.name or "Ada" in v.name]
    return {
        **history.history,
        "evaluated": model.evaluate(IDS, TARGETS, batch_size=8, verbose=0),
        "predicted": model.predict(IDS, batch_size=8),
        "weights": model.get_weights(),
        "slots": tf_keras.src.backend.batch_get_value(slots),
    }


def assert_close(got: Any, expected: Any) -> None:
    got, expected = tf.nest.flatten(got), tf.nest.flatten(expected)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def reference() -> Callable[[str], dict[str, Any]]:
    """What a single node computes, once per optimizer."""
    known: dict[str, dict[str, Any]] = {}

    def train(optimizer: str) -> dict[str, Any]:
        if optimizer not in known:
            with tf.Graph().as_default():
                known[optimizer] = fit(build_model(OPTIMIZERS[optimizer]()))
        return known[optimizer]

    return train


CELLS = [
    ("PSLoadBalancing", "legacy"),
    ("PartitionedPS", "string"),
    ("AllReduce", "v1"),
    ("RandomAxisPartitionAR", "legacy"),
    ("Parallax", "string"),
]


@pytest.mark.parametrize(("strategy", "optimizer"), CELLS)
def test_fit_equals_that_of_one_node(
    strategy: str, optimizer: str, reference: Any, spec_file: str
) -> None:
    expected = reference(optimizer)
    autodist = AutoDist(spec_file, STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        model = build_model(OPTIMIZERS[optimizer]())
        # Fit adds the optimizer's ops and slots: to the graph of a session that exists, or of one it makes.
        if strategy in ("PSLoadBalancing", "RandomAxisPartitionAR"):
            autodist.create_distributed_session()
        got = fit(model)
        autodist.create_distributed_session().close()
    assert_close(got, expected)


def test_fit_makes_the_distributed_session(spec_file: str) -> None:
    autodist = AutoDist(spec_file, PartitionedPS(min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        model = build_model("adam")
        model.fit(IDS, TARGETS, verbose=0)
        session = autodist.create_distributed_session()
        assert session is autodist.create_distributed_session()
        layouts = {name: layout for name, layout, _ in session.layout_table()}
        np.testing.assert_array_equal(session.run(model.weights[0]), model.get_weights()[0])
        with pytest.raises(GraphStateError, match="already made the distributed session"):
            autodist.create_distributed_session(tf1.ConfigProto())
        session.close()
    assert layouts["embedding/embeddings"].startswith("2 shards")
    assert len([n for n in layouts if n.endswith("/embeddings/m")]) == 1


def fit_both(build: Callable[[], Any], run: Callable[[Any], Any], spec_file: str) -> None:
    """Checks that `run(build())` gives in the scope what it gives in a plain graph."""
    results = []
    for distributed in (False, True):
        tf_keras.utils.set_random_seed(1)
        autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
        with tf.Graph().as_default():
            if not distributed:
                model = build()
                results.append([run(model), model.get_weights()])
                continue
            with autodist.scope():
                model = build()
                results.append([run(model), model.get_weights()])
                autodist.create_distributed_session().close()
    assert_close(results[1], results[0])


X = RNG.normal(size=(25, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, size=(25,))


def build_classifier(**options: Any) -> Any:
    model = tf_keras.Sequential(
        [layers.Dense(4, activation="relu", input_shape=(6,)), layers.Dense(3, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"], **options)
    return model


RUNS: dict[str, Callable[[Any], Any]] = {
    "weighted": lambda m: (
        m.fit(
            X, LABELS, 8, 1, shuffle=False, verbose=0, sample_weight=np.linspace(0, 1, 25)
        ).history
    ),
    "classes weighted": lambda m: (
        m.fit(
            X, LABELS, 8, 1, shuffle=False, verbose=0, class_weight={0: 1.0, 1: 2.0, 2: 0.5}
        ).history
    ),
    "a dataset": lambda m: (
        m.fit(tf.data.Dataset.from_tensor_slices((X, LABELS)).batch(8), epochs=2, verbose=0).history
    ),
    "fewer rows than replicas": lambda m: [
        m.train_on_batch(X[:1], LABELS[:1]),
        m.test_on_batch(X[:1], LABELS[:1]),
        m.predict_on_batch(X[:1]),
    ],
    "callbacks": lambda m: m.fit(
        X,
        LABELS,
        8,
        2,
        shuffle=False,
        verbose=0,
        callbacks=[
            tf_keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
            tf_keras.callbacks.TerminateOnNaN(),
        ],
    ).history["loss"],
}


@pytest.mark.parametrize("run", RUNS)
def test_every_way_to_run_a_model_equals_that_of_one_node(run: str, spec_file: str) -> None:
    fit_both(build_classifier, RUNS[run], spec_file)


def test_two_outputs_with_losses_of_their_own(spec_file: str) -> None:
    def build() -> Any:
        x = layers.Input((6,))
        hidden = layers.Dense(4, activation="tanh")(x)
        a, b = layers.Dense(3, "softmax", name="a")(hidden), layers.Dense(1, name="b")(hidden)
        model = tf_keras.Model(x, [a, b])
        model.add_metric(tf.reduce_mean(hidden), name="activity", aggregation="mean")
        losses = {"a": "sparse_categorical_crossentropy", "b": "mse"}
        model.compile("sgd", losses, loss_weights={"a": 1.0, "b": 0.3}, metrics={"b": ["mae"]})
        return model

    def run(model: Any) -> Any:
        targets = {"a": LABELS, "b": X[:, :1]}
        return model.fit(X, targets, 8, 2, shuffle=False, verbose=0).history

    fit_both(build, run, spec_file)


def test_session_options_of_compile_reach_the_run(spec_file: str) -> None:
    metadata = tf1.RunMetadata()
    autodist = AutoDist(spec_file)
    with tf.Graph().as_default(), autodist.scope():
        model = build_classifier(
            options=tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE), run_metadata=metadata
        )
        model.train_on_batch(X[:4], LABELS[:4])
        autodist.create_distributed_session().close()
    assert {"CPU:0", "CPU:1"} <= {d.device[-5:] for d in metadata.step_stats.dev_stats}


REFUSED: dict[str, Callable[[], Any]] = {
    "tf_keras's SGD": tf_keras.optimizers.SGD,
}
IS_KERAS_3 = keras.__version__.startswith("3.")
if IS_KERAS_3:
    REFUSED["keras's Adam"] = keras.optimizers.Adam


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_cannot_train_in_a_graph_is_refused(name: str, spec_file: str) -> None:
    message = f"{name}.*tf_keras.optimizers.legacy.*tf.compat.v1.train"
    with (
        tf.Graph().as_default(),
        AutoDist(spec_file).scope(),
        pytest.raises(UnsupportedGraphError, match=message),
    ):
        build_model(REFUSED[name]())


@pytest.mark.skipif(not IS_KERAS_3, reason="Keras 3 is not installed")
def test_fit_of_keras_3_is_refused_with_what_to_use(spec_file: str) -> None:
    with tf.Graph().as_default(), AutoDist(spec_file).scope():
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        with pytest.raises(UnsupportedGraphError, match=r"Keras 3.s.*tf_keras"):
            model.fit(X, X[:, :1], verbose=0)


def test_other_graphs_and_eager_models_are_left_alone(spec_file: str) -> None:
    autodist = AutoDist(spec_file)
    with tf.Graph().as_default(), autodist.scope():
        with tf.Graph().as_default():
            other = build_classifier()
            other.fit(X, LABELS, verbose=0)
            assert not hasattr(tf_keras.src.backend._get_session(), "layout_table")
        build_classifier().predict(X)
        assert hasattr(tf_keras.src.backend._get_session(), "layout_table")
        autodist.create_distributed_session().close()
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], verbose=0)


def build_normalised() -> Any:
    parts = [
        layers.Dense(4, input_shape=(6,)),
        layers.BatchNormalization(),
        layers.Dense(3, "softmax"),
    ]
    model = tf_keras.Sequential(parts)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("name", ["weights.h5", "weights"])
def test_saved_weights_go_both_ways(name: str, spec_file: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        model = build_normalised()
        model.fit(X, LABELS, 8, 2, verbose=0)
        model.save_weights(path)
        weights = model.get_weights()
        model.set_weights([w * 0 for w in weights])
        model.load_weights(path)
        assert_close(model.get_weights(), weights)
        expected = model.predict(X)
        autodist.create_distributed_session().close()
    assert np.abs(weights[-3]).max() > 0
    with tf.Graph().as_default():
        plain = build_normalised()
        plain.load_weights(path)
        np.testing.assert_allclose(plain.predict(X), expected, rtol=1e-4)


LOAD_IN_PLAIN_KERAS = """
import sys
import numpy as np
import tensorflow as tf
import tf_keras

assert "autodist" not in sys.modules
checkpoint, data = sys.argv[1:]
arrays = np.load(data)
with tf.Graph().as_default():
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Dense(4, activation="relu", input_shape=(6,)), layers.Dense(3, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model._make_train_function()
    saver = tf.compat.v1.train.Saver()
    session = tf.compat.v1.Session()
    saver.restore(session, checkpoint)
    with session.as_default():
        np.testing.assert_allclose(model.predict(arrays["x"]), arrays["predicted"], rtol=1e-4)
        for loss in arrays["losses"]:
            got = model.train_on_batch(arrays["x"], arrays["labels"])[0]
            np.testing.assert_allclose(got, loss, rtol=1e-4)
print("equal")
"""


def test_a_checkpoint_of_a_fitted_model_loads_in_plain_keras(
    spec_file: str, tmp_path: Path
) -> None:
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        model = build_classifier()
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        model.fit(X, LABELS, 8, 2, verbose=0)
        session = autodist.create_distributed_session()
        path = Saver().save(session, str(tmp_path / "model.ckpt"))
        predicted = model.predict(X)
        losses = [model.train_on_batch(X, LABELS)[0] for _ in range(3)]
        session.close()
    np.savez(tmp_path / "data.npz", x=X, labels=LABELS, predicted=predicted, losses=losses)
    script = tmp_path / "load.py"
    script.write_text(LOAD_IN_PLAIN_KERAS)
    done = run_python(script, path, tmp_path / "data.npz")
    assert "equal" in done.stdout
