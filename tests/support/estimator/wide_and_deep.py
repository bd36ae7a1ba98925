"""A wide-and-deep model of Estimator on parameter servers, as users write it; one import is ours.

`TF_CONFIG` says which task a process is.

    python -m support.estimator.wide_and_deep DIRECTORY STEPS
"""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
column = tf.feature_column

USERS, CITIES = 24, ["Basel", "Bern", "Chur", "Genf", "Thun", "Zug"]
ROWS = 64


def make_inputs() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Users, cities and ages, and whether each bought."""
    generator = np.random.default_rng(3)
    users = generator.integers(0, USERS, ROWS)
    features = {
        "user": users,
        "city": generator.choice(np.array(CITIES), ROWS),
        "age": generator.uniform(0, 1, ROWS).astype(np.float32),
    }
    return features, (users % 2).astype(np.int64)


def input_fn() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(make_inputs()).repeat().batch(16)


def serving_input_fn() -> Any:
    raw = {
        "user": tf1.placeholder(tf.int64, [None], "user"),
        "city": tf1.placeholder(tf.string, [None], "city"),
        "age": tf1.placeholder(tf.float32, [None], "age"),
    }
    return tf.estimator.export.ServingInputReceiver(raw, raw)


def make_canned(config: Any) -> Any:
    """TensorFlow's own wide-and-deep classifier: its embeddings in as many shards as there are servers."""
    user = column.categorical_column_with_identity("user", USERS)
    city = column.categorical_column_with_vocabulary_list("city", CITIES)
    shards = max(1, config.num_ps_replicas)
    return tf1.estimator.DNNLinearCombinedClassifier(
        config=config,
        linear_feature_columns=[city, column.crossed_column(["user", "city"], 40)],
        dnn_feature_columns=[
            column.embedding_column(user, 8),
            column.embedding_column(city, 4),
            column.numeric_column("age"),
        ],
        dnn_hidden_units=[8, 4],
        input_layer_partitioner=tf1.fixed_size_partitioner(shards) if shards > 1 else None,
    )


def make_estimator(config: Any, warm_start_from: Any = None) -> Any:
    canned = make_canned(config)

    def model_fn(features: Any, labels: Any, mode: Any, config: Any) -> Any:
        spec = canned.model_fn(features, labels, mode, config)
        return spec._replace(scaffold=tf1.train.Scaffold(saver=Saver()))

    return tf.estimator.Estimator(model_fn, config=config, warm_start_from=warm_start_from)


def make_config(directory: Path) -> Any:
    return tf.estimator.RunConfig(
        model_dir=str(directory),
        save_checkpoints_steps=10,
        save_summary_steps=None,
        tf_random_seed=5,
    )


def main() -> None:
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(name)s: %(message)s")
    directory, steps = Path(sys.argv[1]), int(sys.argv[2])
    estimator = make_estimator(make_config(directory / "model"))
    print(estimator.config.task_type, "begins", flush=True)
    tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(input_fn, max_steps=steps),
        tf.estimator.EvalSpec(
            input_fn,
            steps=1,
            start_delay_secs=0,
            throttle_secs=1,
            exporters=tf.estimator.FinalExporter("final", serving_input_fn),
        ),
    )
    if estimator.config.task_type == "chief":
        estimator.export_saved_model(str(directory / "exported"), serving_input_fn)
    print(estimator.config.task_type, "done", flush=True)


if __name__ == "__main__":
    main()
