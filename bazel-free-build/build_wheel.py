"""Builds one wheel for several versions of TensorFlow and of Python.

`make wheel TENSORFLOW="2.15 2.21"` runs it.

    python bazel-free-build/build_wheel.py DIRECTORY --tensorflow 2.15 2.21

For each version of TensorFlow it makes an environment below DIRECTORY and builds a wheel there, with
modules for each Python on this machine that TensorFlow has a package for. Then it joins them:

    autodist/*.py                                  the same in all
    autodist/_planning, _tables                    one module a Python: they know no TensorFlow
    autodist/for_tensorflow/2.15/_autodist_ops.so  one a TensorFlow
    autodist/for_tensorflow/2.15/_bundle, _runtime one module a Python

`autodist/__init__.py` looks there for the installed TensorFlow. auditwheel names the platform, and
leaves TensorFlow's libraries out. The wheel is in DIRECTORY/dist.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from environments import SOURCES, Environment, make_environment, minor_of, pythons_for, run, select

# What is built for one TensorFlow; the rest of a wheel is for all.
_OF_TENSORFLOW = ("_autodist_ops", "_bundle", "_runtime", "_build_info")
# These come with TensorFlow, or lie beside the module that needs them.
_NOT_INCLUDED = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2", "_autodist_ops.so")


def main() -> int:
    """Returns the exit code of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--tensorflow", nargs="*", metavar="MINOR", help="such as 2.15; all if none"
    )
    parser.add_argument("--distribution", default="tensorflow", help="what the wheel requires")
    arguments = parser.parse_args()
    directory: Path = arguments.directory.resolve()
    trees = []
    for wanted in select(arguments.tensorflow or None):
        pythons = pythons_for(wanted)
        if not pythons:
            raise SystemExit(f"no Python here has a package of TensorFlow {wanted.version}")
        first, *others = pythons.values()
        environment = make_environment(
            wanted, first, directory / minor_of(wanted.version), arguments.distribution
        )
        trees.append((environment, _unpack(_build(environment, others))))
        print(f"TensorFlow {wanted.version}: Python {', '.join(f'3.{m}' for m in pythons)}")
    joined = _join(trees, directory / "joined", arguments.distribution)
    print(_pack(joined, directory))
    return 0


def _build(environment: Environment, others: list[str]) -> Path:
    """Returns the path of a wheel for one TensorFlow, with modules for several versions of Python."""
    wheels = environment.directory / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    settings = [
        f"build-dir={environment.directory / 'build'}",
        f"cmake.define.AUTODIST_OTHER_PYTHONS={';'.join(others)}",
    ]
    build = [environment.interpreter, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"]
    build += [f"--config-settings={each}" for each in settings]
    run([*build, "--wheel-dir", str(wheels), str(SOURCES)])
    (wheel,) = wheels.glob("*.whl")
    return wheel


def _unpack(wheel: Path) -> Path:
    """Returns the directory that a wheel is unpacked into."""
    place = wheel.parent / "unpacked"
    run([sys.executable, "-m", "wheel", "unpack", "--dest", str(place), str(wheel)])
    (tree,) = place.iterdir()
    return tree


def _join(trees: list[tuple[Environment, Path]], place: Path, distribution: str) -> Path:
    """Puts unpacked wheels together; returns the directory.

    Args:
        trees: The environment that each was built in, and where it is; the newest TensorFlow first.
        place: Where to put them together.
        distribution: The distribution of TensorFlow that the wheel requires.
    """
    shutil.rmtree(place, ignore_errors=True)
    joined = place / trees[0][1].name
    for environment, tree in trees:
        for file in sorted(each for each in tree.rglob("*") if each.is_file()):
            name = file.relative_to(tree)
            if name.parts[0] == "autodist" and file.name.split(".")[0] in _OF_TENSORFLOW:
                name = Path("autodist", "for_tensorflow", environment.minor, file.name)
            target = joined / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (
                target.exists()
                and file.suffix == ".py"
                and target.read_bytes() != file.read_bytes()
            ):
                raise SystemExit(f"{name} differs between the wheels")
            shutil.copy2(file, target)
    (described,) = joined.glob("*.dist-info")
    minors = [environment.minor for environment, _ in trees]
    _require(described / "METADATA", f"{distribution}{_range(minors)}")
    return joined


def _range(minors: list[str]) -> str:
    """Pip's specifier for minor versions, of which the first is the newest."""
    newest, oldest = (int(minor.split(".")[1]) for minor in (minors[0], minors[-1]))
    left_out = [f"!=2.{n}.*" for n in range(oldest, newest) if f"2.{n}" not in minors]
    return ",".join([f">=2.{oldest}", f"<2.{newest + 1}", *left_out])


def _require(metadata: Path, requirement: str) -> None:
    """Has a wheel require `requirement` in place of the TensorFlow that it was built with."""
    lines = metadata.read_text(encoding="utf-8").splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.startswith("Requires-Dist: tensorflow")]
    lines[places[0]] = f"Requires-Dist: {requirement}\n"
    metadata.write_text("".join(lines), encoding="utf-8")


def _pack(joined: Path, directory: Path) -> str:
    """Returns the path of the wheel, in the directory `dist`."""
    run([sys.executable, "-m", "wheel", "pack", "--dest-dir", str(joined.parent), str(joined)])
    (packed,) = joined.parent.glob("*.whl")
    tags = ["--python-tag", "py3", "--abi-tag", "none", "--remove"]
    run([sys.executable, "-m", "wheel", "tags", *tags, str(packed)])
    (tagged,) = joined.parent.glob("*.whl")
    dist = directory / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    excluded = [word for name in _NOT_INCLUDED for word in ("--exclude", name)]
    repair = [sys.executable, "-m", "auditwheel", "repair", *excluded]
    run([*repair, "--wheel-dir", str(dist), str(tagged)])
    (wheel,) = dist.iterdir()
    return str(wheel)


if __name__ == "__main__":
    sys.exit(main())
