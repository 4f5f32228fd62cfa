"""The head file of a series: 4,096 bytes that say what the series is and how far it goes.

=======  =====  ==========================================================================================
offset   bytes  what
=======  =====  ==========================================================================================
0        512    identity: magic, format version, fan-out, chunk size, series id, creation time, symbol, CRC, columns
512      512    live words: total, start, boot id (2 words), boot clock, flags; one aligned 8-byte store each
1024     512    commit slot 0: sequence, total, start, source position, boot id, boot clock, flags, CRC
2048     512    commit slot 1
=======  =====  ==========================================================================================

Live words are stored through a shared mapping and are seen by every process at once; they survive the death of the
process. Commit slots are written in turn with pwrite and made durable by fdatasync; they survive the death of the
machine. Each block lies in a 512-byte sector of its own, so that a torn sector spoils one block only.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_OFD_SETLK, F_RDLCK, F_WRLCK, fcntl
from pathlib import Path
from typing import TypeVar

import numpy as np

from hft_mmap.errors import FormatError, SeriesBusy
from hft_mmap.files.blocks import (
    Commit,
    Decoded,
    Identity,
    commit_in,
    decode_identity,
    encode_commit,
    encode_identity,
    settled_of,
)
from hft_mmap.files.boot import Boot
from hft_mmap.files.disk import write_fully
from hft_mmap.files.live import LiveWords
from hft_mmap.files.locks import HOW_TO_FIND_THE_HOLDER, UNLOCKED_SLOTS, attempts, try_lock_slots
from hft_mmap.files.marks import is_behind
from hft_mmap.files.memory import identity_of, keep_in_memory, mapped, mapped_path, open_again
from hft_mmap.files.names import directory_name
from hft_mmap.tree.words import (
    BOOT_CLOCK,
    BOOT_ID,
    EPOCH,
    FLAGS,
    FLAGS_CHECK,
    HEAD_BYTES,
    HOME,
    LIVE_OFFSET,
    NEWEST,
    RING,
    SETTLED,
    START,
    TOTAL,
)

HEAD_NAME = "head"
RENAMED_NAME = "head.renamed"
"""The head of a series under its next name: it counts from the moment on at which the directory has that name."""
SLOT_OFFSETS = (1024, 2048)

_T = TypeVar("_T")
_HOLDER = "holder"
_WRITTEN_AFTER_S = 0.002
"""For so long a head that is not sound is looked at again: it may be written at this moment."""


def belongs_to(identity: Identity, directory: Path) -> bool:
    """Say whether a series of this identity lives in `directory`, by the names of both."""
    return directory_name(identity.symbol) == directory.name


def identity_in(directory: Path) -> Identity:
    """Return what the series in `directory` is, by its head; FormatError, OSError."""
    head = Head(directory, writable=False)
    try:
        return head.identity
    finally:
        head.close()


def identity_of_bytes(read: Callable[[], bytes]) -> Identity:
    """Return the identity in what `read` returns, read again for a moment where it is not sound. FormatError.

    The first batch of another process may be about to choose the columns of its series.
    """
    for _ in attempts(_WRITTEN_AFTER_S):
        with suppress(FormatError):
            return decode_identity(read())
    return decode_identity(read())


class Head(LiveWords):
    """An open head file. Not locked: the series that owns it decides who may write, and when."""

    __slots__ = (
        "_decoded", "_lock_type", "_turn", "address", "device", "fd", "identity", "inode", "path", "rests", "wait_s",
    )  # fmt: skip

    def __init__(self, directory: Path, *, writable: bool, name: str | None = None) -> None:
        """Open and check the head in `directory`; FormatError if it is not a sound head file.

        A rename that was cut short leaves two heads in the directory: then it is the one that has the name of it, or
        the file `name`.
        """
        self._lock_type = F_WRLCK if writable else F_RDLCK
        self._turn: dict[str, object] = {}
        self._decoded: Decoded = {}
        self.wait_s: float | None = None
        self.fd = -1
        self.rests = False
        """Whether a file that is not open can be opened again: its mapping goes on."""
        try:
            self._open(directory / (name or HEAD_NAME))
            if not (name or belongs_to(self.identity, directory)) and (directory / RENAMED_NAME).exists():
                self.close()
                self._open(directory / RENAMED_NAME)
            super().__init__(np.frombuffer(mapped(self.fd, HEAD_BYTES, writable=writable), dtype=np.int64))
        except BaseException:
            self.close()
            raise
        self.address: int = self._array.ctypes.data
        if writable:
            # What a failed sync leaves in memory alone must not make way for an older head under who appends.
            keep_in_memory(self.address, HEAD_BYTES)

    def _open(self, path: Path) -> None:
        """Open the file and read what it says it is."""
        self.path = path
        self.fd = os.open(path, self._mode | os.O_CLOEXEC)
        self.identity = identity_of_bytes(lambda: os.pread(self.fd, HEAD_BYTES + 1, 0))
        self.device, self.inode = identity_of(os.fstat(self.fd))
        """The number of the file: in a copy it is another one. Asked once: a device that went away tells nothing."""

    def look_at_identity(self) -> Identity:
        """Return what the file says it is now: the columns of a series are chosen by its first batch."""
        self.identity = identity_of_bytes(self._array.tobytes)
        return self.identity

    def choose(self, identity: Identity) -> None:
        """Write what the series is anew: its columns, as long as no point was published; that prices may be negative.

        The whole sector, in one write. The caller is `committing`, and syncs it before such a point is published.
        OSError.
        """
        write_fully(self.fd, encode_identity(identity).ljust(LIVE_OFFSET, b"\0"), 0)
        self.identity = identity

    @property
    def _mode(self) -> int:
        return os.O_RDWR if self._lock_type == F_WRLCK else os.O_RDONLY

    @staticmethod
    def create(
        directory: Path, identity: Identity, commit: Commit, *, live: Boot, home: bool = True, name: str = HEAD_NAME
    ) -> None:  # fmt: skip
        """Write and sync a new head with one commit into `directory`; its live words count in the boot `live`.

        home: this very file is where the series lives. Else it is for a copy that is sound by itself: whoever opens it
        first makes it so.
        """
        raw = bytearray(HEAD_BYTES)
        block = encode_identity(identity)
        raw[: len(block)] = block
        slot = encode_commit(commit)
        offset = SLOT_OFFSETS[commit.sequence % 2]
        raw[offset : offset + len(slot)] = slot
        words = np.frombuffer(raw, dtype=np.int64)
        words[TOTAL], words[START] = commit.total, commit.start
        words[BOOT_ID : BOOT_ID + 2] = np.frombuffer(live.boot_id, dtype=np.int64)
        words[BOOT_CLOCK] = live.clock_ns
        if commit.mark is not None and home:
            words[EPOCH] = commit.mark.epoch
            words[NEWEST] = 1
            words[RING + 2 : RING + 4] = commit.total, commit.mark.checksum  # without a salt
        fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            words[HOME] = os.fstat(fd).st_ino if home else 0
            words[SETTLED] = settled_of(words)
            words[FLAGS_CHECK] = ~words[FLAGS]
            write_fully(fd, raw, 0)
            os.fsync(fd)
        finally:
            os.close(fd)

    def committing(self, work: Callable[[], _T]) -> _T:
        """Return what `work` does while the commit slots and the flags are held against every other thread and process.

        Appends don't wait for it: it is another lock than the one that holds the series (flock), of the open file and
        not of the process (OFD). Who needs both takes that of the series first. SeriesBusy if another holds them for
        longer than `wait_s` (None: however long).
        """
        turn, me, fd = self._turn, object(), self.fd
        for _ in attempts(self.wait_s):
            try:
                # One call takes the turn of the threads, and no call has to be made to see who has it: see locks.py.
                if turn.setdefault(_HOLDER, me) is me and try_lock_slots(fd, self._lock_type):
                    return work()
            finally:
                if turn == {_HOLDER: me}:
                    try:
                        fcntl(fd, F_OFD_SETLK, UNLOCKED_SLOTS)
                    finally:
                        turn.clear()
        raise SeriesBusy(f"the commit slots of {self.path} are held by another process; {HOW_TO_FIND_THE_HOLDER}")

    def commits(self) -> list[Commit]:
        """Return the valid commits, newest first; while it rests, as memory has them, which is the same."""
        whole = os.pread(self.fd, HEAD_BYTES, 0) if self.fd >= 0 else self._array.tobytes()
        found = [commit_in(whole, offset, self._decoded) for offset in SLOT_OFFSETS]
        return sorted((commit for commit in found if commit is not None), key=lambda one: one.sequence, reverse=True)

    def write_commit(self, commit: Commit) -> Commit:
        """Write `commit` with the next sequence into the older slot and return it as written; not yet synced.

        A commit never goes back: where the newest slot already holds more points, or a later start, that stands. Nor
        does its mark, where the checksums began anew after this commit was begun.
        """
        newest = self.commits()[:1]
        sequence = newest[0].sequence + 1 if newest else 1
        if newest:
            if newest[0].total > commit.total or is_behind(commit.mark, newest[0].mark):
                commit = commit._replace(
                    total=max(newest[0].total, commit.total),
                    mark=newest[0].mark if newest[0].total >= commit.total else None,
                )
            commit = commit._replace(start=max(commit.start, newest[0].start))
        commit = commit._replace(sequence=sequence)
        write_fully(self.fd, encode_commit(commit), SLOT_OFFSETS[sequence % 2])
        return commit

    def begin_slots(self, commit: Commit) -> None:
        """Put `commit` into both slots, whatever they hold, each synced by itself. OSError."""
        newest = self.commits()[:1]
        sequence = newest[0].sequence if newest else 0
        for later in (1, 2):
            number = sequence + later
            write_fully(self.fd, encode_commit(commit._replace(sequence=number)), SLOT_OFFSETS[number % 2])
            os.fdatasync(self.fd)

    def write_newest_again(self) -> None:
        """Write the newest commit as it is, so that the next sync puts it on the disk. OSError."""
        for commit in self.commits()[:1]:
            write_fully(self.fd, encode_commit(commit), SLOT_OFFSETS[commit.sequence % 2])

    def __del__(self) -> None:
        """Close the file of a store that was dropped without a close (`fd` is missing if it was never opened)."""
        if getattr(self, "fd", -1) >= 0:
            self.close()

    @property
    def closed(self) -> bool:
        """Whether the file was closed for good."""
        return self.fd < 0 and not self.rests

    def rest(self) -> None:
        """Close the file until `wake`. Nobody may hold it or be committing, and no slot may wait for its sync."""
        self.rests = True
        fd, self.fd = self.fd, -1  # before it is closed: an interrupt must not leave the number of what is opened next
        if fd >= 0:
            os.close(fd)

    def wake(self) -> None:
        """Open the file again after a `rest`, also where it was moved to. OSError; FileNotFoundError: it is gone."""
        self.fd = open_again(self.path, self._mode, (self.device, self.inode), self.address, HEAD_BYTES)

    @property
    def has_name(self) -> bool:
        """Whether the file has a name, also in a directory that was moved; False if the system won't tell. OSError."""
        if self.fd >= 0:
            return bool(os.fstat(self.fd).st_nlink)
        path = mapped_path(self.address, HEAD_BYTES)
        with suppress(FileNotFoundError, NotADirectoryError):
            return path is not None and identity_of(os.stat(path)) == (self.device, self.inode)
        return False

    def detach(self) -> None:
        """Go on with words of its own, which say that there are no points, as the file is gone; unmap it.

        The file stays open where it is, and is not opened again. Whoever has taken the words keeps the mapping.
        """
        self.rests = False
        array = self._array.copy()
        array[START] = array[TOTAL]
        super().__init__(array)
        self.address = array.ctypes.data

    def close(self) -> None:
        """Close the file, if it is open; the mapping goes when its last reader does."""
        self.rests = False
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
