"""What a path on the command line stands for.

| path | stands for |
|---|---|
| `model.ckpt-100` | the checkpoint of that prefix, V2 or V1 |
| `model.ckpt-100.index`, `model.ckpt-100.data-00000-of-00001` | the checkpoint it belongs to |
| `model.ckpt-100.meta` | a graph file |
| `saved_model.pb`, `.pbtxt`, `.cpb`, a directory with one | a SavedModel: the checkpoint `variables/variables` in it |
| a state file, or a directory with one | the latest checkpoint that it names |
| another directory | the one checkpoint in it |
"""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

from autodist._log import count, names, printable
from autodist.workbench import errors
from autodist.workbench.reading import other_files, state_file, v1, v2
from autodist.workbench.reading.checkpoint import Checkpoint
from autodist.workbench.storage import places

SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
_OF_A_BUNDLE = re.compile(r"(.*)\.(index|data-[0-9]{5}-of-[0-9]{5})")


class Found(NamedTuple):
    """What a path stands for.

    Attributes:
        kind: `'checkpoint'`, `'saved_model'` or `'meta'`.
        prefix: Of the checkpoint; `''` of a `.meta` file.
        graph: The file with the graph: `saved_model.pb`, or the `.meta` file; `''` if there is none.
        state: What the state file says by which the checkpoint was found.
    """

    kind: str
    prefix: str
    graph: str
    state: state_file.State | None


def find(path: str) -> Found:
    """Tells what a path stands for.

    Raises:
        NotFoundError: Nothing that the workbench knows.
        DamagedError: The directory's state file cannot be read.
    """
    bundle = _OF_A_BUNDLE.fullmatch(path)
    if bundle and places.is_file(path):
        return _checkpoint(bundle.group(1))
    if places.is_file(path + ".index"):
        return _checkpoint(path)
    if places.is_directory(path):
        return _find_in(path)
    if places.is_file(path):
        return _find_file(path)
    if v1.files_of(path):
        return _checkpoint(path)
    if places.is_remote(path):
        with contextlib.suppress(errors.NotFoundError):
            places.size_of(path + ".index")  # It may be there and forbidden, which this raises.
    raise errors.NotFoundError(_suggestion(path))


def open_checkpoint(path: str) -> Checkpoint:
    """Reads the checkpoint that a path stands for.

    Raises:
        NotFoundError: There is none.
        DamagedError: Its index cannot be read.
    """
    found = find(path)
    if not found.prefix:
        raise no_values(path)
    return read(found.prefix)


def no_values(path: str) -> errors.NotFoundError:
    """Returns the error of a graph where a checkpoint should be."""
    return errors.NotFoundError(
        f"{printable(path)!r} is a graph; it holds no values. Give a checkpoint"
    )


def read(prefix: str) -> Checkpoint:
    """Reads the checkpoint of a prefix; see `open_checkpoint`."""
    if places.is_file(prefix + ".index"):
        return v2.read(prefix)
    files = v1.files_of(prefix)
    if not files:
        raise errors.NotFoundError(f"there is no checkpoint {printable(prefix)!r}")
    return v1.read(prefix, files)


def prefixes_in(directory: str) -> list[str]:
    """Returns the prefixes of all V2 checkpoints in a directory, in the order of their names."""
    return [
        places.join(directory, name.removesuffix(".index"))
        for name in places.names_in(directory)
        if name.endswith(".index")
    ]


def old_prefixes_in(directory: str) -> list[str]:
    """Returns the prefixes of the V1 checkpoints in a directory that have a `.meta` file."""
    names = places.names_in(directory)
    prefixes = [
        places.join(directory, name.removesuffix(".meta"))
        for name in names
        if name.endswith(".meta") and name.removesuffix(".meta") + ".index" not in names
    ]
    return [prefix for prefix in prefixes if has_old_files(prefix)]


