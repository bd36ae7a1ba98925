"""Builds autodist with each supported TensorFlow, tests it, and writes the table of docs/versions.md.

`make matrix` runs it.

    python bazel-free-build/matrix.py DIRECTORY [--only 2.15 2.21 | --oldest] [--quick] [--areas ...]

For each version it makes an environment below DIRECTORY, with the newest Python found that has a
package of it (see _PYTHON), and installs autodist there. It runs the tests named in AREAS. Then each
version saves checkpoints, and restores those of each other one. Exits with code 1 if anything fails.

An environment that is there is used again. `--only` builds and tests some versions; the table keeps
the rows of the others, and a row says of which day it is. A version takes about ten minutes on
two cores.
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
from tensorflow_pin import supported

_PAGE = SOURCES / "docs" / "versions.md"
_BEGIN, _END = "<!-- written by make matrix -->", "<!-- end -->"
# Every cell about a failure has this word.
_FAILED = "failed"

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
# The Python for a version, where the newest does not do: Keras 2 of these shuffles with
# `random.randint(1, 1e9)`, an error from Python 3.12 on.
_PYTHON = {"2.16": 11, "2.17": 11, "2.18": 11}
# `--quick`: those that take seconds.
QUICK = ("bytes as stock's", "drop-in", "installation")


def main() -> int:
    """Returns the exit code of the process: 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", nargs="*", metavar="MINOR", help="minor versions, such as 2.15")
    parser.add_argument("--oldest", action="store_true", help="only the oldest version")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="compile with little optimization, and only the areas that take seconds",
    )
    parser.add_argument(
        "--areas", nargs="*", choices=list(AREAS), help="only these; the row keeps the other cells"
    )
    arguments = parser.parse_args()
    areas = arguments.areas or (QUICK if arguments.quick else tuple(AREAS))
    directory: Path = arguments.directory.resolve()
    # Where the row of a version is kept, in its directory.
    row_name = "row-quick.json" if arguments.quick else "row.json"
    wanted_versions = supported()[-1:] if arguments.oldest else select(arguments.only)
    for wanted in wanted_versions:
        pythons = pythons_for(wanted)
        if not pythons:
            print(f"no Python here has a package of TensorFlow {wanted.version}")
            continue
        minor = minor_of(wanted.version)
        interpreter = pythons.get(_PYTHON.get(minor, 0)) or next(iter(pythons.values()))
        environment = make_environment(wanted, interpreter, directory / minor)
        row = _build(environment, is_quick=arguments.quick)
        if row["build"] != _FAILED:
            row |= _test(environment, areas)
        kept = environment.directory / row_name
        former = json.loads(kept.read_text()) if arguments.areas and kept.exists() else {}
        kept.write_text(json.dumps(former | row))
        print(row, flush=True)
    places = (Environment(each.version, directory / minor_of(each.version)) for each in supported())
    tested = [each for each in places if (each.directory / row_name).exists()]
    rows = [json.loads((each.directory / row_name).read_text()) for each in tested]
    built = [each for each, row in zip(tested, rows, strict=True) if row["build"] != _FAILED]
    exchange = _exchange(built)
    text = _page(rows, exchange)
    if not arguments.quick:
        _write(text)
    print(text)
    return int(any(_FAILED in cell for row in [*rows, *exchange] for cell in row.values()))


def _build(environment: Environment, *, is_quick: bool) -> dict[str, str]:
    """Installs what tests need, and autodist; returns the first cells of the row."""
    tests = print_requirements.list_requirements("test")
    # It requires the distribution `tensorflow`.
    environment.pip_install("--no-deps", f"tf_keras=={environment.minor}.*")
    environment.pip_install_beside_tensorflow(each for each in tests if each != "tf_keras")
    begin = time.monotonic()
    install = [environment.interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    package = ["--no-build-isolation", "--no-deps", "--force-reinstall", str(SOURCES)]
    settings = [f"build-dir={environment.directory / ('build-quick' if is_quick else 'build')}"]
    if is_quick:
        settings.append("cmake.define.CMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG")
    install += [f"--config-settings={setting}" for setting in settings]
    done = run([*install, *package], is_checked=False)
    seconds = round(time.monotonic() - begin)
    (environment.directory / "build.log").write_text(done.stdout + done.stderr)
    code = "import keras, sys; print(keras.__version__, '%d.%d.%d' % sys.version_info[:3])"
    keras, python = run([environment.interpreter, "-c", code]).stdout.split()[-2:]
    return {
        "TensorFlow": environment.version,
        "Python": python,
        "with Keras": keras,
        "on": str(_today()),
        "build": f"{seconds} s" if done.returncode == 0 else _FAILED,
    }


def _today() -> dt.date:
    return dt.datetime.now(tz=dt.timezone.utc).date()


def _test(environment: Environment, areas: tuple[str, ...]) -> dict[str, str]:
    """Runs the tests of the areas; returns a cell for each."""
    report = environment.directory / "tests.xml"
    report.unlink(missing_ok=True)
    files = [f"tests/{name}" for area in areas for name in AREAS[area]]
    command = [environment.interpreter, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}"]
    done = run([*command, *files], is_checked=False)
    report.with_suffix(".log").write_text(done.stdout + done.stderr)
    if not report.exists():
        return dict.fromkeys(areas, f"{_FAILED} to start")
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 our own file
    row = {area: _cell([case for case in cases if _is_in(case, AREAS[area])]) for area in areas}
    if done.returncode and not any(_FAILED in cell for cell in row.values()):
        row[areas[0]] = f"{_FAILED}: exit code {done.returncode}"
    return row


def _is_in(case: ET.Element, names: list[str]) -> bool:
    """Whether a test is in one of these files or directories below `tests`."""
    module = f"{case.get('classname')}."
    return any(
        module.startswith(f"tests.{name.removesuffix('.py').replace('/', '.')}.") for name in names
    )


def _cell(cases: list[ET.Element]) -> str:
    """What the results of tests come to: how many passed, or failed; `none` if all were skipped."""
    kinds = [{child.tag for child in case} & {"failure", "error", "skipped"} for case in cases]
    bad = sum(bool({"failure", "error"} & kind) for kind in kinds)
    passed = sum(not kind for kind in kinds)
    return f"{bad} of {len(cases)} {_FAILED}" if bad else str(passed or "none")


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
            cell = f"{len(faults)} of {count} {_FAILED}" if faults else str(count)
            row[f"saved by {minor}"] = cell
        same = sums[each.minor] == sums[environments[0].minor]
        row["its files"] = "the same bytes" if same else f"{_FAILED}: other bytes"
        rows.append(row)
    return rows


def _page(rows: list[dict[str, str]], exchange: list[dict[str, str]]) -> str:
    """The part of the page that this program writes."""
    machine = f"{platform.machine()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}"
    return "\n".join(
        [
            _BEGIN,
            "",
            f"Written by `make matrix` on {_today()}: {machine}, tensorflow-cpu. A number is how many",
            "tests passed; none failed where only a number stands. `none`: TensorFlow has it not.",
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
