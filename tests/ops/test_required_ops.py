"""Whether a server has all ops that the client's version of autodist has."""

import pytest
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.tasks import op_support

tf1 = tf.compat.v1


def test_a_server_of_this_version_has_all_ops() -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        probe = op_support._probe()
        names = session.run(probe.inputs[0]).tolist()
        session.run(probe)
    assert {b"AutodistListenForStreams", b"AutodistSave", b"AutodistRequireOps"} <= set(names)


def test_a_server_with_fewer_ops_is_found_out() -> None:
    """The error is that of a graph with such an op."""
    with tf.Graph().as_default(), tf1.Session() as session:
        probe = _native.ops().autodist_require_ops(["AutodistSave", "AutodistOfTomorrow"])
        with pytest.raises(tf.errors.NotFoundError, match="Op type not registered 'AutodistOfTom"):
            session.run(probe)
