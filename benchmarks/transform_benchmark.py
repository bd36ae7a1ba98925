"""How long does it take to transform a graph, and does it grow linearly?

| what      | processor seconds of                                                                   |
|-----------|----------------------------------------------------------------------------------------|
| build     | building the original graph, without us                                                |
| in scope  | building it in `AutoDist.scope()`                                                      |
| transform | from the original graph to all that a step and the initialisation run, on 4 replicas   |
| save      | making a `Saver` and lowering its save and restore                                     |

No session is started: what TensorFlow then does with a graph is its own. The rival is TensorFlow
building the original graph. That what is made computes the right thing is shown by the tests.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf
from rich.console import Console
from rich.markdown import Markdown

from autodist.checkpoint.saver import Saver
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.graph.analysis.batch.batch_dims import BatchDims
from autodist.graph.building.ops.builder import Builder
from autodist.graph.original.observed.observer import Observer
from autodist.graph.transformer import Transformer
from autodist.strategy import AllReduce, PartitionedPS
from measuring import machine, report_files
from training.transform_models import MODELS, units_for

_NAME = "transform_benchmark"
_LIMIT_NODES, _LIMIT_SECONDS = 20_000, 10.0
_STRATEGIES = {"AllReduce": AllReduce, "PartitionedPS": PartitionedPS}


@dataclasses.dataclass(frozen=True)
class _Row:
    model: str
    strategy: str
    nodes: int
    made: int
    seconds: dict[str, float]

    def cells(self) -> list[str]:
        transform = self.seconds["transform"]
        return [
            self.model,
            self.strategy,
            str(self.nodes),
            str(self.made),
            *(f"{seconds:.2f}" for seconds in self.seconds.values()),
            f"{1e6 * transform / self.nodes:.0f}",
            f"{transform / self.seconds['build']:.2f}",
        ]


def main() -> None:
    arguments = _parse_arguments()
    tf.compat.v1.disable_eager_execution()
    logging.getLogger("autodist").setLevel(logging.ERROR)
    before = machine.ProcessorUse.now()
    rows = [
        _measure(model, strategy, nodes, arguments.replicas)
        for strategy in arguments.strategies
        for model in arguments.models
        for nodes in arguments.nodes
    ]
    others = machine.ProcessorUse.now().others_share_since(before)
    described = machine.describe({})
    title = f"Transforming a graph for {arguments.replicas} replicas, processor seconds"
    text = _to_markdown(title, rows, others, described)
    Console().print(Markdown(text))
    name = report_files.name_of(_NAME, arguments)
    content = {
        "question": title,
        "machine": described,
        "others_share_of_processors": others,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    report_files.write_report(arguments.results, name, text, json.dumps(content, indent=2))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [5_000, 10_000, 20_000, 40_000]
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--strategies", nargs="+", choices=list(_STRATEGIES), default=["AllReduce"])
    parser.add_argument("--nodes", nargs="+", type=int, default=sizes, help="of the original")
    parser.add_argument("--replicas", type=int, default=4)
    report_files.add_arguments(parser)
    return parser.parse_args()


def _measure(model: str, strategy: str, nodes: int, replicas: int) -> _Row:
    units = units_for(model, nodes)
    seconds: dict[str, float] = {}
    with tf.Graph().as_default(), _timed(seconds, "build"):
        MODELS[model](units)
    spec = ResourceSpec.from_mapping(
        {"nodes": [{"address": "localhost", "cpus": list(range(replicas))}]}
    )
    with tf.Graph().as_default() as graph:
        observer = Observer(graph)
        with observer.observing():
            with _timed(seconds, "in scope"):
                loss, train = MODELS[model](units)
            node_count = len(graph.get_operations())
            with _timed(seconds, "transform"):
                initializer = tf.compat.v1.global_variables_initializer()
                dims = BatchDims(graph, None)
                transformer = Transformer(
                    graph,
                    observer,
                    spec,
                    _STRATEGIES[strategy](),
                    dims,
                    Builder(spec.replica_devices, spec.host_device),
                )
                transformer.extend()
                transformer.make_updates()
                transformer.fetch(loss)
                transformer.targets(train)
                transformer.targets(initializer)
            made = len(transformer.graph.get_operations())
            with _timed(seconds, "save"):
                saver_def = Saver().saver_def
                transformer.extend()
                transformer.fetch(graph.get_tensor_by_name(saver_def.save_tensor_name))
                transformer.targets(graph.get_operation_by_name(saver_def.restore_op_name))
    return _Row(model, strategy, node_count, made, seconds)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    gc.collect()
    start = time.process_time()
    yield
    seconds[name] = time.process_time() - start


def _to_markdown(
    title: str, rows: Sequence[_Row], others_share: float, facts: dict[str, str]
) -> str:
    head = ["model", "strategy", "nodes", "nodes made", *rows[0].seconds]
    head += ["transform, us a node", "transform / build"]
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)], *(row.cells() for row in rows)]
    table = report_files.markdown_table(lines)
    limited = [row for row in rows if row.nodes <= 1.05 * _LIMIT_NODES]
    most = max((row.seconds["transform"] for row in limited), default=0.0)
    verdict = "met" if most < _LIMIT_SECONDS else "**missed**"
    said = (
        f"Wanted: less than {_LIMIT_SECONDS:.0f} s for {_LIMIT_NODES} nodes; the most was "
        f"{most:.1f} s: {verdict}. Other processes took {others_share:.0%} of the processors."
    )
    machine_facts = report_files.markdown_list(facts)
    return f"# {title}\n\n{said}\n\n{table}\n\n{machine_facts}\n"


if __name__ == "__main__":
    main()
