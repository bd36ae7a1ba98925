"""How a benchmark measures: contestants take turns in one process, each with its time and memory.

One round runs every contestant once, in an order that moves on by one each round, so that none
always follows the same neighbour. Around each timed call, outside the timed part and alike for all:

    what the contestant wants prepared is prepared
    -> freed memory goes back to the kernel, the mark of the highest memory use is reset
    -> the call, timed ->
    the mark and the kernel's counts of bytes are read, the answer checked, the files deleted

TensorFlow's CPU allocator for oneDNN keeps all memory that it ever took (TensorFlow 2.21, on by
default). From the second run on it uses the same memory again, and no growth is visible. So memory
is measured in a process of its own where that allocator is off. Time is measured where it is on, as
it is for TensorFlow's users. There the rivals have no page faults for their temporary tensors.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import gc
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.progress import Progress

_Result = TypeVar("_Result")

_C_LIBRARY = ctypes.CDLL(None)
# TensorFlow's switch for its oneDNN kernels, and with them for their allocator.
_ALLOCATOR = "TF_ENABLE_ONEDNN_OPTS"
# Of /proc/self/io: bytes that all threads read and wrote by system calls (proc(5)).
_CALLS = ("rchar", "wchar")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: As in the tables.
        run: Does one iteration into an empty directory; this alone is timed.
        check: Raises if what `run` left in the directory is wrong.
        prepare: Makes things as `run` shall find them.
        kept_bytes: Memory that `run` shall take and keep; it is not counted as extra.
    """

    name: str
    run: Callable[[Path], None]
    check: Callable[[Path], None]
    prepare: Callable[[], None] = lambda: None
    kept_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What one iteration took.

    Attributes:
        seconds: Wall time.
        processor_seconds: Processor time of all threads, in the kernel too.
        extra_bytes: Growth of the process's resident memory at its peak above that before, without
            what it shall keep.
        read_bytes: What the process read by system calls, from a device or not.
        written_bytes: What it wrote by them.
    """

    seconds: float
    processor_seconds: float
    extra_bytes: int
    read_bytes: int
    written_bytes: int


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All counted runs of one contestant, at least one."""

    runs: tuple[Run, ...]

    @property
    def best_seconds(self) -> float:
        """The shortest time: what the machine allows when nothing disturbs it."""
        return min(run.seconds for run in self.runs)

    @property
    def median_seconds(self) -> float:
        """The middle time."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def worst_seconds(self) -> float:
        """The longest time."""
        return max(run.seconds for run in self.runs)

    @property
    def processor_seconds(self) -> float:
        """The least processor time; unlike the wall time it suffers little from other processes."""
        return min(run.processor_seconds for run in self.runs)

    @property
    def extra_bytes(self) -> int:
        """The most extra memory of any run."""
        return max(run.extra_bytes for run in self.runs)

    @property
    def read_bytes(self) -> int:
        """The most that any run read."""
        return max(run.read_bytes for run in self.runs)

    @property
    def written_bytes(self) -> int:
        """The most that any run wrote."""
        return max(run.written_bytes for run in self.runs)


def measure(
    contestants: Sequence[Contestant], rounds: int, directory: Path, *, is_warmed_up: bool = True
) -> dict[str, Measurement]:
    """Lets the contestants take turns; one more round before the first warms up and is not counted.

    Args:
        contestants: Their names differ.
        rounds: Counted rounds.
        directory: Where each iteration gets an empty directory of its own.
        is_warmed_up: Whether to have that one more round.

    Returns:
        The measurements by name.
    """
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    with Progress(transient=True) as progress:
        numbers = range(0 if is_warmed_up else 1, rounds + 1)
        bar = progress.add_task("measuring", total=len(numbers) * len(contestants))
        for round_number in numbers:
            first = round_number % len(contestants)
            for contestant in (*contestants[first:], *contestants[:first]):
                progress.update(bar, description=contestant.name)
                run = _run_once(contestant, directory / "run")
                if round_number > 0:
                    runs[contestant.name].append(run)
                progress.advance(bar)
    return {name: Measurement(tuple(of_name)) for name, of_name in runs.items()}


def in_new_process(
    function: Callable[..., _Result], *arguments: object, is_memory_returned: bool
) -> _Result:
    """Calls a function in a process of its own.

    Args:
        function: Of a module's top level, as are the classes of its result.
        *arguments: What can be pickled.
        is_memory_returned: Whether TensorFlow gives freed memory back there.

    Returns:
        What the function returns.
    """
    before = os.environ.get(_ALLOCATOR)
    if is_memory_returned:
        os.environ[_ALLOCATOR] = "0"
    try:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as process:
            return process.submit(function, *arguments).result()
    finally:
        if before is not None:
            os.environ[_ALLOCATOR] = before
        elif is_memory_returned:
            del os.environ[_ALLOCATOR]


def _run_once(contestant: Contestant, directory: Path) -> Run:
    directory.mkdir()
    try:
        contestant.prepare()
        _return_freed_memory()
        _reset_peak_memory()
        before_bytes = _proc_count("status", "VmRSS") * 1024
        before_read, before_written = (_proc_count("io", name) for name in _CALLS)
        start, processor_start = time.perf_counter(), time.process_time()
        contestant.run(directory)
        seconds = time.perf_counter() - start
        processor_seconds = time.process_time() - processor_start
        read, written = (_proc_count("io", name) for name in _CALLS)
        peak_bytes = _proc_count("status", "VmHWM") * 1024
        contestant.check(directory)
    finally:
        shutil.rmtree(directory)
    extra_bytes = max(0, peak_bytes - before_bytes - contestant.kept_bytes)
    return Run(
        seconds, processor_seconds, extra_bytes, read - before_read, written - before_written
    )


def _return_freed_memory() -> None:
    # Else a block that one contestant freed would hide what the next one takes.
    gc.collect()
    _C_LIBRARY.malloc_trim(0)


def _reset_peak_memory() -> None:
    # 5 resets the peak of the resident set to its present size (proc(5), Linux 4.0).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _proc_count(file: str, field: str) -> int:
    lines = Path("/proc/self", file).read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1])
