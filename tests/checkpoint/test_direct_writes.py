"""Data files that are written past the page cache have the bytes of stock's."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.options import SaveOptions
from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import files

tf1 = tf.compat.v1


@pytest.mark.parametrize("setting", ["always", "never", "auto"])
@pytest.mark.parametrize("consistency", ["shard", "instant"])
def test_the_bytes_are_those_of_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, consistency: str
) -> None:
    monkeypatch.setenv("AUTODIST_DIRECT_WRITES", setting)
    draw = np.random.default_rng(1)
    with tf.Graph().as_default(), tf1.Session() as session:
        made = [
            tf1.get_variable(f"v{number}", size, tf.float32, use_resource=True)
            for number, size in enumerate([1, 1 << 20, 777, 3_000_001, 33, 500_000])
        ]
        rows = tf1.get_variable("rows", [70_000, 8], tf.float32, use_resource=True)
        words = tf1.get_variable("words", initializer=["a", "bc"] * 300_000, use_resource=True)
        ours = Saver(options=SaveOptions(consistency=consistency))
        stock = tf1.train.Saver()
        update = tf1.scatter_add(rows, [5, 7], np.ones([2, 8], np.float32))
        session.run(words.initializer)
        for variable in [*made, rows]:
            variable.load(draw.normal(size=variable.shape).astype(np.float32), session)
        session.run(update)
        stock.save(session, str(tmp_path / "stock"), write_meta_graph=False)
        for _ in range(2):
            ours.save(session, str(tmp_path / "ours"), write_meta_graph=False)
            assert files(tmp_path / "ours") == files(tmp_path / "stock")
    assert not list(tmp_path.glob("*.autodist*"))
