"""Repairs the index of a checkpoint, and the state file of a directory, from what is sound.

Of an index, what is read from sound blocks stays, if the bytes that it names are those that were
written. Data files are never changed. A state file is made of the sound checkpoints in the
directory, the latest one last.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, evidence, finding, state_file, tables, v1, v2
from autodist.workbench.reading.checkpoint import Checkpoint, Variable
from autodist.workbench.storage import places
from autodist.workbench.writing.copying import Progress, write_all
from autodist.workbench.writing.sources import on_this_machine, open_regular
from autodist.workbench.writing.staged_file import StagedFile
from autodist.workbench.writing.stored import (
    Limits,
    OpenedFile,
    StoredTensor,
    place_of,
    stored_tensor,
)

BACKUP_SUFFIX = ".damaged"


@dataclass(frozen=True)
class Lost:
    """Something that cannot be kept, and why."""

    name: str
    reason: str


@dataclass
class RepairReport:
    """What was found, and what was or would be written.

    Attributes:
        path: the file: an index or a state file.
        kind: `'index'` or `'state file'`.
        is_sound: whether there is nothing to repair.
        kept: the variables of the index, or the prefixes of the state file.
        lost: variables that the index no longer has, or checkpoints that are not sound.
        damage: what is wrong with the file itself.
        written: whether the file was written.
        backup: where the former file is; '' if there is none.
    """

    path: str
    kind: str
    is_sound: bool = False
    kept: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    written: bool = False
    backup: str = ""


def repair(
    path: str,
    *,
    write: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RepairReport:
    """Repairs the index of a prefix, or the state file of a directory.

    Args:
        path: a prefix, its index, or a directory, on this machine.
        write: whether the repaired file is written; else only the report is made.
        limits: threads.
        progress: called with the bytes checked so far, and all.

    Raises:
        NotFoundError: there is no such index or directory.
        DamagedError: nothing of the index can be read, or no checkpoint of the directory is sound.
        UnsupportedError: the path is not on this machine.
        OSError: a file cannot be read or written.
    """
    limits = limits or Limits()
    path = on_this_machine(path)
    checker = _Checker(limits, progress)
    if places.is_directory(path):
        return _repair_state_file(path, checker, write=write)
    return _repair_index(path.removesuffix(".index"), checker, write=write)


class _Checker:
    """Compares the bytes of variables with their CRCs."""

    def __init__(self, limits: Limits, progress: Progress | None) -> None:
        self._limits = limits
        self._progress = progress
        self._done_bytes = 0

    def problems(self, checkpoint: Checkpoint) -> list[Lost]:
        """The variables whose bytes are not those that were written."""
        with contextlib.ExitStack() as held:
            files: dict[int, OpenedFile] = {}
            missing: dict[int, str] = {}
            lost: dict[str, str] = {}
            tensors = []
            for variable in checkpoint.variables:
                for piece in variable.pieces:
                    self._open(checkpoint, piece.file, held, files, missing)
                absent = [missing[piece.file] for piece in variable.pieces if piece.file in missing]
                tensor = None if absent else _stored(variable, files, lost)
                if absent:
                    lost[variable.name] = absent[0]
                if tensor is not None:
                    tensors.append(tensor)
            self._sum(tensors, lost)
            return [Lost(name, reason) for name, reason in lost.items()]

    def _open(
        self,
        checkpoint: Checkpoint,
        number: int,
        held: contextlib.ExitStack,
        files: dict[int, OpenedFile],
        missing: dict[int, str],
    ) -> None:
        if number in files or number in missing or not 0 <= number < len(checkpoint.files):
            return
        try:
            files[number] = open_regular(checkpoint.files[number], held)
        except (errors.NotFoundError, errors.UnreadableError) as error:
            missing[number] = str(error)

    def _sum(self, tensors: Sequence[StoredTensor], lost: dict[str, str]) -> None:
        rows: dict[OpenedFile, list[tuple[str, int, tuple[int, int, int, int]]]] = {}
        for tensor in tensors:
            number = dtypes.number_of(tensor.dtype)
            for piece in tensor.pieces:
                row = (piece.offset, piece.size, number, piece.box.elements)
                assert piece.crc is not None
                rows.setdefault(piece.file, []).append((tensor.name, piece.crc, row))
        total = self._done_bytes + sum(row[1] for entries in rows.values() for _, _, row in entries)
        for file, entries in rows.items():
            path = f"/proc/self/fd/{file.descriptor}".encode()
            before = self._done_bytes

            def advance(done: int, before: int = before) -> None:
                if self._progress is not None:
                    self._progress(before + done, total)

            sums = tables.module().sum_ranges(
                path, None, [row for _, _, row in entries], self._limits.threads, advance
            )
            self._done_bytes += sum(row[1] for _, _, row in entries)
            for (name, crc, row), found in zip(entries, sums, strict=True):
                if found != crc:
                    lost.setdefault(
                        name,
                        f"the bytes [{row[0]}, {row[0] + row[1]}) of {printable(file.path)!r} are "
                        "not those that were written",
                    )


def _stored(
    variable: Variable, files: dict[int, OpenedFile], lost: dict[str, str]
) -> StoredTensor | None:
    """Where a variable lies; None, with why in `lost`, if its entry contradicts itself."""
    try:
        return stored_tensor(variable, files)
    except errors.DamagedError as error:
        lost[variable.name] = str(error)
        return None


def _repair_index(prefix: str, checker: _Checker, *, write: bool) -> RepairReport:
    path = prefix + ".index"
    if not places.is_file(path) and v1.files_of(prefix):
        raise _without_index(prefix)
    report = RepairReport(path, "index")
    try:
        index = v2.read_index(prefix)
        checkpoint = v2.from_index(prefix, index)
        if index.unlisted_slices:
            report.damage.append(f"{index.unlisted_slices} slices belong to no variable")
    except errors.DamagedError as error:
        report.damage.append(str(error))
        checkpoint = _salvage(prefix, report)
        index = None
    broken = _contradictions(checkpoint, index)
    lost = checker.problems(checkpoint)
    report.lost += broken + [entry for entry in lost if entry.name not in {b.name for b in broken}]
    gone = {entry.name for entry in report.lost}
    kept = [variable for variable in checkpoint.variables if variable.name not in gone]
    report.kept = [variable.name for variable in kept]
    report.is_sound = not report.damage and not report.lost
    if report.is_sound:
        return report
    if not kept:
        reason = report.lost[0].reason if report.lost else "; ".join(report.damage)
        raise errors.DamagedError(
            f"nothing of {printable(path)!r} can be kept, so nothing is repaired: {reason}"
        )
    if write:
        contents = tables.module().build_index(len(checkpoint.files), _entries(kept))
        _replace(path, contents, report)
    return report


def _without_index(prefix: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"{printable(prefix)!r} is of the V1 format, which has no index to repair. `autodist verify` "
        "shows what is damaged, and `autodist convert` makes a checkpoint of the V2 format"
    )


def _salvage(prefix: str, report: RepairReport) -> Checkpoint:
    """Reads what is sound of an index."""
    path = prefix + ".index"
    with tables.translated(path):
        found = tables.module().salvage_index(os.fsencode(path))
        index = tables.module().read_index(data=found["index"])
    for begin, end in found["lost"]:
        report.damage.append(f"the bytes [{begin}, {end}) are no sound block")
    report.lost += [
        Lost(os.fsdecode(name), "entries of it are in blocks that are damaged")
        for name in found["incomplete"]
    ]
    checkpoint = v2.from_index(prefix, index)
    if not found["file_count"]:
        count = _count_on_disk(prefix, len(checkpoint.files))
        files = tuple(v2.data_file(prefix, number, count) for number in range(count))
        checkpoint = checkpoint._replace(files=files)
    return checkpoint


def _count_on_disk(prefix: str, least: int) -> int:
    """How many data files a checkpoint has, by the names of those that are there."""
    directory, name = places.split(prefix)
    pattern = re.compile(re.escape(name) + r"\.data-\d{5}-of-(\d{5})", re.DOTALL)
    matches = [pattern.fullmatch(other) for other in places.names_in(directory)]
    counts = {int(match.group(1)) for match in matches if match}
    counts = {count for count in counts if least <= count}
    if len(counts) != 1:
        raise errors.DamagedError(
            f"the header of '{printable(prefix)}.index' is lost, and the names of the data files do "
            f"not tell how many there are: they say {sorted(counts) or 'nothing'}"
        )
    return counts.pop()


def _contradictions(checkpoint: Checkpoint, index: Any) -> list[Lost]:
    """The variables whose entries contradict themselves."""
    if index is None:
        index = tables.module().read_index(
            data=tables.module().build_index(len(checkpoint.files), _entries(checkpoint.variables))
        )
    names = index.names()
    found = {names[number]: problem for number, problem in index.problems()}
    return [Lost(name, problem) for name, problem in found.items()]


def _entries(variables: Sequence[Variable]) -> list[tuple[Any, ...]]:
    """The entries of an index of variables that lie where they are."""
    entries: list[tuple[Any, ...]] = []
    for variable in variables:
        name = os.fsencode(variable.name)
        number = dtypes.number_of(variable.dtype)
        listed = [place_of(piece.slice) for piece in variable.pieces if piece.slice]
        for piece in variable.pieces:
            place = place_of(piece.slice) if piece.slice else None
            entries.append(
                (
                    name,
                    number,
                    piece.shape,
                    place,
                    [],
                    piece.file,
                    piece.offset,
                    piece.size,
                    piece.crc,
                )
            )
        if listed:
            entries.append((name, number, variable.shape, None, listed, 0, 0, 0, 0))
    return entries


def _repair_state_file(directory: str, checker: _Checker, *, write: bool) -> RepairReport:
    path = places.join(directory, state_file.NAME)
    report = RepairReport(path, "state file")
    sound: list[tuple[int, str]] = []
    prefixes = finding.prefixes_in(directory)
    if not prefixes:
        for prefix in finding.old_prefixes_in(directory):
            raise _without_index(prefix)
    for prefix in prefixes:
        reason = _unsound(prefix, checker)
        name = places.split(prefix)[1]
        if reason:
            report.lost.append(Lost(name, reason))
        else:
            sound.append((os.stat(prefix + ".index").st_mtime_ns, name))  # noqa: PTH116
    sound.sort(key=lambda entry: (entry[0], _natural(entry[1])))
    report.kept = [name for _, name in sound]
    problem = _problem_of_state(directory, report.kept)
    report.is_sound = not problem
    if report.is_sound:
        return report
    report.damage.append(problem)
    if not sound:
        reason = f". {report.lost[0].name}: {report.lost[0].reason}" if report.lost else ""
        raise errors.DamagedError(
            f"no checkpoint in {printable(directory)!r} is sound, so there is none to name{reason}"
        )
    if write:
        _replace(path, _state_text(report.kept), report)
    return report


def _unsound(prefix: str, checker: _Checker) -> str:
    """Why a checkpoint cannot be restored, or must not be; '' if it can."""
    try:
        found = evidence.read(prefix)
        if found is not None and evidence.is_current(found, prefix):
            refused = found.why_not_latest()
            if refused is not None:
                return refused
    except (errors.DamagedError, errors.UnreadableError):
        pass  # What cannot be read says nothing.
    try:
        index = v2.read_index(prefix)
        checkpoint = v2.from_index(prefix, index)
    except errors.AutoDistError as error:
        return str(error)
    lost = _contradictions(checkpoint, index) or checker.problems(checkpoint)
    if not lost:
        return ""
    return f"variable {printable(lost[0].name)!r}: {lost[0].reason}"


def _problem_of_state(directory: str, sound: Sequence[str]) -> str:
    """What is wrong with a state file; '' if all is well."""
    try:
        state = state_file.read(directory)
    except errors.AutoDistError as error:
        return str(error)
    known = {_absolute(places.join(directory, name)) for name in sound}
    for prefix in dict.fromkeys((state.latest, *state.kept)):
        if _absolute(prefix) not in known:
            return (
                f"it names {printable(prefix)!r}, which is not a sound checkpoint of the directory"
            )
    return ""


def _absolute(prefix: str) -> str:
    """A prefix without `..`, as TensorFlow reads it, whatever links there are."""
    return os.path.abspath(prefix)  # noqa: PTH100


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `m-9` before `m-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _state_text(names: Sequence[str]) -> bytes:
    """A state file, as TensorFlow writes it: the latest checkpoint is the last one."""
    lines = [f'model_checkpoint_path: "{_escaped(names[-1])}"\n']
    lines += [f'all_model_checkpoint_paths: "{_escaped(name)}"\n' for name in names]
    return "".join(lines).encode()


def _escaped(text: str) -> str:
    """A text as the text form of protocol buffers has it."""
    special = {ord('"'): '\\"', ord("\\"): "\\\\", ord("'"): "\\'", 10: "\\n", 13: "\\r", 9: "\\t"}
    return "".join(
        special[byte] if byte in special else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in os.fsencode(text)
    )


def _replace(path: str, contents: bytes, report: RepairReport) -> None:
    """Writes a file at one instant; the former one stays beside it."""
    with StagedFile(path, overwrite=True) as staged:
        write_all(OpenedFile(staged.descriptor, path), 0, memoryview(contents))
        if os.path.lexists(path):
            report.backup = _keep_former(path)
        staged.commit()
    report.written = True


def _keep_former(path: str) -> str:
    """Gives the former file a second name, which nothing has yet; returns it."""
    for number in range(1000):
        backup = path + BACKUP_SUFFIX + (f".{number}" if number else "")
        with contextlib.suppress(FileExistsError):
            os.link(path, backup, follow_symlinks=False)
            return backup
    raise errors.UnreadableError(f"{printable(path)!r} has a thousand backups; remove some")
