"""What a disk may hold after a power cut, from a record of the calls that were made.

A file system promises no more than this: the bytes of a file are there up to its last sync, and
the names in a directory up to that directory's last sync. Of later calls, any may have taken effect
or not: a write, or the creation, renaming or removal of a name. No such call takes effect by half.

    calls so far   create T, write T, sync T, rename T to m, (power cut)
    on disk        T complete or m complete; not m with other bytes, since T was synced

A file is known by its inode, so that renames do not matter to its bytes. The model keeps the synced
state and the list of pending calls. A state of the disk is the synced state with some of the
pending calls applied, in order.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the record, as `shim.c` writes it."""

    what: str
    directory: int
    inode: int
    second_directory: int
    second_inode: int
    offset: int
    name: str
    second_name: str
    contents: bytes


@dataclasses.dataclass
class Node:
    """A file or a directory."""

    contents: bytes = b""
    entries: dict[str, int] | None = None


Nodes = dict[int, Node]


def read_log(path: Path) -> list[Call]:
    """Reads a record."""
    calls = []
    with path.open("rb") as file:
        while line := file.readline():
            what, *numbers = line.decode().split()
            a, b, c, d, offset, first, second, size = map(int, numbers)
            name, second_name = file.read(first).decode(), file.read(second).decode()
            calls.append(Call(what, a, b, c, d, offset, name, second_name, file.read(size)))
    return calls


class Disk:
    """The synced state, and the calls that came after, while a record is played."""

    def __init__(self, snapshot: Path) -> None:
        inodes = json.loads(snapshot.with_suffix(".inodes").read_text())
        self.root: int = inodes["."]
        self._synced: Nodes = {}
        # Inode numbers are used again; each file that is created gets a key of its own.
        self._keys: dict[int, int] = {}
        self._next_key = -1
        self._pending: list[tuple[str, int, Callable[[Nodes], None]]] = []
        for relative, inode in inodes.items():
            path = snapshot / relative
            self._keys[inode] = inode
            if path.is_dir():
                entries = {
                    child.name: inodes[str(child.relative_to(snapshot))] for child in path.iterdir()
                }
                self._synced[inode] = Node(entries=entries)
            else:
                self._synced[inode] = Node(path.read_bytes())

    def play(self, call: Call) -> None:
        """Takes in the next call."""
        if call.what in {"create", "mkdir"}:
            self._make(call)
        elif call.what == "sync":
            self._sync(self._keys[call.inode])
        elif call.what == "write":
            self._data(call.inode, lambda old: _patched(old, call.offset, call.contents))
        elif call.what == "truncate":
            self._data(call.inode, lambda _: b"")
        elif call.what == "size":
            self._data(call.inode, lambda old: old[: call.offset].ljust(call.offset, b"\0"))
        else:
            self._names(call)

    def states(self, randoms: int, random_source: random.Random) -> Iterator[Nodes]:
        """Yields what the disk may hold now: everything, nothing, bytes only, names only, random choices."""
        count = len(self._pending)
        yield self._state([True] * count)
        if count == 0:
            return
        is_data = [kind == "data" for kind, _, _ in self._pending]
        chosen = {tuple([True] * count)}
        candidates = [[False] * count, is_data, [not data for data in is_data]]
        candidates += [[i != left_out for i in range(count)] for left_out in range(count)]
        candidates += [[random_source.random() < 0.5 for _ in range(count)] for _ in range(randoms)]
        for choice in candidates:
            if tuple(choice) not in chosen:
                chosen.add(tuple(choice))
                yield self._state(choice)

    def _make(self, call: Call) -> None:
        key = self._next_key
        self._next_key -= 1
        self._keys[call.inode] = key
        # Without its name in a directory, nobody finds it.
        self._synced[key] = Node(entries={} if call.what == "mkdir" else None)
        directory, name = self._keys[call.directory], call.name

        def apply(nodes: Nodes) -> None:
            _entries(nodes, directory)[name] = key

        self._pending.append(("names", directory, apply))

    def _names(self, call: Call) -> None:
        directory, name = self._keys[call.directory], call.name
        key = self._keys.get(call.inode, call.inode)
        target = self._keys.get(call.second_directory, 0)

        def apply(nodes: Nodes) -> None:
            if call.what in {"move", "unlink"}:
                _entries(nodes, directory).pop(name, None)
            if call.what in {"move", "link"}:
                _entries(nodes, target)[call.second_name] = key

        if call.what == "move" and call.inode == call.second_inode:
            return  # Two names of one file: the kernel does nothing.
        self._pending.append(("names", directory, apply))

    def _data(self, inode: int, change: Callable[[bytes], bytes]) -> None:
        key = self._keys[inode]

        def apply(nodes: Nodes) -> None:
            nodes[key].contents = change(nodes[key].contents)

        self._pending.append(("data", key, apply))

    def _sync(self, key: int) -> None:
        for _, of, apply in self._pending:
            if of == key:
                apply(self._synced)
        self._pending = [entry for entry in self._pending if entry[1] != key]

    def _state(self, choice: list[bool]) -> Nodes:
        nodes = {
            key: Node(node.contents, None if node.entries is None else dict(node.entries))
            for key, node in self._synced.items()
        }
        for is_there, (_, _, apply) in zip(choice, self._pending, strict=True):
            if is_there:
                apply(nodes)
        return nodes


def write_state(nodes: Nodes, root: int, directory: Path) -> None:
    """Puts a state of the disk into an empty directory."""
    for name, key in _entries(nodes, root).items():
        node = nodes[key]
        if node.entries is None:
            (directory / name).write_bytes(node.contents)
        else:
            (directory / name).mkdir()
            write_state(nodes, key, directory / name)


def fingerprint(nodes: Nodes, root: int) -> object:
    """Something equal for states in which the same is found."""
    return tuple(
        (name, nodes[key].contents if nodes[key].entries is None else fingerprint(nodes, key))
        for name, key in sorted(_entries(nodes, root).items())
    )


def _entries(nodes: Nodes, key: int) -> dict[str, int]:
    entries = nodes[key].entries
    assert entries is not None
    return entries


def _patched(old: bytes, offset: int, contents: bytes) -> bytes:
    return old[:offset].ljust(offset, b"\0") + contents + old[offset + len(contents) :]
