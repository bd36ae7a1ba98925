"""Checks that the same sources make the same wheel, byte for byte, wherever they are built.

`make reproducible` runs it.

    python bazel-free-build/check_reproducible.py DIRECTORY

Unpacks the source archive twice below DIRECTORY, at paths of different lengths, and builds a wheel
from each, with another umask and another build directory. If the wheels differ, it names the files
that do, and exits with code 1. Every source is compiled twice: three minutes each on two cores.
With ccache, a second check takes less than a minute.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent.parent


def main(directory: Path) -> int:
    """Returns the exit code of the process: 1 if the wheels differ."""
    shutil.rmtree(directory, ignore_errors=True)
    archive = _build_source_archive(directory)
    first = _build_wheel(archive, directory / "a", umask=0o022)
    second = _build_wheel(archive, directory / "elsewhere" / "and-deeper", umask=0o077)
    for wheel in (first, second):
        print(f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel}")
    if first.read_bytes() == second.read_bytes():
        print("the wheels are the same")
        return 0
    for name in _differing(first, second):
        print(f"{name} differs")
    print("the wheels differ: compare the files above with `diffoscope`, or `strings` and `cmp`")
    return 1


def _build_source_archive(directory: Path) -> Path:
    """Returns the path of the source archive, which the build backend makes."""
    directory.mkdir(parents=True)
    code = "import sys, autodist_backend; autodist_backend.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(directory)],
        cwd=_SOURCES,
        env={**os.environ, "PYTHONPATH": str(_SOURCES / "bazel-free-build")},
        check=True,
    )
    (archive,) = directory.glob("*.tar.gz")
    return archive


def _build_wheel(archive: Path, place: Path, umask: int) -> Path:
    """Returns the path of a wheel that is built from the archive, unpacked at `place`."""
    with tarfile.open(archive) as file:
        file.extractall(place, filter="data")
    (sources,) = place.iterdir()
    wheels = place / "wheels"
    # What is compiled is taken from ccache only if it was compiled at the same place.
    environment = {**os.environ, "CCACHE_BASEDIR": ""}
    build = ["wheel", "--no-build-isolation", "--no-deps"]
    build += ["--config-settings", f"build-dir={place / 'build'}"]
    subprocess.run(
        [sys.executable, "-m", "pip", *build, "--wheel-dir", str(wheels), str(sources)],
        env=environment,
        umask=umask,
        check=True,
    )
    (wheel,) = wheels.iterdir()
    return wheel


def _differing(first: Path, second: Path) -> list[str]:
    """Returns the names of the files that two wheels have not alike: contents, time or mode."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        files = [
            {
                info.filename: (wheel.read(info), info.date_time, info.external_attr)
                for info in wheel.infolist()
            }
            for wheel in (one, other)
        ]
    names = sorted({*files[0], *files[1]})
    return [name for name in names if files[0].get(name) != files[1].get(name)] or ["the order"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
