"""Runs the programs under each strategy once, and has a process of stock TensorFlow go on with them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver as autodist_saver  # noqa: N813 the seed's name
from support import keras_names
from support.python_programs import run_python, stock_environment
from support.seed import seed_programs
from support.specs import write_local_spec
from support.strategies import CUTS

tf1 = tf.compat.v1

# One for each cell, in turn.
STRATEGIES = (
    "PartitionedPS",
    "AllReduce",
    "PSLoadBalancing",
    "PartitionedPS_7",
    "PS",
    "PartitionedAR_3",
    "PartitionedPS_axis_1",
    "RandomAxisPartitionAR_5",
    "UnevenPartitionedPS",
    "Parallax",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to run a program."""

    program: str
    optimizer: str
    strategy: str
    replicas: int
    saver_comes_first: bool

    @property
    def name(self) -> str:
        when = "first" if self.saver_comes_first else "last"
        return f"{self.program}-{self.optimizer}-{self.strategy}-{self.replicas}-saver_{when}"


def pair_cells() -> list[Cell]:
    """Each program with each optimizer; the strategies take turns."""
    cells = []
    for i, optimizer in enumerate(seed_programs.OPTIMIZERS):
        for j, program in enumerate(("linear", "embedding")):
            turn = i + 5 * j
            strategy = STRATEGIES[turn % len(STRATEGIES)]
            cells.append(Cell(program, optimizer, strategy, 2 + turn % 2, turn % 4 < 2))
    return cells


CELLS = pair_cells()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@dataclasses.dataclass
class Trained:
    """What a cell left behind.

    `losses` are those of the steps after the save.
    """

    path: Path
    prefix: Path
    values: dict[str, np.ndarray]
    losses: list[float]
    nodes: list[str]


def feed(model: seed_programs.Model, batch: tuple[np.ndarray, np.ndarray]) -> dict[Any, np.ndarray]:
    return {model.input_data: batch[0], model.target: batch[1]}


def train_and_save(cell: Cell, path: Path) -> Trained:
    """The seed's program."""
    keras_names.forget_keras_names()
    batches = seed_programs.draw_batches(cell.program)
    autodist = AutoDist(write_local_spec(path, cell.replicas), CUTS[cell.strategy]())
    with tf.Graph().as_default() as graph, autodist.scope():
        model = seed_programs.get_your_model(cell.program, cell.optimizer)
        if cell.saver_comes_first:
            saver = autodist_saver()
        sess = autodist.create_distributed_session()
        if not cell.saver_comes_first:
            saver = autodist_saver()
        for batch in batches[: seed_programs.STEPS_BEFORE]:
            sess.run([model.loss, model.train_op], feed(model, batch))
        prefix = saver.save(sess, str(path / "model"), global_step=seed_programs.STEPS_BEFORE)
        values = sess.run({v.op.name: v for v in tf1.global_variables()})
        export(sess, model, saver, path / "export")
        losses = [
            float(sess.run([model.loss, model.train_op], feed(model, batch))[0])
            for batch in batches[seed_programs.STEPS_BEFORE :]
        ]
        sess.close()
    np.savez(path / "values.npz", **values)
    record = {**dataclasses.asdict(cell), "losses": losses}
    (path / "cell.json").write_text(json.dumps(record))
    return Trained(path, Path(prefix), values, losses, [n.name for n in graph.get_operations()])


def export(sess: Any, model: seed_programs.Model, saver: Any, path: Path) -> None:
    info = tf1.saved_model.utils.build_tensor_info
    signature = tf1.saved_model.signature_def_utils.build_signature_def(
        {"input_data": info(model.input_data), "target": info(model.target)},
        {"loss": info(model.loss), "prediction": info(model.prediction)},
        "tensorflow/serving/predict",
    )
    builder = SavedModelBuilder(str(path))
    builder.add_meta_graph_and_variables(
        sess=sess, tags=["train"], saver=saver, signature_def_map={"serving_default": signature}
    )
    builder.save()


@pytest.fixture(scope="session")
def seed_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seed")


@pytest.fixture(scope="session")
def trained(seed_directory: Path) -> dict[Cell, Trained]:
    """Every cell, trained and saved."""
    found = {}
    for cell in CELLS:
        (seed_directory / cell.name).mkdir()
        found[cell] = train_and_save(cell, seed_directory / cell.name)
    return found


@pytest.fixture(scope="session")
def stock_findings(trained: dict[Cell, Trained], seed_directory: Path) -> dict[str, dict[str, str]]:
    """What a process that knows only TensorFlow had to complain about, per cell and check."""
    del trained
    program = ("-m", "support.seed.fine_tune_in_stock", seed_directory)
    done = run_python(*program, env=stock_environment())
    return json.loads(done.stdout.splitlines()[-1])
