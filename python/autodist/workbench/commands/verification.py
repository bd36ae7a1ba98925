"""`autodist verify`: whether every byte of checkpoints is as it was written.

Of a checkpoint it reads the index, compares what its entries say with each other, looks for files
that are missing or too many, and computes the CRC of every piece. Of a directory it does so for
every checkpoint there is, and looks whether those exist that the state file names.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from autodist._log import count, printable
from autodist.workbench import errors
from autodist.workbench.commands import parallel
from autodist.workbench.reading import (
    dtypes,
    evidence,
    finding,
    graphs,
    other_files,
    state_file,
    tables,
    v1,
    v2,
)
from autodist.workbench.reading.checkpoint import Checkpoint, Piece, Variable
from autodist.workbench.storage import places

_REMOTE_BLOCK_BYTES = 8 << 20
_DATA_FILE = re.compile(r"\.data-[0-9]{5}-of-[0-9]{5}")


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        checkpoint: The prefix, or the path of another file.
        variable: The name of the variable; `''` where it is not about one.
        text: What was expected and what was found.
        is_damage: Whether something cannot be restored; else it is a remark.
    """

    checkpoint: str
    variable: str
    text: str
    is_damage: bool = True


class Report(NamedTuple):
    """What was checked.

    Attributes:
        checkpoints: Their prefixes.
        variable_count: Of all of them.
        byte_count: Bytes whose CRC was compared.
        problems: What was found.
    """

    checkpoints: tuple[str, ...]
    variable_count: int
    byte_count: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not any(problem.is_damage for problem in self.problems)


class Job(NamedTuple):
    """What a path asks to check; `plan` makes it.

    Attributes:
        prefixes: Checkpoints.
        graphs: Graph files that belong to none of them.
        problems: What is known to be wrong without reading one.
    """

    prefixes: list[str]
    graphs: list[str]
    problems: list[Problem]


def plan(paths: Sequence[str]) -> Job:
    """Finds the checkpoints that paths stand for: of a directory, all there are.

    Raises:
        NotFoundError: A path stands for nothing that can be checked.
    """
    job = Job([], [], [])
    for path in paths:
        if places.is_directory(path) and not _is_saved_model(path):
            _plan_directory(path, job)
            continue
        found = finding.find(path)
        if found.kind == "saved_model" and not _is_there(found.prefix):
            job.problems.extend(_without_checkpoint(found))
        elif found.prefix:
            job.prefixes.append(found.prefix)
        if found.graph and (found.kind == "saved_model" or not found.prefix):
            job.graphs.append(found.graph)
    return job


def total_bytes(job: Job) -> int:
    """Returns how many bytes `verify` will read, as far as can be told."""
    total = 0
    for prefix in job.prefixes:
        directory, name = places.split(prefix)
        for other in places.names_in(directory) if places.is_directory(directory) else ():
            if other == name or (
                other.startswith(name) and _DATA_FILE.fullmatch(other[len(name) :])
            ):
                total += places.size_of(directory + other)
    return total


