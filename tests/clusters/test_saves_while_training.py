"""Saves while workers train without pause; the programs do the same for longer, see `docs/clusters.md`."""

from pathlib import Path

from support.python_programs import run_python


def test_shards_are_untorn_while_four_workers_train(tmp_path: Path) -> None:
    done = run_python("-m", "support.clusters.training_program", tmp_path, 2, starts_programs=True)
    for way in ("shared", "stream"):
        assert f"{way}: 2 saves, 0 of 24 shards torn" in done.stdout
