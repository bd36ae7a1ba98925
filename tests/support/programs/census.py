"""Prints how each program of the corpus fares under the strategies.

    PYTHONPATH=tests python -m support.programs.census [--strategy S] [--replicas N] [NAMES]

Exits with 1 if a program trains differently from one node without a warning, or has an error that
one node has not. Also if a program that must be split is not.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from support.programs import corpus, harness
from support.strategies import STRATEGIES


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How each program of the corpus fares.")
    parser.add_argument("names", nargs="*", help="programs or families; default: all")
    parser.add_argument("--strategy", action="append", choices=list(STRATEGIES))
    parser.add_argument("--replicas", action="append", type=int)
    parser.add_argument("--shard", default="0/1", help="which part of the programs, i/n")
    parser.add_argument(
        "--rotate", action="store_true", help="one strategy per program and number of replicas"
    )
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    strategies = arguments.strategy or list(STRATEGIES)
    counts = arguments.replicas or [1, 2, 3]
    part, parts = map(int, arguments.shard.split("/"))
    programs = [
        p
        for p in corpus.PROGRAMS.values()
        if not arguments.names or p.name in arguments.names or p.family in arguments.names
    ][part::parts]
    total: collections.Counter[str] = collections.Counter()
    for number, program in enumerate(programs):
        start = time.monotonic()
        try:
            harness.on_one_node(program.name)
        except Exception as error:  # noqa: BLE001 - told in the table
            print(f"{program.name:36} broken: {harness._line(error)}", flush=True)
            total["broken"] += 1
            continue
        runs = [
            (count, strategies[(number + count) % len(strategies)] if arguments.rotate else name)
            for count in counts
            for name in (strategies[:1] if arguments.rotate else strategies)
        ]
        found = {(n, s): harness.compare(program.name, s, n) for n, s in runs}
        outcomes = collections.Counter(v.outcome for v in found.values())
        total.update(outcomes)
        largest = found[max(runs)]
        split = f"split {len(largest.split)} of {len(largest.split) + len(largest.whole)}"
        share = f"{100 * largest.per_replica:.0f} % per replica"
        spent = time.monotonic() - start
        told = ", ".join(f"{n} {o}" for o, n in outcomes.items())
        print(f"{program.name:36} {told:24} {split:14} {share:18} {spent:.0f} s", flush=True)
        for line in largest.whole:
            print(f"      whole: {line}")
        if program.splits and max(counts) > 1 and not largest.split:
            total["no longer split"] += 1
            print("      no longer split", flush=True)
        by_detail: dict[tuple[str, str], list[str]] = {}
        for (n, s), v in found.items():
            if v.outcome != "equal":
                by_detail.setdefault((v.outcome, v.detail), []).append(f"{s}/{n}")
        for (outcome, detail), where in by_detail.items():
            print(f"      {outcome} {' '.join(where)}: {detail[:900]}", flush=True)
    print(", ".join(f"{n} {o}" for o, n in total.items()))
    return int(any(total[o] for o in (*harness.FAULTS, "broken", "no longer split")))


if __name__ == "__main__":
    sys.exit(main())
