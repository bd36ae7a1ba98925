"""The programs in README.md and docs/guide.md run as they are written.

A block whose first line is `# name.ext` is a file: YAML is written, a program without `def` at its top is run on
its own. The other Python blocks of a document are one program, run in order in one process; where a
`text` block follows, it is what the block prints.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.]+)\n")

# Runs blocks [[code, expected output or null], ...] in one namespace.
_RUNNER = """
import contextlib, io, json, sys
namespace = {"__name__": "__main__"}
for number, (code, expected) in enumerate(json.load(open(sys.argv[1]))):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"block {number}", "exec"), namespace)
    if expected is not None and printed.getvalue().split() != expected.split():
        sys.exit(f"block {number} printed:\\n{printed.getvalue()}\\nexpected:\\n{expected}\\n{code}")
"""


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        match = _FILE.match(self.text)
        return match[1] if match else None


def read_blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [Block(language, body) for language, body in _FENCE.findall(text)]


def run(arguments: list[str], directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def write_files(blocks: list[Block], directory: Path) -> list[str]:
    names = []
    for block in blocks:
        if block.file_name is not None:
            (directory / block.file_name).write_text(block.text)
            names.append(block.file_name)
    return names


def test_the_example_of_the_readme_runs_as_written(tmp_path: Path) -> None:
    names = write_files(read_blocks("README.md"), tmp_path)
    assert names == ["model.py", "resource_spec.yml", "train.py", "fine_tune.py", "cluster.yml"]
    (distributed,) = losses_in(run(["train.py"], tmp_path))
    from_checkpoint, from_saved_model = losses_in(run(["fine_tune.py"], tmp_path))
    assert from_checkpoint < distributed
    assert from_saved_model == pytest.approx(from_checkpoint, abs=2e-4)


def test_the_programs_of_the_user_guide_run_as_written(tmp_path: Path) -> None:
    blocks = read_blocks("docs/guide.md")
    write_files(blocks, tmp_path)
    program = []
    for block, after in zip(blocks, [*blocks[1:], Block("", "")], strict=True):
        if block.language == "python" and block.file_name is None:
            program.append([block.text, after.text if after.language == "text" else None])
    assert program
    (tmp_path / "program.json").write_text(json.dumps(program))
    (tmp_path / "runner.py").write_text(_RUNNER)
    run(["runner.py", "program.json"], tmp_path)


def test_documents_link_to_files_that_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "docs/guide.md", ROOT / "docs/clusters.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).is_file(), (document.name, target)


def losses_in(output: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", output)]
