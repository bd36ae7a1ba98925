"""Copies functions with random ops, so that each replica calls its own.

All callers share a function's body, seeds included. A function may draw numbers itself, or in
functions that it calls: the body of a loop, a branch. Then replica r > 0 calls a copy with other
seeds. They change as those of ops outside functions do (`random_seeds`). Replica 0 calls the
original and draws what one node would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist.graph.building.ops import random_seeds
from autodist.graph.original.ops import random_op_types
from autodist.private_apis import tf_graphs

tf1 = tf.compat.v1


class RandomFunctions:
    """The functions of one graph, and the replicas' copies of those that draw random numbers.

    Args:
      graph: the transformed graph; copies are added to it.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._is_random: dict[str, bool] = {}
        self._copied: set[str] = set()

    def attributes_of(
        self, op_type: str, attributes: Mapping[str, Any], replica: int
    ) -> dict[str, Any]:
        """The attributes of an op that name other functions in the copy for `replica`."""
        changed: dict[str, Any] = {}
        if not tf_graphs.takes_functions(op_type):
            return changed
        for name, value in attributes.items():
            if any(self._draws(function.name) for function in _functions_in(value)):
                made = tf1.AttrValue()
                made.CopyFrom(value)
                for function in _functions_in(made):
                    function.name = self._of_replica(function.name, replica)
                changed[name] = made
        return changed

    def _draws(self, name: str) -> bool:
        """Whether a function draws random numbers by a seed."""
        if name not in self._is_random:
            # A recursive function draws if one of its other ops draws.
            self._is_random[name] = False
            definition = tf_graphs.function_definition(self._graph, name)
            nodes = definition.node_def if definition is not None else ()
            self._is_random[name] = any(self._node_draws(node) for node in nodes)
        return self._is_random[name]

    def _node_draws(self, node: Any) -> bool:
        if random_op_types.has_seed(node.attr) or random_op_types.is_stateless(node.op):
            return True
        return any(
            self._draws(f.name) for value in node.attr.values() for f in _functions_in(value)
        )

    def _of_replica(self, name: str, replica: int) -> str:
        """The name of the function that `replica` calls in place of `name`."""
        if not self._draws(name):
            return name
        own = f"{name}_replica_{replica}"
        if own not in self._copied:
            self._copied.add(own)
            copies = tf1.GraphDef(versions=self._graph.graph_def_versions)
            definition = copies.library.function.add()
            definition.CopyFrom(tf_graphs.function_definition(self._graph, name))
            definition.signature.name = own
            self._change_seeds(definition, replica)
            with self._graph.as_default():
                tf.graph_util.import_graph_def(copies, name="")
        return own

    def _change_seeds(self, definition: Any, replica: int) -> None:
        for node in list(definition.node_def):
            for attribute, value in self.attributes_of(node.op, node.attr, replica).items():
                node.attr[attribute].CopyFrom(value)
            for attribute, value in random_seeds.seeds_of_replica(node.attr, replica).items():
                node.attr[attribute].CopyFrom(value)
            if random_op_types.is_stateless(node.op):
                random_seeds.separate_node(definition, node, replica)


def _functions_in(value: Any) -> list[Any]:
    """The functions that an attribute names."""
    return [value.func] if value.WhichOneof("value") == "func" else list(value.list.func)
