"""Programs and libraries in C and C++ that tests bring along, compiled with the system's compiler."""

import subprocess
from pathlib import Path

SUPPORT = Path(__file__).parent


def compile_library(source: str, library: Path, *flags: str, compiler: str = "cc") -> str:
    """Compiles a shared library, for `LD_PRELOAD` or to be loaded; returns its path.

    Args:
      source: Its file, below `support`.
      library: Where it goes.
      *flags: Further arguments of the compiler.
      compiler: The compiler.
    """
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, SUPPORT / source, *flags, "-ldl"]
    subprocess.run(command, check=True)
    return str(library)


def compile_program(source: str, program: Path) -> str:
    """Compiles a C program; returns its path."""
    command = ["cc", "-O1", "-Wall", "-Werror", "-o", program, SUPPORT / source]
    subprocess.run(command, check=True)
    return str(program)