def has_old_files(prefix: str) -> bool:
    """Tells whether there are files of a V1 checkpoint, all of them or some."""
    try:
        return bool(v1.files_of(prefix))
    except errors.DamagedError:
        return True  # Reading it tells what is wrong.


def _checkpoint(prefix: str, state: state_file.State | None = None) -> Found:
    graph = prefix + ".meta"
    return Found("checkpoint", prefix, graph if places.is_file(graph) else "", state)


def _find_in(directory: str) -> Found:
    for name in SAVED_MODELS:
        graph = places.join(directory, name)
        if places.is_file(graph):
            return Found("saved_model", places.join(directory, "variables/variables"), graph, None)
    if places.is_file(places.join(directory, state_file.NAME)):
        return _find_latest(state_file.read(directory))
    prefixes = prefixes_in(directory)
    if len(prefixes) == 1:
        return _checkpoint(prefixes[0])
    if not prefixes:
        raise errors.NotFoundError(f"there is no checkpoint in {printable(directory)!r}")
    shown = names([printable(places.split(prefix)[1]) for prefix in prefixes], 5)
    raise errors.NotFoundError(
        f"{printable(directory)!r} has no state file and {count(len(prefixes), 'checkpoint')}: "
        f"{shown}. Name one"
    )


def _find_latest(state: state_file.State) -> Found:
    if not state.latest:
        raise errors.DamagedError(f"{printable(state.path)!r} names no latest checkpoint")
    if not places.is_file(state.latest + ".index") and not v1.files_of(state.latest):
        raise errors.NotFoundError(
            f"{printable(state.path)!r} names {printable(state.latest)!r}, which does not exist"
            f"{_moved(state)}"
        )
    _refuse_copy(state)
    return _checkpoint(state.latest, state)


def _refuse_copy(state: state_file.State) -> None:
    """Refuses a copied directory whose state file still names the checkpoint it was copied from."""
    here = _beside(state)
    if not here or places.is_same_directory(*(places.split(p)[0] for p in (here, state.latest))):
        return
    raise errors.ArgumentError(
        f"{printable(state.path)!r} names {printable(state.latest)!r} in another directory, and there "
        f"is {printable(here)!r} beside it. Name one of them, or have `autodist repair --write` write "
        "the state file anew"
    )


def _moved(state: state_file.State) -> str:
    """What to do where the files came from another machine, with their directory's old path."""
    here = _beside(state)
    if not here:
        return ""
    return (
        f". There is {printable(here)!r}: name it, or have `autodist repair --write` write the state "
        "file anew"
    )


def _beside(state: state_file.State) -> str:
    """The checkpoint beside a state file that has the name of the latest one elsewhere; `''`: none."""
    directory, name = places.split(state.path)[0], places.split(state.latest)[1]
    here = places.join(directory, name)
    is_there = name and (places.is_file(here + ".index") or v1.files_of(here))
    return here if is_there and here != state.latest else ""


def _find_file(path: str) -> Found:
    directory, name = places.split(path)
    if name in SAVED_MODELS:
        return _find_in(directory)
    if name.endswith(".meta"):
        return Found("meta", "", path, None)
    # One that lost its end has its graph beside it.
    if v1.is_table(path) or places.is_file(path + ".meta"):
        return _checkpoint(path)
    try:
        return _find_latest(state_file.read(directory, name))
    except errors.DamagedError as error:
        raise errors.NotFoundError(
            f"{printable(path)!r} is no checkpoint, SavedModel, .meta file or state file"
            f"{other_files.known_as(path)}"
        ) from error


def _suggestion(path: str) -> str:
    directory, name = places.split(path)
    text = f"there is no checkpoint {printable(path)!r}"
    if not places.is_directory(directory):
        return text
    near = [
        prefix
        for prefix in prefixes_in(directory)
        if places.split(prefix)[1].startswith(name) and prefix != path
    ]
    return f"{text}. There is {printable(near[-1])!r}" if near else text
