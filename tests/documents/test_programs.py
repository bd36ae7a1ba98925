"""The programs and commands in the documents run as they are written, and once more in the same place.

A block whose first line is `# name.ext` is a file. The other Python blocks of a document are one
program, run in order in one process. A `text` block after one of them is what that block prints.
"""

import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from autodist.cli import app
from autodist.cluster.spec.resource_spec import ResourceSpec
from support.documents import (
    DOCUMENTS,
    ROOT,
    Block,
    name_of,
    read_blocks,
    read_commands,
    write_files,
)
from support.python_programs import run_python, users_environment

# Runs blocks [[code, expected output or null], ...] in one namespace, twice.
_RUNNER = """
import contextlib, io, json, sys
program = json.load(open(sys.argv[1]))
for time in (1, 2):
    namespace = {"__name__": "__main__"}
    for number, (code, expected) in enumerate(program):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"block {number}", "exec"), namespace)
        if expected is not None and printed.getvalue().split() != expected.split():
            sys.exit(
                f"time {time}, block {number} printed:\\n{printed.getvalue()}\\nexpected:\\n{expected}\\n{code}"
            )
"""
README = ROOT / "README.md"


def read_program(blocks: list[Block]) -> list[Any]:
    """Returns each Python block that is no file, with what it prints if that is shown."""
    return [
        [block.text, after.text if after.language == "text" else None]
        for block, after in itertools.pairwise([*blocks, Block("", "")])
        if block.language == "python" and block.file_name is None
    ]


# Its program has a test of its own: a process can add a rule once.
APART = ROOT / "docs/design/writing-a-rule.md"
PAGES = [page for page in DOCUMENTS if page != APART and read_program(read_blocks(page))]


def test_the_pages_with_programs_are_found() -> None:
    assert {"docs/guide.md", "docs/batches.md", "docs/strategies.md"} <= set(map(name_of, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_program_of_a_page_runs_as_written(page: Path, tmp_path: Path) -> None:
    blocks = read_blocks(page)
    write_files(blocks, tmp_path)
    (tmp_path / "program.json").write_text(json.dumps(read_program(blocks)))
    (tmp_path / "runner.py").write_text(_RUNNER)
    run_python("runner.py", "program.json", directory=tmp_path, env=users_environment())


def test_the_example_of_the_readme_runs_as_written(tmp_path: Path) -> None:
    write_files(read_blocks(README), tmp_path)
    (command,) = (text for text in read_commands(README) if text.startswith("python "))
    for _ in range(2):
        output = ""
        for part in command.split("&&"):
            interpreter, *arguments = shlex.split(part)
            assert interpreter == "python"
            output += run_python(*arguments, directory=tmp_path, env=users_environment()).stdout
        distributed, fine_tuned = map(float, re.findall(r"loss ([\d.]+)", output))
        assert fine_tuned < distributed


def parse(arguments: list[str]) -> None:
    """Parses a command line of `autodist`, and runs nothing; raises if it is none."""
    group = app.make()
    with group.make_context("autodist", list(arguments)) as context:
        name, command, rest = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None
        command.make_context(name, rest, parent=context)


def test_commands_name_what_there_is() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", makefile, re.MULTILINE))
    names = {name for group in targets for name in group.split()}
    for page in DOCUMENTS:
        files = {block.file_name for block in read_blocks(page)}
        for command in read_commands(page):
            program, *arguments = shlex.split(command.split("&&")[0])
            if program == "make":
                assert set(arguments) <= names, (name_of(page), command)
            elif program == "python":
                assert arguments[0] in files or (ROOT / arguments[0]).is_file(), command
            elif program == "autodist":
                parse(arguments)
            else:
                assert program == "pip", (name_of(page), command)


def test_resource_specs_are_read(tmp_path: Path) -> None:
    count = 0
    for page in DOCUMENTS:
        for block in read_blocks(page):
            if block.language == "yaml":
                documents = list(yaml.safe_load_all(block.text))
                if "nodes" in documents[0]:
                    path = tmp_path / "spec.yml"
                    path.write_text(block.text)
                    assert ResourceSpec.from_file(str(path)).nodes
                    count += 1
    assert count >= 4


def test_shell_programs_parse() -> None:
    for page in DOCUMENTS:
        for block in read_blocks(page):
            if block.language in ("sh", "bash"):
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
