"""What does a save of a cluster cost, term by term, and what bounds it on a thousand servers?

| command  | one iteration                                                                            |
|----------|------------------------------------------------------------------------------------------|
| measure  | a save of real servers on loopback; variables, bytes, servers, rounds varied one at a time |
| simulate | the real planner for each cluster, in a process of its own; the rest from the measured terms |
| graphs   | the ops of a save, built in a process of its own, without servers                        |

The model is in `cost_model.py`, and in words in `docs/design/costs.md`. That what is saved is right
is checked by `cluster_benchmark.py` and the tests; here only time is asked for.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from jobs import cost_graphs, cost_model, cost_plans, cost_runs
from jobs.cost_model import Commit, Fit, Machines, Size
from measuring import machine, report_files

_RESULTS = Path(__file__).resolve().parent / "results"
_MEASURED = "cluster_costs"
_SIMULATED = "cluster_costs.simulated"
_GRAPHS = "cluster_costs.graphs"
_KINDS = ("first", "steady")
_UNITS = {"fixed": ("ms", 1e3), "shard": ("us", 1e6), "server": ("ms", 1e3)}
_WORDS = "T = fixed + shards * shard + servers * server + bytes * byte + rounds * round. A term of 0: below the noise."
_UNITS |= {"byte": ("s/GB", 1e9), "round": ("ms", 1e3)}


def main() -> None:
    arguments = _parse_arguments()
    name, text, content = arguments.run(arguments)
    Console(width=None if Console().is_terminal else 160).print(Markdown(text))
    name = report_files.name_of(name, arguments)
    report_files.write_report(arguments.results, name, text, json.dumps(content, indent=1))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    measure = commands.add_parser("measure", help="the terms, with real servers")
    measure.set_defaults(run=_measure)
    measure.add_argument("--rounds", type=int, default=10, help="steady saves of each")
    measure.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="where to write")
    measure.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="for what is synced")
    simulate = commands.add_parser("simulate", help="other clusters, without servers")
    simulate.set_defaults(run=_simulate)
    simulate.add_argument(
        "--terms", type=Path, default=_RESULTS / f"{_MEASURED}.json", help="what measure found"
    )
    simulate.add_argument("--servers", type=int, nargs="+", default=[1, 10, 100, 1000])
    simulate.add_argument("--shards", type=int, nargs="+", default=[10**n for n in (3, 4, 5, 6)])
    simulate.add_argument("--gb", type=float, default=1000, help="size of the model")
    simulate.add_argument("--nic-gbit", type=float, default=25, help="of each machine")
    simulate.add_argument(
        "--disk-gb", type=float, default=2, help="a second, that one machine writes"
    )
    simulate.add_argument(
        "--file-system-gb", type=float, default=100, help="a second, that all machines write"
    )
    simulate.add_argument("--round-trip-us", type=float, default=200, help="between machines")
    simulate.add_argument("--cores", type=int, default=8, help="of a machine, at work for a save")
    graphs = commands.add_parser("graphs", help="the ops of a save, without servers")
    graphs.set_defaults(run=_graphs)
    graphs.add_argument("--servers", type=int, nargs="+", default=[10, 1000])
    graphs.add_argument("--shards", type=int, nargs="+", default=[1000, 10_000, 40_000])
    for command in (measure, simulate, graphs):
        report_files.add_arguments(command)
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    load = os.getloadavg()[0]
    found = [
        one
        for case in cost_runs.CASES
        for one in cost_runs.run(case, arguments.rounds, arguments.tmpfs, arguments.disk)
    ]
    fits = {
        way: {kind: _fit(found, way, kind) for kind in (*_KINDS, "restore")}
        for way in cost_runs.WAYS
    }
    commits = {way: _commit(found, way) for way in cost_runs.WAYS}
    facts = _describe({"tmpfs": arguments.tmpfs, "disk": arguments.disk}, load)
    content = {
        "machine": facts,
        "terms": {
            way: {
                kind: {whose: dataclasses.asdict(fit) for whose, fit in of_kind.items()}
                for kind, of_kind in of_way.items()
            }
            for way, of_way in fits.items()
        },
        "commit": {way: dataclasses.asdict(commit) for way, commit in commits.items()},
        "saves": [dataclasses.asdict(one) for one in found],
    }
    parts = [
        f"# Terms of saves and restores over servers, {arguments.rounds} of each size",
        _WORDS,
        report_files.markdown_table(_rows_of_terms(fits)),
        "A durable save takes more:",
        report_files.markdown_table(
            [
                ["way", "commit, ms", "bytes, s/GB"],
                ["---", "--:", "--:"],
                *(
                    [way, f"{c.fixed * 1e3:.1f}", f"{c.byte * 1e9:.2f}"]
                    for way, c in commits.items()
                ),
            ]
        ),
        "## Saves",
        report_files.markdown_table(_rows_of_saves(found)),
        _facts(facts),
    ]
    return _MEASURED, "\n\n".join(parts) + "\n", content


def _fit(found: Sequence[cost_runs.Found], way: str, kind: str) -> dict[str, Fit]:
    of_kind = [one for one in found if (one.way, one.kind) == (way, kind)]
    sizes = [one.case.size(way) for one in of_kind]
    return {
        whose: Fit.of(sizes, [max(getattr(one, whose), 1e-4) for one in of_kind])
        for whose in cost_model.WHOSE
    }


def _commit(found: Sequence[cost_runs.Found], way: str) -> Commit:
    """From the same save on a disk with and without syncs."""
    kinds = ("on disk", "on disk, synced")
    plain, synced = (
        {one.case: one.wall for one in found if (one.way, one.kind) == (way, kind)}
        for kind in kinds
    )
    sizes = np.array([case.mebibytes << 20 for case in plain], float)
    more = np.array([synced[case] - seconds for case, seconds in plain.items()])
    byte, fixed = map(float, np.polyfit(sizes, more, 1))
    if fixed < 0:
        return Commit(0.0, max(0.0, float(sizes @ more / (sizes @ sizes))))
    return Commit(fixed, max(0.0, byte))


def _rows_of_terms(fits: dict[str, dict[str, dict[str, Fit]]]) -> list[list[str]]:
    head = ["way", "what", "time of"]
    head += [f"{term}, {_UNITS[term][0]}" for term in cost_model.TERMS] + ["residual"]
    rows = [head, ["---", "---", "---", *["--:"] * (len(head) - 3)]]
    for way, of_way in fits.items():
        for kind, of_kind in of_way.items():
            for whose, fit in of_kind.items():
                terms = [f"{fit.terms[t] * _UNITS[t][1]:.3g}" for t in cost_model.TERMS]
                rows.append([way, kind, whose, *terms, f"{fit.residual:.0%}"])
    return rows


def _rows_of_saves(found: Sequence[cost_runs.Found]) -> list[list[str]]:
    head = ["servers", "variables", "MiB", "memory, MiB", "way", "save"]
    head += ["wall, ms", "chief, cpu ms", "servers, cpu ms"]
    rows = [head, ["--:"] * 4 + ["---"] * 2 + ["--:"] * 3]
    for one in found:
        case = one.case
        numbers = (case.servers, case.variables, case.mebibytes, case.memory_bytes >> 20)
        times = (one.wall, one.chief, one.servers)
        rows.append(
            [*map(str, numbers), one.way, one.kind, *(f"{1e3 * seconds:.0f}" for seconds in times)]
        )
    return rows


def _simulate(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    load = os.getloadavg()[0]
    measured = json.loads(arguments.terms.read_text(encoding="utf-8"))
    machines = Machines(
        arguments.nic_gbit * 1e9 / 8,
        arguments.disk_gb * 1e9,
        arguments.file_system_gb * 1e9,
        arguments.round_trip_us / 1e6,
        arguments.cores,
    )
    rows, plans = [], []
    for way in cost_runs.WAYS:
        for servers in arguments.servers:
            for shards in arguments.shards:
                size_bytes = int(arguments.gb * 1e9)
                plan = cost_plans.run(way, servers, shards, size_bytes)
                plans.append([way, servers, shards, plan])
                size = Size(servers, shards, size_bytes, plan.rounds)
                parts = {}
                for kind in _KINDS:
                    fits = {
                        whose: Fit(**fit) for whose, fit in measured["terms"][way][kind].items()
                    }
                    commit = Commit(**measured["commit"][way])
                    parts[kind] = cost_model.predict(
                        way, size, fits, commit, plan_seconds=plan.seconds, machines=machines
                    )
                rows.append([way, servers, shards, parts])
    shown = dataclasses.asdict(machines)
    assumed = (
        f"Assumed: a network of {arguments.nic_gbit:g} Gbit/s and {arguments.disk_gb:g} GB/s to "
        f"the file system for each machine, {arguments.file_system_gb:g} GB/s for all; a round "
        f"trip of {arguments.round_trip_us:g} us; {arguments.cores} cores of each machine."
    )
    text = "\n\n".join(
        [
            f"# A save of {arguments.gb:g} GB, simulated",
            assumed,
            report_files.markdown_table(_rows_of_predictions(rows)),
            "## The planner, measured",
            report_files.markdown_table(_rows_of_plans(plans)),
            _facts(_describe({}, load)),
        ]
    )
    content = {
        "machines": shown,
        "terms of": measured["machine"],
        "saves": [
            {"way": way, "servers": servers, "shards": shards, "seconds": parts}
            for way, servers, shards, parts in rows
        ],
        "plans": [
            {"way": way, "servers": servers, "shards": shards, **dataclasses.asdict(plan)}
            for way, servers, shards, plan in plans
        ],
    }
    return _SIMULATED, text + "\n", content


def _rows_of_predictions(rows: Sequence[Any]) -> list[list[str]]:
    head = ["way", "servers", "shards"]
    rules = ["---", "--:", "--:"]
    for kind in _KINDS:
        head += [f"{kind}, s", "bound by", "next"]
        rules += ["--:", "---", "---"]
    cells = []
    for way, servers, shards, parts in rows:
        row = [way, f"{servers:,}", f"{shards:,}"]
        for of_kind in parts.values():
            first, second = sorted(of_kind, key=of_kind.get, reverse=True)[:2]
            row.append(f"{cost_model.total(of_kind):.2f}")
            row += [f"{name} {of_kind[name]:.2f}" for name in (first, second)]
        cells.append(row)
    return [head, rules, *cells]


def _rows_of_plans(plans: Sequence[Any]) -> list[list[str]]:
    head = ["way", "servers", "shards", "plan, cpu s", "told", "index", "MB of the process"]
    head += ["rounds", "sets of senders"]
    cells = [
        [
            way,
            f"{servers:,}",
            f"{shards:,}",
            f"{plan.plan_seconds:.3f}",
            f"{plan.tell_seconds:.3f}",
            f"{plan.index_seconds:.3f}",
            f"{plan.peak_bytes / 1e6:.0f}",
            f"{plan.rounds:,}",
            f"{plan.senders:,}",
        ]
        for way, servers, shards, plan in plans
    ]
    return [head, ["---", *["--:"] * (len(head) - 1)], *cells]


def _graphs(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    load = os.getloadavg()[0]
    head = ["servers", "shards", "graph, cpu s", "writers, cpu s", "ops", "MB of the process"]
    rows, found = [head, ["--:"] * len(head)], []
    for servers in arguments.servers:
        for shards in arguments.shards:
            built = cost_graphs.run(servers, shards)
            found.append({"servers": servers, "shards": shards, **dataclasses.asdict(built)})
            times = (f"{built.graph_seconds:.2f}", f"{built.writer_seconds:.2f}")
            sizes = (f"{built.op_count:,}", f"{built.peak_bytes / 1e6:.0f}")
            rows.append([f"{servers:,}", f"{shards:,}", *times, *sizes])
    facts = _describe({}, load)
    text = "\n\n".join(
        ["# The graph of a save over servers", report_files.markdown_table(rows), _facts(facts)]
    )
    return _GRAPHS, text + "\n", {"machine": facts, "graphs": found}


def _describe(directories: Mapping[str, Path], load: float) -> dict[str, str]:
    when = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load of the machine when this began": f"{load:.1f}",
    }
    return {**machine.describe(directories), **when}


def _facts(facts: dict[str, str]) -> str:
    return "## Machine\n\n" + report_files.markdown_list(facts)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
