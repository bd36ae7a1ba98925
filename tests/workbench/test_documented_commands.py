"""The commands of the pages on checkpoints run as written, and print what the page shows."""

import os
import re
import shlex
from pathlib import Path

import pytest

from autodist import cli
from support.documents import ROOT, read_blocks

PAGES = {"docs/workbench.md": 12, "docs/converting-checkpoints.md": 8}
# What the page says of time is that of another run.
SECONDS = re.compile(r"in \d+\.\d\d s")


def read_runs(page: str) -> list[tuple[str, str]]:
    """Returns each command of the page and the output that is shown, if any."""
    runs: list[tuple[str, str]] = []
    for block in read_blocks(ROOT / page):
        for line in block.text.splitlines() if block.language == "console" else ():
            if line.startswith("$ "):
                runs.append((line[2:].split(" #")[0].strip(), ""))
            else:
                runs[-1] = (runs[-1][0], runs[-1][1] + line + "\n")
    return runs


@pytest.fixture
def directory(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the checkpoints that the page speaks of."""
    (tmp_path / "ckpt").mkdir()
    for file in (stock / "sliced").glob("model.ckpt*"):
        os.link(file, tmp_path / "ckpt" / file.name)
    (tmp_path / "ckpt/checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    for file in (stock / "pairs").iterdir():
        os.link(file, tmp_path / file.name)
    (tmp_path / "export").symlink_to(stock / "saved_model")
    (tmp_path / "spec.yml").write_text("nodes:\n  - address: localhost\n    cpus: [0, 1]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_run_and_print_what_is_shown(
    page: str, directory: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    runs = read_runs(page)
    assert len(runs) > PAGES[page]
    for command, shown in runs:
        program, *arguments = shlex.split(command)
        assert program == "autodist"
        code = cli.main(arguments)
        out, err = capfdbinary.readouterr()
        assert code in (0, 1), (command, err)
        assert not err, command
        if shown:
            assert SECONDS.sub("", out.decode()) == SECONDS.sub("", shown), command
