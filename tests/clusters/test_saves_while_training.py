"""Saves while workers train without pause; the programs do the same for longer, see `docs/clusters.md`."""

import subprocess
import sys
from pathlib import Path


def test_shards_are_untorn_while_four_workers_train(tmp_path: Path) -> None:
    script = Path(__file__).with_name("training_program.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for way in ("shared", "stream"):
        assert f"{way}: 2 saves, 0 of 24 shards torn" in done.stdout
