"""What an import has to remember, so that it can go on where it was cut off: where each series stood before it.

A file of JSON lines, locked for as long as the import runs. Nothing in it is ever changed, and each line is on the
disk before the points that depend on it are written. How far an import got is nowhere noted: the series themselves
say it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from hft_mmap.files.disk import make_directory, sync_directory
from hft_mmap.transfer.errors import ImportConflict

FINISHED_KEPT = 10_000
"""Journals of finished imports that are kept, so that a late --resume finds that nothing is left to do.

As many as files are imported one by one in a loop that is run again; 4 KiB each on most disks.
"""

Stamp = list[int] | None
"""Size and time of change (ns) of a file that was imported; None for what could be read only once."""


def _as_json(value: Mapping[str, object]) -> bytes:
    """Return a value as JSON, also where the name of a file in it is no UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:  # the name is there to be compared and looked at, so an escape will do
        text = json.dumps(value, ensure_ascii=False)
        return text.encode("utf-8", errors="backslashreplace").replace(b"\\udc", b"\\\\udc")


class Journal:
    """The journal of one import: the same files into the same series have the same one."""

    def __init__(self, directory: Path, identity: Mapping[str, object]) -> None:
        """Open it, made if it is missing, and lock it. ImportConflict if another process has it."""
        make_directory(directory)
        name = hashlib.sha256(_as_json(dict(sorted(identity.items())))).hexdigest()[:24]
        self.path = directory / f"{name}.jsonl"
        self.bases: dict[str, int] = {}
        self.totals: dict[str, int] | None = None
        self.stamps: list[Stamp] = []
        self._identity = dict(identity)
        fd = None
        while fd is None:  # it was removed between the opening and the lock
            fd = _locked(self.path, os.O_CREAT)
        self._fd = fd
        try:
            self._read()
            sync_directory(directory)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def started(self) -> bool:
        """Whether an import was begun and did not come to its end."""
        return bool(self.bases) and self.totals is None

    def _read(self) -> None:
        for line in self.path.read_bytes().splitlines():
            try:
                entry: dict[str, Any] = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # cut off while it was written, so nothing that depends on it was
            self.bases |= entry.get("bases", {})
            self.totals = entry.get("totals", self.totals)
            self.stamps = entry.get("stamps", self.stamps)

    def begin(self) -> None:
        """Forget everything: a new import begins."""
        os.ftruncate(self._fd, 0)
        self.bases, self.totals, self.stamps = {}, None, []
        self._write({"import": self._identity})

    def note(self, bases: Mapping[str, int]) -> None:
        """Keep where series stand before the first point of this import; on the disk when this returns."""
        self._write({"bases": dict(bases)})
        self.bases |= bases

    def finish(self, totals: Mapping[str, int], stamps: Sequence[Stamp]) -> None:
        """Keep that everything is imported, and of which state of the files (`Source.stamp`).

        Removes the oldest journals of finished imports beyond FINISHED_KEPT.
        """
        self._write({"totals": dict(totals), "stamps": list(stamps)})
        self.totals, self.stamps = dict(totals), list(stamps)
        _prune(self.path.parent)

    def _write(self, entry: Mapping[str, object]) -> None:
        # A line end first: what a crash has cut off stays a line of its own.
        os.write(self._fd, b"\n" + _as_json(entry) + b"\n")
        os.fsync(self._fd)

    def close(self) -> None:
        """Let others have it, and remove it where no point depends on it; again is nothing."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if not self.bases and self.totals is None:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        """Let others have it."""
        self.close()


def _locked(path: Path, flags: int = 0) -> int | None:
    """Open a journal and lock it; None if it is gone by then. ImportConflict if another process has it."""
    with ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(fd), path.stat()):
                return None
        except BlockingIOError as error:
            message = "another process is importing these files into these series at this moment"
            raise ImportConflict(message) from error
        except FileNotFoundError:
            return None
        stack.pop_all()  # whoever removes a journal has its lock: with this one the name stays
        return fd


def _prune(directory: Path) -> None:
    """Remove the oldest finished journals beyond FINISHED_KEPT; those of imports that run or were cut off stay."""
    with os.scandir(directory) as entries:
        paths = [directory / entry.name for entry in entries if entry.name.endswith(".jsonl")]
    surplus = len(paths) - FINISHED_KEPT
    if surplus <= 0:
        return
    for path in sorted(paths, key=_changed_ns):
        with suppress(ImportConflict), ExitStack() as stack:
            fd = _locked(path)
            if fd is None:
                continue
            stack.callback(os.close, fd)
            if b'\n{"totals":' in path.read_bytes():
                path.unlink()
                surplus -= 1
                if not surplus:
                    return


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another import has removed it
        return 0
