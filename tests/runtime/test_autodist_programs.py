"""What programs written for AutoDist import and ask for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist import AutoDist
from autodist.autodist import IS_AUTODIST_CHIEF
from autodist.const import ENV
from autodist.errors import ArgumentError
from autodist.strategy import PSLoadBalancing

tf1 = tf.compat.v1


def test_the_program_runs_on_the_chief(spec_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    autodist = AutoDist(
        resource_spec_file=spec_file, strategy_builder=PSLoadBalancing(local_proxy_variable=True)
    )
    assert IS_AUTODIST_CHIEF
    assert autodist._cluster.is_chief()
    assert autodist._cluster.get_local_address() == "localhost"
    assert len(autodist._cluster.cluster_spec["worker"]) == 1
    assert autodist._cluster._task_to_address == {("worker", 0): "localhost"}
    monkeypatch.delenv("AUTODIST_WORKER", raising=False)
    assert ENV.AUTODIST_WORKER.val == ""
    monkeypatch.setenv("AUTODIST_WORKER", "10.0.0.2")
    assert ENV.AUTODIST_WORKER.val == "10.0.0.2"


@pytest.mark.parametrize("optimizers", [keras.optimizers, tf_keras.optimizers])
def test_optimizers_have_get_gradients_in_the_scope(optimizers: object, spec_file: str) -> None:
    kind = optimizers.SGD  # type: ignore[attr-defined]
    autodist = AutoDist(spec_file)
    with tf.Graph().as_default(), autodist.scope():
        x = tf1.placeholder(tf.float32, [None, 2])
        w = tf1.get_variable("w", initializer=tf.ones([2]))
        unused = tf1.get_variable("unused", initializer=1.0)
        optimizer = kind(0.5)
        loss = tf.reduce_mean(tf.linalg.matvec(x, w))
        train = optimizer.apply_gradients(zip(optimizer.get_gradients(loss, [w]), [w], strict=True))
        with pytest.raises(ArgumentError, match="'unused:0'"):
            optimizer.get_gradients(loss, [unused])
        with autodist.create_distributed_session() as session:
            session.run(train, {x: np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
            assert session.run(w).tolist() == [-0.5, -1.0]
    assert not hasattr(kind, "get_gradients")
