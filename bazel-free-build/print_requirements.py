"""Prints requirements out of pyproject.toml for `pip install -r`, without building anything.

    print_requirements.py build   what `pip install --no-build-isolation .` needs beforehand
    print_requirements.py lint    the dependencies and the extra `lint`, without TensorFlow

Building without isolation saves a second copy of TensorFlow where an environment is made for
autodist anyway, as the Makefile does.
"""

import sys
from pathlib import Path
from typing import Any

from tensorflow_pin import build_requirement

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def list_requirements(kind: str) -> list[str]:
    """The requirements of `kind`: `build` or the name of an extra."""
    settings: dict[str, Any] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    if kind == "build":
        tools = settings["tool"]["scikit-build"]
        programs = [f"{name}{tools[name]['version']}" for name in ("cmake", "ninja")]
        return [*settings["build-system"]["requires"], *programs, build_requirement()]
    return [
        *settings["tool"]["dynamic-metadata"][0]["static"],
        *settings["project"]["optional-dependencies"][kind],
    ]


if __name__ == "__main__":
    print(*list_requirements(sys.argv[1]), sep="\n")
