"""Builds autodist with each supported TensorFlow, tests it, and writes the table of docs/versions.md.

`make matrix` runs it.

    python bazel-free-build/matrix.py DIRECTORY [--only 2.15 2.21] [--quick]

For each version it makes an environment below DIRECTORY, with the newest Python found that has a
package of it, and builds a wheel there. It runs the tests named in AREAS. Then each version saves
checkpoints, and restores those of each other one. Exits with code 1 if anything fails. An
environment that is there is used again. A version takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import shutil
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import print_requirements
from environments import SOURCES, Environment, make_environment, minor_of, pythons_for, run, select

_PAGE = SOURCES / "docs" / "versions.md"
_BEGIN, _END = "<!-- written by make matrix -->", "<!-- end -->"

# What is tested under each version, and by which files below `tests`.
AREAS = {
    "bytes as stock's": ["interop/test_bytes.py", "ops/test_save_bytes.py"],
    "seed programs": ["seed"],
    "drop-in": ["dropin"],
    "restore": ["interop/test_stock_reads.py", "restore/test_in_place.py", "restore/test_swap.py"],
    "clusters": ["clusters/test_saves.py", "clusters/test_restores.py"],
    "graph passes": ["ops/test_graph_pass.py", "ops/test_graph_pass_cluster.py"],
    "Keras": ["runtime/test_keras_fit.py", "hooks/test_keras_callback.py"],
    "Estimator": ["estimator"],
    "installation": ["test_import.py"],
}
# `--quick`: those that take seconds.
QUICK = ("bytes as stock's", "drop-in", "installation")


def main() -> int:
    """Returns the exit code of the process: 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", nargs="*", metavar="MINOR", help="minor versions, such as 2.15")
    parser.add_argument("--quick", action="store_true", help="only the areas that take seconds")
    arguments = parser.parse_args()
    rows: list[dict[str, str]] = []
    environments = []
    for wanted in select(arguments.only):
        pythons = pythons_for(wanted)
        if not pythons:
            rows.append({"TensorFlow": wanted.version, "Python": "none found that has a package"})
            continue
        directory = arguments.directory.resolve() / minor_of(wanted.version)
        environment = make_environment(wanted, next(iter(pythons.values())), directory)
        row = _build(environment)
        if "failed" not in row["build"]:
            row |= _test(environment, QUICK if arguments.quick else tuple(AREAS))
            environments.append(environment)
        rows.append(row)
        print(row, flush=True)
    exchange = _exchange(environments)
    text = _page(rows, environments, exchange)
    if not arguments.only and not arguments.quick:
        _write(text)
    print(text)
    return int(any("fail" in cell for row in [*rows, *exchange] for cell in row.values()))


def _build(environment: Environment) -> dict[str, str]:
    """Installs TensorFlow, tools and autodist; returns the first cells of the row."""
    tests = print_requirements.list_requirements("test")
    environment.pip_install(*(each for each in tests if each != "tf_keras"))
    # It requires the distribution `tensorflow`.
    environment.pip_install("--no-deps", f"tf_keras=={environment.minor}.*")
    begin = time.monotonic()
    install = [environment.interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    package = ["--no-build-isolation", "--no-deps", "--force-reinstall", str(SOURCES)]
    settings = f"--config-settings=build-dir={environment.directory / 'build'}"
    done = run([*install, settings, *package], is_checked=False)
    seconds = round(time.monotonic() - begin)
    (environment.directory / "build.log").write_text(done.stdout + done.stderr)
    code = "import keras, sys; print(keras.__version__, '%d.%d.%d' % sys.version_info[:3])"
    keras, python = run([environment.interpreter, "-c", code]).stdout.split()[-2:]
    return {
        "TensorFlow": environment.version,
        "Python": python,
        "Keras": keras,
        "build": f"{seconds} s" if done.returncode == 0 else "failed",
    }


def _test(environment: Environment, areas: tuple[str, ...]) -> dict[str, str]:
    """Runs the tests of each area; returns a cell for each."""
    row = {}
    for area in areas:
        report = environment.directory / f"{area.replace(' ', '-')}.xml"
        files = [f"tests/{name}" for name in AREAS[area]]
        command = [environment.interpreter, "-m", "pytest", "-q", f"--junitxml={report}", *files]
        done = run(command, is_checked=False)
        report.with_suffix(".log").write_text(done.stdout + done.stderr)
        row[area] = _counts(report)
    return row


def _counts(report: Path) -> str:
    """What a report of pytest says, for a cell."""
    if not report.exists():
        return "failed to start"
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 our own file
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    bad = counts["failures"] + counts["errors"]
    passed = counts["tests"] - bad - counts["skipped"]
    cell = f"{passed}" if passed else "none"
    return f"{bad} of {counts['tests']} failed" if bad else cell


def _exchange(environments: list[Environment]) -> list[dict[str, str]]:
    """Has each version save checkpoints and restore those of all; returns the rows of a table."""
    program = ["-m", "support.versions.exchange"]
    sums: dict[str, dict[str, str]] = {}
    places = {each.minor: each.directory / "checkpoints" for each in environments}
    for each in environments:
        shutil.rmtree(places[each.minor], ignore_errors=True)
        command = [each.interpreter, *program, "save", str(places[each.minor])]
        sums[each.minor] = json.loads(run(command, PYTHONPATH="tests").stdout.splitlines()[-1])
    rows = []
    for each in environments:
        command = [each.interpreter, *program, "restore", *map(str, places.values())]
        found: dict[str, Any] = json.loads(run(command, PYTHONPATH="tests").stdout.splitlines()[-1])
        row = {"restored by": each.minor}
        for minor, place in places.items():
            faults = {name: fault for name, fault in found[str(place)].items() if fault}
            for name, fault in faults.items():
                print(f"{minor}, restored by {each.minor}: {name}\n{fault}")
            count = len(found[str(place)])
            row[f"saved by {minor}"] = f"{len(faults)} of {count} failed" if faults else str(count)
        same = sums[each.minor] == sums[environments[0].minor]
        row["its files"] = "the same bytes" if same else "fail: other bytes"
        rows.append(row)
    return rows


def _page(
    rows: list[dict[str, str]], environments: list[Environment], exchange: list[dict[str, str]]
) -> str:
    """The part of the page that this program writes."""
    names = " ".join(each.minor for each in environments)
    machine = f"{platform.machine()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}"
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    return "\n".join(
        [
            _BEGIN,
            "",
            f"Written by `make matrix` on {today}: {machine}, tensorflow-cpu, versions {names}.",
            "A number is how many tests passed; none failed where only a number stands.",
            "",
            *_table(rows),
            "",
            "Each version restored what each version had saved. A number is how many ways of saving",
            "and restoring were tried, with stock TensorFlow and with autodist. `its files` compares",
            "the index and data files of all ways of saving with those of the first version.",
            "",
            *_table(exchange),
            "",
            _END,
        ]
    )


def _table(rows: list[dict[str, str]]) -> list[str]:
    """The lines of a table in Markdown."""
    titles = list(dict.fromkeys(title for row in rows for title in row))
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return lines + [f"| {' | '.join(row.get(t, '') for t in titles)} |" for row in rows]


def _write(text: str) -> None:
    """Puts the text into the page, in place of what is between the marks."""
    page = _PAGE.read_text(encoding="utf-8")
    before, after = page.split(_BEGIN)[0], page.split(_END)[1]
    _PAGE.write_text(before + text + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
