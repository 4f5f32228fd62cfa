"""A disk that has lost its power: which files a directory may hold, given the system calls made until then.

What an fsync covered is there. Of everything later, each sector of 512 bytes holds what it held at some moment since,
each for itself (dropped, reordered and torn writes are all among these), a file's size likewise, and a name in a
directory is there or not, old or new, until the directory is synced. The live words of a head are stored through a
mapping, which no tracer sees: they hold anything.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from hft_mmap.files.head import HEAD_NAME
from hft_mmap.tree.words import HEAD_BYTES, HOME, LIVE_OFFSET
from tests.torture.tracing import Call

SECTOR = 512
NOTHING, EVERYTHING, UNTIL, EACH = range(4)
"""How much of what was not synced is on the disk: nothing, all, all until a moment, or each part for itself."""


@dataclass(slots=True, eq=False)
class Change:
    """A write at `offset`, or with no data a new size of `offset`; done: the call has returned."""

    offset: int
    data: bytes
    done: bool = False


@dataclass(slots=True, eq=False)
class FileNode:
    """A file: what is on the disk for certain, and the changes since."""

    synced: bytearray = field(default_factory=bytearray)
    changes: list[Change] = field(default_factory=list)
    hardened: int = 0

    def mark(self) -> int:
        """Return how many changes an fsync that begins now will cover."""
        covered = next((i for i, change in enumerate(self.changes) if not change.done), len(self.changes))
        return self.hardened + covered

    def harden(self, mark: int) -> None:
        """Put the changes up to `mark` on the disk."""
        while self.hardened < mark:
            change = self.changes.pop(0)
            self.hardened += 1
            apply(self.synced, change.offset, change.data)

    def after_crash(self, generator: np.random.Generator) -> bytearray:
        """Return what the file may hold."""
        content = bytearray(self.synced)
        n = len(self.changes)
        extent = int(generator.integers(4))
        if not n or extent == NOTHING:
            return content
        until = n if extent == EVERYTHING else int(generator.integers(n + 1))
        reached: dict[int, int] = {}
        size = len(content)
        size_reached = int(generator.integers(n + 1)) if extent == EACH else until
        for i, change in enumerate(self.changes):
            if i < size_reached:
                size = max(size, change.offset + len(change.data)) if change.data else change.offset
            begin, end = change.offset, change.offset + len(change.data)
            while begin < end:
                sector = begin // SECTOR
                stop = min(end, (sector + 1) * SECTOR)
                if extent == EACH and sector not in reached:
                    reached[sector] = int(generator.integers(n + 1))
                if i < reached.get(sector, until):
                    apply(content, begin, change.data[begin - change.offset : stop - change.offset])
                begin = stop
        apply(content, size, b"")
        return content


def apply(content: bytearray, offset: int, data: bytes) -> None:
    """Write `data` at `offset`, or with no data set the size to `offset`."""
    missing = offset - len(content)
    if missing > 0:
        content.extend(bytes(missing))
    if data:
        content[offset : offset + len(data)] = data
    else:
        del content[offset:]


@dataclass(slots=True, eq=False)
class DirectoryNode:
    """A directory: the names on the disk for certain, and what was done to names since, one dict a call."""

    synced: "dict[str, Node]" = field(default_factory=dict)
    changes: "list[dict[str, Node | None]]" = field(default_factory=list)
    hardened: int = 0

    def current(self) -> "dict[str, Node]":
        """Return what a running process sees."""
        return named(self.synced, self.changes)

    def mark(self) -> int:
        """Return how many changes an fsync that begins now will cover."""
        return self.hardened + len(self.changes)

    def harden(self, mark: int) -> None:
        """Put the changes up to `mark` on the disk."""
        while self.hardened < mark:
            self.synced = named(self.synced, [self.changes.pop(0)])
            self.hardened += 1

    def after_crash(self, generator: np.random.Generator) -> "dict[str, Node]":
        """Return the names that may be there; changes of the same name happen in order, others in any."""
        n = len(self.changes)
        extent = int(generator.integers(4))
        if not n or extent == NOTHING:
            return self.synced
        if extent != EACH:
            return named(self.synced, self.changes[: n if extent == EVERYTHING else int(generator.integers(n + 1))])
        kept, stuck = [], set[str]()
        for change in self.changes:
            if stuck.isdisjoint(change) and generator.integers(2):
                kept.append(change)
            else:
                stuck |= change.keys()
        return named(self.synced, kept)


Node: TypeAlias = FileNode | DirectoryNode


def named(names: dict[str, Node], changes: list[dict[str, Node | None]]) -> dict[str, Node]:
    """Return `names` after `changes`; None takes a name away."""
    result: dict[str, Node | None] = dict(names)
    for change in changes:
        result |= change
    return {name: node for name, node in result.items() if node is not None}


def loaded(path: Path) -> Node:
    """Return a file or a directory as it is, all of it on the disk."""
    if path.is_dir():
        return DirectoryNode({entry.name: loaded(entry) for entry in path.iterdir()})
    return FileNode(bytearray(path.read_bytes()))


class Disk:
    """Everything below one directory, as the calls that are played to it leave it."""

    def __init__(self, root: Path) -> None:
        """Begin with what is there now, synced."""
        self._root = root
        self._top = loaded(root)
        self._open: dict[int, Node] = {}
        self._under_way: dict[int, tuple[Node, int] | Change] = {}

    def _find(self, path: str) -> tuple[DirectoryNode, str] | None:
        """Return the directory that holds `path`, and its name there; None if it is not on this disk."""
        pure = PurePosixPath(path)
        if not pure.is_relative_to(self._root) or pure == PurePosixPath(self._root):
            return None
        node = self._top
        *parents, name = pure.relative_to(self._root).parts
        for parent in parents:
            assert isinstance(node, DirectoryNode)
            node = node.current()[parent]
        assert isinstance(node, DirectoryNode)
        return node, name

    def begin(self, call: Call) -> None:
        """Take note of a call that begins: from now on its data may be on the disk."""
        if call.name == "close":
            self._open.pop(call.fd, None)
            return
        node = self._open.get(call.fd) if call.name in {"pwrite64", "ftruncate", "fsync", "fdatasync"} else None
        if node is None:
            return
        if call.name in {"fsync", "fdatasync"}:
            self._under_way[id(call)] = (node, node.mark())
            return
        assert isinstance(node, FileNode)
        write = call.name == "pwrite64"
        change = Change(int(call.arguments[-1]), call.strings[0] if write else b"")
        node.changes.append(change)
        self._under_way[id(call)] = change

    def end(self, call: Call) -> None:
        """Take note of what a call has done."""
        under_way = self._under_way.pop(id(call), None)
        if isinstance(under_way, Change):
            assert call.result == len(under_way.data), "a recorded write was short"
            under_way.done = True
        elif under_way is not None:
            under_way[0].harden(under_way[1])
        elif call.strings and call.result is not None and call.result >= 0 and call.name != "write":
            if call.path == str(self._root):
                self._open[call.result] = self._top
            elif (place := self._find(call.path)) is not None:
                self._name(call, *place)

    def _name(self, call: Call, directory: DirectoryNode, name: str) -> None:
        """Do what a call does to names."""
        present = directory.current().get(name)
        if call.name == "openat":
            if present is None:
                present = FileNode()
                directory.changes.append({name: present})
            assert call.result is not None
            self._open[call.result] = present
        elif call.name == "mkdir":
            directory.changes.append({name: DirectoryNode()})
        elif call.name == "rename":
            target = self._find(call.strings[1].decode())
            assert target is not None
            assert target[0] is directory, "renames of hft_mmap stay within a directory"
            directory.changes.append({name: None, target[1]: present})
        else:
            directory.changes.append({name: None})

    def crash(self, generator: np.random.Generator, target: Path, *, any_words: bool = True) -> None:
        """Make `target` a directory that holds what the disk may hold if the power is cut now.

        any_words: the live words hold anything. Else they hold what was recorded of them.
        """
        _write(self._top, generator, target, any_words=any_words)
        stay_at_home(target)


def stay_at_home(directory: Path) -> None:
    """Have every head below `directory` say that it was written in this very file: a disk keeps its files' numbers."""
    for head in directory.rglob(HEAD_NAME):
        if head.stat().st_size == HEAD_BYTES:
            with head.open("r+b") as file:
                file.seek(8 * HOME)
                file.write(os.fstat(file.fileno()).st_ino.to_bytes(8, "little"))


def _write(node: Node, generator: np.random.Generator, target: Path, *, any_words: bool) -> None:
    if isinstance(node, DirectoryNode):
        target.mkdir()
        for name, below in node.after_crash(generator).items():
            _write(below, generator, target / name, any_words=any_words)
        return
    content = node.after_crash(generator)
    if any_words and target.name == HEAD_NAME and len(content) > LIVE_OFFSET:
        kind = int(generator.integers(3))
        words = generator.integers(0, 1 << 62, 6) if kind else np.zeros(6, dtype=np.int64)
        if kind == EVERYTHING:
            words[:2] = generator.integers(0, 10_000, 2)
        content[LIVE_OFFSET : LIVE_OFFSET + words.nbytes] = words.tobytes()
    target.write_bytes(content)
