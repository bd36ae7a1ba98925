"""Our classes in TensorFlow's modules, in place of its own."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.saved_model import builder, builder_impl  # noqa: TID251 replaced here
from tensorflow.python.training import saver, training  # noqa: TID251 replaced here

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in (saver, training, tf1.train):
        monkeypatch.setattr(owner, "Saver", Saver)
    for owner in (builder, builder_impl, tf1.saved_model.builder):
        monkeypatch.setattr(owner, "SavedModelBuilder", SavedModelBuilder)


@pytest.fixture
def session() -> Any:
    with tf.Graph().as_default():
        tf1.get_variable("v", initializer=[1.0, 2.0])
        init = tf1.global_variables_initializer()
        with tf1.Session() as session:
            session.run(init)
            yield session


def assert_restores(saver: Any, session: Any, directory: Path) -> None:
    """Looks whether a saver brings back what it saved."""
    (v,) = tf1.global_variables()
    path = saver.save(session, str(directory / "m"))
    session.run(v.assign([8.0, 9.0]))
    saver.restore(session, path)
    assert session.run(v).tolist() == [1.0, 2.0]


def test_a_saver_saves_and_restores(session: Any, tmp_path: Path) -> None:
    made = tf1.train.Saver()
    assert type(made) is Saver
    assert_restores(made, session, tmp_path)


def test_what_tensorflow_makes_is_ours(session: Any, tmp_path: Path) -> None:
    path = tf1.train.Saver().save(session, str(tmp_path / "m"))
    assert type(tf1.train.Scaffold().finalize().saver) is Saver
    with tf.Graph().as_default():
        assert type(tf1.train.import_meta_graph(path + ".meta")) is Saver


def test_a_builder_exports(session: Any, tmp_path: Path) -> None:
    made = tf1.saved_model.builder.SavedModelBuilder(str(tmp_path / "export"))
    assert type(made) is SavedModelBuilder
    made.add_meta_graph_and_variables(session, ["serve"])
    made.save()
    with tf.Graph().as_default(), tf1.Session() as other:
        tf1.saved_model.load(other, ["serve"], str(tmp_path / "export"))
        assert other.run(tf1.global_variables()[0]).tolist() == [1.0, 2.0]


def test_a_bulk_builder_of_a_users(session: Any, tmp_path: Path) -> None:
    made = Saver(builder=saver.BulkSaverBuilder())
    assert_restores(made, session, tmp_path)