def verify(
    job: Job,
    threads: int,
    progress: Callable[[int], None] = lambda _: None,
    reading: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Report:
    """Checks all that a job names.

    Args:
        job: Of `plan`.
        threads: How many read; 0: one for each processor.
        progress: Told the bytes done so far.
        reading: Called with each prefix; a context that is held while that checkpoint is read.

    Raises:
        UnreadableError: A file cannot be read.
        UnsupportedError: A sound file cannot be checked.
    """
    threads = parallel.thread_count(threads)
    problems = list(job.problems)
    variable_count = byte_count = 0
    for prefix in job.prefixes:
        checking = _Checking(prefix, threads, lambda done, base=byte_count: progress(base + done))  # type: ignore[misc]
        with reading(prefix):
            checking.run()
        problems += checking.problems
        variable_count += checking.variable_count
        byte_count += checking.byte_count
    for path in job.graphs:
        problems += _check_graph(path)
    return Report(tuple(job.prefixes), variable_count, byte_count, tuple(problems))


class _Checking:
    """Checks one checkpoint."""

    def __init__(self, prefix: str, threads: int, progress: Callable[[int], None]) -> None:
        self.problems: list[Problem] = []
        self.variable_count = 0
        self.byte_count = 0
        self._prefix = prefix
        self._stored: Sequence[Variable] = ()
        self._threads = threads
        self._progress = progress

    def run(self) -> None:
        is_v2 = places.is_file(self._prefix + ".index")
        if not is_v2 and places.is_remote(self._prefix):
            raise errors.UnsupportedError(
                f"{printable(self._prefix)!r}: a V1 checkpoint can be verified on a local disk only"
            )
        try:
            if is_v2:
                self._check_v2()
            else:
                self._check_v1()
        except (errors.DamagedError, errors.NotFoundError, errors.UnsupportedError) as error:
            self._add("", str(error))
        self._check_evidence()
        graph = self._prefix + ".meta"
        if places.is_file(graph):
            self.problems += _check_graph(graph, self._prefix)

    def _add(self, variable: str, text: str, *, is_damage: bool = True) -> None:
        self.problems.append(Problem(self._prefix, variable, text, is_damage))

    def _check_evidence(self) -> None:
        """Looks whether evidence is of these values. That it is wrong damages no value."""
        try:
            found = evidence.read(self._prefix)
            if found is None:
                return
            is_current = evidence.is_current(found, self._prefix)
            refused = found.why_not_latest() if is_current else None
            if refused is not None:
                self._add("", refused, is_damage=False)
            strangers = found.strangers(evidence.checksums_of(self._stored))
            if not is_current and not strangers:
                text = "its evidence is about other values: it names another index"
                self._add("", text, is_damage=False)
            for name in strangers:
                text = "its evidence is of another value: the checksums differ"
                self._add(name, text, is_damage=False)
        except (errors.DamagedError, errors.UnreadableError) as error:
            self._add("", str(error), is_damage=False)

    def _check_v1(self) -> None:
        files = v1.files_of(self._prefix)
        if not files:
            raise errors.NotFoundError(f"there is no checkpoint {printable(self._prefix)!r}")
        self.variable_count = len(v1.read(self._prefix, files).variables)
        for path in files:
            with tables.translated(path):
                for text in tables.module().check_saved_slices(os.fsencode(places.local(path))):
                    self._add("", f"{printable(path)!r}: {text}")
            self.byte_count += places.size_of(path)
            self._progress(self.byte_count)

    def _check_v2(self) -> None:
        index = v2.read_index(self._prefix)
        checkpoint = v2.from_index(self._prefix, index)
        self.variable_count = len(checkpoint.variables)
        self._stored = checkpoint.variables
        names = index.names()
        wrong = dict(index.problems())
        bad_names = {names[number] for number in wrong}
        for number, text in wrong.items():
            self._add(names[number], text)
        if index.unlisted_slices:
            self._add(
                "",
                f"{count(index.unlisted_slices, 'stored slice')} that no variable lists",
                is_damage=False,
            )
        by_file: dict[int, list[tuple[Variable, Piece]]] = {}
        for variable in checkpoint.variables:
            if variable.name not in bad_names:
                for piece in variable.pieces:
                    by_file.setdefault(piece.file, []).append((variable, piece))
        for number, path in enumerate(checkpoint.files):
            self._check_file(path, by_file.get(number, []))
        self._look_for_others(checkpoint)

    def _check_file(self, path: str, rows: list[tuple[Variable, Piece]]) -> None:
        try:
            size = places.size_of(path)
        except errors.NotFoundError:
            self._add("", f"{printable(path)!r} is missing, with {count(len(rows), 'piece')}")
            return
        rows.sort(key=lambda row: (row[1].offset, row[1].size))
        sound = list(self._without_overlaps(path, rows))
        end = max((piece.offset + piece.size for _, piece in rows), default=0)
        if end < size:
            text = f"{printable(path)!r} has {size - end} bytes behind those of its variables"
            self._add("", text, is_damage=False)
        results = (
            self._sum_remote(path, sound, size)
            if places.is_remote(path)
            else self._sum_local(path, sound)
        )
        for (variable, piece), result in zip(sound, results, strict=True):
            self._compare(path, size, variable, piece, result)
        self.byte_count += sum(piece.size for _, piece in sound)
        self._progress(self.byte_count)

    def _without_overlaps(
        self, path: str, rows: list[tuple[Variable, Piece]]
    ) -> Iterator[tuple[Variable, Piece]]:
        end, last = 0, ""
        for variable, piece in rows:
            if piece.size and piece.offset < end:
                text = f"its bytes from {piece.offset} on of {printable(path)!r} are also those of "
                self._add(variable.name, text + repr(printable(last)))
                continue
            yield variable, piece
            if piece.size:
                end, last = piece.offset + piece.size, variable.name

    def _sum_local(self, path: str, rows: list[tuple[Variable, Piece]]) -> list[int | str]:
        base = self.byte_count
        with tables.translated(path):
            sums: list[int | str] = tables.module().sum_ranges(
                path=os.fsencode(places.local(path)),
                data=None,
                rows=[_range(variable, piece) for variable, piece in rows],
                threads=self._threads,
                progress=lambda done: self._progress(base + done),
            )
        return sums

    def _sum_remote(
        self, path: str, rows: list[tuple[Variable, Piece]], size: int
    ) -> Iterator[int | str]:
        base = self.byte_count
        with places.open_file(path) as file:
            for variable, piece in rows:
                if piece.offset + piece.size > size:
                    yield "missing"
                elif variable.dtype in dtypes.VARYING:
                    data = file.read(piece.offset, piece.size)
                    _, *rest = _range(variable, piece)
                    yield from tables.module().sum_ranges(
                        path=None, data=data, rows=[(0, *rest)], threads=1
                    )
                else:
                    crc = 0
                    for begin in range(0, piece.size, _REMOTE_BLOCK_BYTES):
                        block = min(_REMOTE_BLOCK_BYTES, piece.size - begin)
                        data = file.read(piece.offset + begin, block)
                        crc = tables.module().extend_crc(crc, data)
                        self._progress(base + piece.offset + begin)
                    yield crc

    def _compare(
        self, path: str, size: int, variable: Variable, piece: Piece, result: int | str
    ) -> None:
        if result == piece.crc:
            return
        what = f"slice {piece.slice}: " if piece.slice else ""
        where = f"{what}bytes [{piece.offset}, {piece.offset + piece.size}) of {printable(path)!r}"
        if result == "missing":
            text = f"{where} are missing: the file has {size}{other_files.known_as(path)}"
        elif result == "unparsable":
            text = f"{where} do not hold {variable.dtype}s of shape {list(piece.shape)}"
        elif isinstance(result, str):
            text = f"{where} cannot be read: {result}"
        else:
            text = f"{where} have the CRC {result:08x}, written with {piece.crc:08x}"
        self._add(variable.name, text)

    def _look_for_others(self, checkpoint: Checkpoint) -> None:
        directory, name = places.split(self._prefix)
        own = {places.split(path)[1] for path in checkpoint.files}
        for other in places.names_in(directory):
            rest = other[len(name) :] if other.startswith(name) else ""
            if other not in own and (_DATA_FILE.fullmatch(rest) or ".tempstate" in rest):
                text = f"{printable(directory + other)!r} belongs to another save"
                self._add("", text, is_damage=False)


def _plan_directory(directory: str, job: Job) -> None:
    prefixes = finding.prefixes_in(directory) + finding.old_prefixes_in(directory)
    try:
        state = state_file.read(directory)
    except errors.NotFoundError:
        state = None
    except errors.DamagedError as error:
        state = None
        job.problems.append(Problem(places.join(directory, state_file.NAME), "", str(error)))
    for prefix in dict.fromkeys((*state.kept, state.latest)) if state else ():
        if prefix in prefixes or not prefix:
            continue
        if _is_there(prefix):
            prefixes.append(prefix)
        else:
            assert state is not None
            is_latest = prefix == state.latest
            text = f"it names {printable(prefix)!r}, which does not exist"
            job.problems.append(Problem(state.path, "", text, is_damage=is_latest))
    if not prefixes and not job.problems:
        raise errors.NotFoundError(f"there is no checkpoint in {printable(directory)!r}")
    job.prefixes.extend(prefixes)


def _is_there(prefix: str) -> bool:
    return places.is_file(prefix + ".index") or finding.has_old_files(prefix)


def _without_checkpoint(found: finding.Found) -> list[Problem]:
    """What is wrong with a SavedModel without a checkpoint: nothing, if its graph has no variables."""
    text = f"there is no checkpoint {printable(found.prefix)!r}"
    form = graphs.form_of(found.graph)
    if form:
        text += f". Whether the graph {form} has variables is not checked"
        return [Problem(found.graph, "", text, is_damage=False)]
    try:
        variables = graphs.read(found.graph).variables
    except errors.AutoDistError:
        return []  # The check of the graph tells.
    if not variables:
        return []
    return [
        Problem(found.graph, "", f"{text}, and the graph has {count(len(variables), 'variable')}")
    ]


def _is_saved_model(directory: str) -> bool:
    return any(places.is_file(places.join(directory, name)) for name in finding.SAVED_MODELS)


def _check_graph(path: str, prefix: str = "") -> list[Problem]:
    if graphs.form_of(path):
        return []
    try:
        graphs.check(path)
    except errors.AutoDistError as error:
        return [Problem(prefix or path, "", str(error))]
    return []


def _range(variable: Variable, piece: Piece) -> tuple[Any, ...]:
    elements = 1
    for dim in piece.shape:
        elements *= dim
    return piece.offset, piece.size, dtypes.number_of(variable.dtype), elements
