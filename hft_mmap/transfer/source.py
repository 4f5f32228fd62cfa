"""The bytes of a file or of standard input, decompressed on the way, and how far they were read."""

import gzip
import io
import os
import select
import stat
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from hft_mmap.transfer.errors import Interrupted, UnreadableFile
from hft_mmap.transfer.formats import STANDARD_STREAM, compression_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STANDARD_INPUT = "standard input"
_BUFFER_BYTES = 1 << 16
_LOOK_MS = 100
"""How often a read that waits looks whether somebody still wants it."""


class Stream(Protocol):
    """What readers need of a stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


class _Counted(io.RawIOBase):
    """A file whose reads are counted, for another thread to look at."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as the file does."""
        data = self._file.read(size) or b""
        self.count += len(data)
        return data

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read as the file does."""
        count = self._file.readinto(buffer) or 0
        self.count += count
        return count


class _Waiting(io.RawIOBase):
    """A pipe, a terminal or the like, read only when there is something to read: a wait ends when it is abandoned."""

    def __init__(self, fd: int, abandoned: threading.Event) -> None:
        super().__init__()
        self._fd = fd
        self._abandoned = abandoned
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what is there, at least a byte but at the end; Interrupted if it was abandoned before."""
        while not self._poll.poll(_LOOK_MS):
            if self._abandoned.is_set():
                raise Interrupted("nobody takes any more")
        return os.readv(self._fd, [buffer])


class Source:
    """One input. `name` is what messages call it; `done` goes from 0 to 1 as far as its length is known.

    `stamp` is size and time of change (ns) of a file, by which a later import tells whether it is still the same; None
    for what can be read only once.
    """

    def __init__(self, given: str) -> None:
        """Take a path, or "-" for standard input. Nothing is opened yet."""
        self.given = given
        self.is_stream = given == STANDARD_STREAM
        self.name = STANDARD_INPUT if self.is_stream else given
        self.compression = None if self.is_stream else compression_of(given)
        self.size: int | None = None
        self.stamp: list[int] | None = None
        self._file: tuple[int, int] | None = None
        self.rows_done: float | None = None
        self._counted: _Counted | None = None
        self._abandoned = threading.Event()

    def check(self) -> None:
        """Make sure that the file is there and can be read; UnreadableFile."""
        if self.is_stream:
            return
        try:
            with open(self.given, "rb") as file:  # noqa: PTH123 - the name as the user gave it
                status = os.fstat(file.fileno())
        except OSError as error:
            raise UnreadableFile(f"{self.name}: {error.strerror}") from error
        if stat.S_ISREG(status.st_mode):  # a pipe has no size
            self.size = status.st_size
            self.stamp = [status.st_size, status.st_mtime_ns]
            self._file = (status.st_dev, status.st_ino)

    def check_whole(self) -> None:
        """Make sure, behind the last row, that the file did not get shorter meanwhile; UnreadableFile."""
        if self.size is None:
            return
        try:
            status = os.stat(self.given)
        except OSError:
            return  # it was removed, and read to its end
        if (status.st_dev, status.st_ino) == self._file and status.st_size < self.size:
            raise UnreadableFile(
                f"{self.name}: got shorter while it was read, from {self.size} bytes to {status.st_size}: rows may be "
                f"missing"
            )

    def abandon(self) -> None:
        """End a read that waits for a pipe: nobody takes any more."""
        self._abandoned.set()

    @property
    def done(self) -> float | None:
        """How much of it was read, from 0 to 1; None where nobody knows."""
        if self.rows_done is not None:
            return self.rows_done
        return min(self._counted.count / self.size, 1.0) if self._counted and self.size else None

    def path(self, what: str) -> str:
        """Return the path, for a format that is read from several places; UnreadableFile for a stream."""
        if self.is_stream or self.compression:
            raise UnreadableFile(
                f"{self.name}: {what} is not read from front to back, so it can come neither from a pipe nor "
                f"compressed as a whole: give the file itself"
            )
        return self.given

    @contextmanager
    def opened(self) -> Iterator[Stream]:
        """Yield the stream of its bytes, decompressed; UnreadableFile for whatever goes wrong with them."""
        try:
            if self.is_stream:
                yield self._standard_input()
                return
            with open(self.given, "rb", buffering=0) as file:  # noqa: PTH123 - the name as the user gave it
                raw: io.RawIOBase | io.BufferedReader
                if self.size is None:
                    raw = self._waiting(file.fileno())
                else:
                    raw = self._counted = _Counted(file)
                if self.compression == "gzip":
                    with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                        yield stream
                elif self.compression == "zstd":
                    with zstd.ZstdFile(raw) as stream:
                        yield stream
                else:
                    yield raw
        except (EOFError, zlib.error, zstd.ZstdError) as error:
            raise UnreadableFile(f"{self.name}: {error}") from error
        except OSError as error:
            raise UnreadableFile(f"{self.name}: {error.strerror or error}") from error

    def _standard_input(self) -> Stream:
        try:
            fd = sys.stdin.fileno()
        except (OSError, ValueError):
            return sys.stdin.buffer  # a program has put something else there
        return self._waiting(fd)

    def _waiting(self, fd: int) -> io.BufferedReader:
        # Buffered: Arrow takes a short read for the end.
        return io.BufferedReader(_Waiting(fd, self._abandoned), _BUFFER_BYTES)
