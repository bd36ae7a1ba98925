"""Runs saves in `victim.py` and asks `judge.py` what is left: both processes live for a whole run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.c_programs import compile_library
from support.python_programs import read_line, read_until, start_python, tell

if TYPE_CHECKING:
    from support.torture.scenarios import Scenario

# Whether everything is tried, not a sample.
IS_FULL = os.environ.get("AUTODIST_TORTURE") == "full"


class Worker:
    """A process that answers questions line by line."""

    def __init__(self, program: str, *arguments: Any) -> None:
        command = ("-m", f"support.torture.{program}", *arguments)
        self._process = start_python(*command, TF_ENABLE_ONEDNN_OPTS="0")
        read_until(self._process, "ready")

    def ask(self, question: dict[str, Any]) -> Any:
        """Sends a question and waits for its answer."""
        tell(self._process, json.dumps(question))
        return json.loads(read_line(self._process))

    def close(self) -> None:
        """Lets the process end."""
        self._process.communicate()


class Rig:
    """Both processes, and the directory they work in."""

    def __init__(self, root: Path) -> None:
        self._root = root / "root"
        self._root.mkdir()
        shim = root / "shim.so"
        compile_library("torture/shim.c", shim, "-Wall", "-Werror")
        self._victim = Worker("victim", shim, self._root)
        self._judge = Worker("judge")
        self._count = 0

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """A new directory, removed afterwards."""
        self._count += 1
        path = self._root / f"run{self._count}" / "work"
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path.parent)

    def save(
        self, scenario: Scenario, directory: Path, saver: str = "ours", **task: Any
    ) -> dict[str, Any]:
        """Runs the scenario in a directory and returns what the victim tells.

        Raises:
            RuntimeError: The victim could not come as far as the save under test.
        """
        defaults = {"mode": "off", "durable": True}
        answer: dict[str, Any] = self._victim.ask(
            {
                **defaults,
                **task,
                **dataclasses.asdict(scenario),
                "saver": saver,
                "root": str(directory),
                "directory": str(directory / scenario.below),
            }
        )
        if "broken" in answer:
            raise RuntimeError(answer["broken"])
        return answer

    def loop(
        self,
        directory: Path,
        progress: Path,
        seconds: float,
        size: int,
        *,
        signal_name: str = "SIGKILL",
        saves: int = 0,
    ) -> None:
        """Trains and saves in a directory, and ends that process by a signal.

        Args:
            directory: Where it saves.
            progress: The file that it adds a line to after each save.
            seconds: When the signal comes: so long after it was ready to train and `saves` saves returned.
            size: Of the large variable.
            signal_name: The signal.
            saves: How many saves return at least.

        Raises:
            RuntimeError: It ended by itself.
        """
        answer = self._victim.ask(
            {
                "kind": "loop",
                "directory": str(directory),
                "progress": str(progress),
                "seconds": seconds,
                "saves": saves,
                "signal": signal_name,
                "size": size,
            }
        )
        if answer["signal"] != signal.Signals[signal_name]:
            raise RuntimeError(str(answer))

    def save_with_fault(self, fault: str, amounts: list[int], directory: Path, **task: Any) -> Any:
        """Saves under a fault of `victim_faults.py`, once for each amount, and tells what came of each.

        Raises:
            RuntimeError: The process died.
            PermissionError: It may not mount a file system.
        """
        defaults = {"size": 300_000, "mount_bytes": 0, "step": None, "seconds_at_most": 120}
        answer = self._victim.ask(
            {
                **defaults,
                **task,
                "kind": "fault",
                "fault": fault,
                "amounts": amounts,
                "directory": str(directory),
            }
        )
        if "MountError" in answer.get("broken", ""):
            raise PermissionError(answer["broken"])
        if "outcomes" not in answer:
            raise RuntimeError(str(answer))
        return answer["outcomes"]

    def save_judged(self, directory: Path, **task: Any) -> dict[str, Any]:
        """Saves over a checkpoint with or without rules, as `victim_evidence.py` says.

        Raises:
            RuntimeError: The victim could not come as far as the save under test.
        """
        place = {"kind": "evidence", "directory": str(directory), "root": str(directory)}
        answer: dict[str, Any] = self._victim.ask({**task, **place})
        if "broken" in answer:
            raise RuntimeError(answer["broken"])
        return answer

    def judge_versions(self, directory: Path, versions: list[int], size: int) -> str | None:
        """Returns what is lost of a directory that `loop` saved into, or `None`."""
        verdict: str | None = self._judge.ask(
            {
                "kind": "saver",
                "size": size,
                "directory": str(directory),
                "versions": versions,
                "may_be_nothing": 0 in versions,
                "graph": True,
            }
        )
        return verdict

    def judge(
        self, scenario: Scenario, directory: Path, *, is_saved: bool = False, graph: bool = False
    ) -> str | None:
        """Returns what is lost, or `None`.

        Args:
            scenario: What was saved.
            directory: Where.
            is_saved: Whether the last save returned.
            graph: Whether to restore through the graph as well, which takes longer.
        """
        last = len(scenario.steps)
        verdict: str | None = self._judge.ask(
            {
                "kind": "saved_model" if scenario.kind == "saved_model" else "saver",
                "size": scenario.size,
                "directory": str(directory / scenario.below),
                "latest_filename": scenario.latest_filename,
                "versions": [last] if is_saved else [last - 1, last],
                "may_be_nothing": scenario.is_first and not is_saved,
                "graph": graph,
            }
        )
        return verdict

    def close(self) -> None:
        """Lets both processes end."""
        self._victim.close()
        self._judge.close()
