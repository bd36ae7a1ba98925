"""Draws graphs at random and compares them on replicas with one node.

    PYTHONPATH=tests python -m support.drawn.random_graphs --seconds 600 --seed 1

For each graph that differs it prints the shortest part of a chain that does, and what differs; it exits with 1 then. At
the end it prints by drawer how often an op was drawn, and how often while the batch of its chain was split.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from autodist import AutoDist
from autodist.strategy import PS
from support.drawn.drawing import DRAWERS, Chain
from support.drawn.programs import (
    Built,
    build,
    config,
    differences,
    draw_chain,
    is_sound,
    on_one_node,
    run,
)
from support.specs import write_local_spec

ROWS = (6, 1, 6, 5, 2, 6, 7)
"""The sizes of batches."""


def on_replicas(
    chains: list[Chain], replicas: int, directory: Path, *, trains: bool, steps: int | None = None
) -> tuple[list[dict[str, np.ndarray]], set[str]]:
    """What the replicas give, and the names of the placeholders that are split."""
    with tf.Graph().as_default():
        axes = {
            f"c{i}/x{k}:0": r.axis
            for i, c in enumerate(chains)
            for k, r in enumerate(c.roots)
            if r.axis
        }
        autodist = AutoDist(write_local_spec(directory, replicas), PS())
        with autodist.scope():
            found: list[Built] = [
                build(c, f"c{i}/", trains=trains, steps=steps) for i, c in enumerate(chains)
            ]
            with autodist.create_distributed_session(config(), batch_dims=axes) as session:
                values = run(session, chains, found)
                split = {root.name for root in session.explain().roots if root.is_split}
    return values, split


def faults(
    chains: list[Chain], replicas: int, directory: Path, *, trains: bool, steps: int | None = None
) -> tuple[list[str], set[str]]:
    """What differs from one node, or the error; and the placeholders that are split."""
    expected, _ = on_one_node(chains, trains=trains, steps=steps)
    try:
        found, split = on_replicas(chains, replicas, directory, trains=trains, steps=steps)
    except Exception as error:  # noqa: BLE001 - whatever it is, one node has it not
        return [f"{type(error).__name__}: {str(error)[:600]}"], set()
    return list(differences(chains, found, expected)), split


def sound_chains(
    seeds: Any, count: int, rows: int, *, trains: bool, wanted: list[str | None]
) -> list[Chain]:
    """Chains that one node runs."""
    chains: list[Chain] = []
    for number in range(count):
        for _ in range(6):
            chain = draw_chain(next(seeds), rows, wanted=wanted[number % len(wanted)])
            if chain is not None and is_sound(chain, trains=trains):
                chains.append(chain)
                break
    return chains


def shortest(
    chain: Chain, replicas: int, directory: Path, *, trains: bool
) -> tuple[int, list[str]]:
    """The fewest first steps of a chain that differ, and what differs."""
    whole, _ = faults([chain], replicas, directory, trains=trains)
    if not whole:
        return len(chain.steps), []
    for steps in range(1, len(chain.steps)):
        if is_sound(chain, trains=trains, steps=steps):
            found, _ = faults([chain], replicas, directory, trains=trains, steps=steps)
            if found:
                return steps, found
    return len(chain.steps), whole


def describe(chain: Chain, steps: int) -> str:
    """A chain in words."""
    given = [f"{i}: {what}{chain.shape(i)}" for i, (what, _) in enumerate(chain.given)]
    lines = [f"{', '.join(given)}; rows {chain.rows}"]
    for step in chain.steps[:steps]:
        inputs = [i if isinstance(i, int) else f"const{list(np.shape(i))}" for i in step.inputs]
        made = [f"{i}: {chain.dtype(i).name}{chain.shape(i)}" for i in step.outputs]
        lines.append(f"  {step.drawer}({', '.join(map(str, inputs))}) -> {', '.join(made)}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compares random graphs on replicas with one node."
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chains", type=int, default=20, help="chains in a graph")
    parser.add_argument(
        "--op", action="append", help="drawers to draw in each chain; default: all in turn"
    )
    parser.add_argument("--only", type=int, help="the seed of one chain")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    logging.getLogger("autodist").setLevel(logging.ERROR)
    end = time.monotonic() + arguments.seconds
    seeds = iter(range(arguments.seed * 1_000_000, (arguments.seed + 1) * 1_000_000))
    names: list[str] = arguments.op or sorted(DRAWERS)
    drawn: collections.Counter[str] = collections.Counter()
    split_count: collections.Counter[str] = collections.Counter()
    number, has_fault = arguments.seed * 7919, False
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if arguments.only is not None:
            arguments.chains = 1
            seeds, names = iter([arguments.only] * 2), arguments.op or [None]
        while time.monotonic() < end:
            trains, replicas = number % 2 == 1, (2, 3)[number // 2 % 2]
            start = number * arguments.chains
            wanted = [names[(start + i) % len(names)] for i in range(arguments.chains)]
            number += 1
            rows = ROWS[number % len(ROWS)]
            chains = sound_chains(seeds, arguments.chains, rows, trains=trains, wanted=list(wanted))
            found, split = faults(chains, replicas, directory, trains=trains)
            for i, chain in enumerate(chains):
                drawers = {s.drawer for s in chain.steps}
                drawn.update(drawers)
                if any(s.startswith(f"c{i}/") for s in split):
                    split_count.update(drawers)
            if found:
                is_error = len(found) == 1 and "in place of" not in found[0]
                if is_error:
                    print(f"    error: {found[0][:1500]}", flush=True)
                bad = [
                    c
                    for i, c in enumerate(chains)
                    if is_error or any(f.startswith(f"c{i}/") for f in found)
                ]
                for chain in bad:
                    steps, told = shortest(chain, replicas, directory, trains=trains)
                    if told:
                        has_fault = True
                        how = "training" if trains else "fetching"
                        print(
                            f"FAULT seed {chain.seed} {how} on {replicas}: {describe(chain, steps)}",
                            flush=True,
                        )
                        print("\n".join(f"    {t}" for t in told[:4]), flush=True)
            print(
                f"{number}: {len(chains)} chains, {len(split)} roots split, {len(found)} differ",
                flush=True,
            )
    print("\n".join(f"{n:30} {c:5} {split_count[n]:5}" for n, c in sorted(drawn.items())))
    return int(has_fault)


if __name__ == "__main__":
    sys.exit(main())
