"""The bytes of a file or of standard input, decompressed on the way, and how far they were read."""

import bz2
import gzip
import io
import lzma
import os
import select
import stat
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from hft_mmap.transfer.errors import Interrupted, UnreadableFile
from hft_mmap.transfer.formats import MAGIC_BYTES, STANDARD_STREAM, compression_by_magic, compression_of, speakable
from hft_mmap.transfer.look import Look

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


class Headed(io.RawIOBase):
    """A stream of which the first bytes were read already."""

    def __init__(self, head: bytes, stream: Stream) -> None:
        super().__init__()
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return what was read already, then what the stream has."""
        if not self._head:
            return self._stream.read(size)
        end = len(self._head) if size < 0 else size
        some, self._head = self._head[:end], self._head[end:]
        return some

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read as the stream does."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


class _Counted(io.RawIOBase):
    """A file whose reads are counted, for another thread to look at."""

    def __init__(self, file: io.FileIO | IO[bytes]) -> None:
        super().__init__()
        self._file: Any = file
        self.count = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as the file does."""
        data: bytes = self._file.read(size) or b""
        self.count += len(data)
        return data

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read as the file does."""
        count: int = self._file.readinto(buffer) or 0
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


_DECOMPRESSED: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"), "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile,
    "zstd": zstd.ZstdFile,
}  # fmt: skip


class Source:
    """One input. `name` is what messages call it; `done` goes from 0 to 1 as far as its length is known.

    member: of a ZIP archive. folders: what the names of the folders above it say ("symbol=AAPL"). `stamp` is size and
    time of change (ns) of a file, by which a later import tells whether it is still the same; None for what can be read
    only once. `format` tells its reader. `look` is what that has found out about it.
    """

    def __init__(self, given: str, member: str | None = None, folders: Mapping[str, str] | None = None) -> None:
        """Take a path, or "-" for standard input. Nothing is opened yet."""
        self.given = given
        self.member = member
        self.folders = dict(folders or {})
        self.is_stream = given == STANDARD_STREAM
        self.format = ""
        self.name = STANDARD_INPUT if self.is_stream else speakable(given if member is None else f"{given}:{member}")
        self.plain_name = given if member is None else member
        self.compression = None if self.is_stream else compression_of(self.plain_name)
        self.look = Look(self.name)
        self.size: int | None = None
        self.stamp: list[int] | None = None
        self._length: int | None = None
        self._file: tuple[int, int] | None = None
        self.rows_done: float | None = None
        self._counted: _Counted | None = None
        self._abandoned = threading.Event()

    @property
    def can_be_read_again(self) -> bool:
        """Whether it is a file, and nothing that gives each byte once; known after `check`."""
        return self.size is not None

    def check(self, *, by_content: bool = True) -> None:
        """Make sure that the file is there and can be read; UnreadableFile.

        by_content: its first bytes tell its compression, whatever its name says.
        """
        if self.is_stream:
            return
        try:
            with open(self.given, "rb") as file:  # noqa: PTH123 - the name as the user gave it
                status = os.fstat(file.fileno())
                regular = stat.S_ISREG(status.st_mode)
                if regular and by_content and self.member is None:
                    self.compression = compression_by_magic(file.read(MAGIC_BYTES)) or self.compression
        except OSError as error:
            raise UnreadableFile(f"{self.name}: {error.strerror}") from error
        if regular:  # a pipe has no size
            self.size = self._length = status.st_size
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
        return min(self._counted.count / self._length, 1.0) if self._counted and self._length else None

    def path(self, what: str) -> str:
        """Return the path, for a format that is read from several places; UnreadableFile for a stream."""
        if self.is_stream or self.compression or self.member is not None:
            raise UnreadableFile(
                f"{self.name}: {what} is not read from front to back, so it can come neither from a pipe nor "
                f"compressed as a whole: give the file itself"
            )
        return self.given

    @contextmanager
    def opened(self) -> Iterator[Stream]:
        """Yield the stream of its bytes, decompressed; UnreadableFile for whatever goes wrong with them."""
        try:
            with ExitStack() as stack:
                raw: Any = self._raw(stack)
                if self.compression is not None:
                    raw = stack.enter_context(_DECOMPRESSED[self.compression](raw))
                yield raw
        except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile) as error:
            raise UnreadableFile(f"{self.name}: {error}") from error
        except OSError as error:
            raise UnreadableFile(f"{self.name}: {error.strerror or error}") from error

    def _raw(self, stack: ExitStack) -> io.RawIOBase | io.BufferedReader | Stream:
        """Open it; it is closed with `stack`."""
        if self.is_stream:
            return self._standard_input()
        if self.member is not None:
            archive = stack.enter_context(zipfile.ZipFile(self.given))
            try:
                member = stack.enter_context(archive.open(self.member))
            except (RuntimeError, NotImplementedError, KeyError) as error:
                raise UnreadableFile(f"{self.name}: {error}; unpack the archive") from error
            self._length = archive.getinfo(self.member).file_size
            self._counted = _Counted(member)
            return self._counted
        file = stack.enter_context(io.FileIO(self.given))
        if self.size is None:
            return self._waiting(file.fileno())
        self._counted = _Counted(file)
        return self._counted

    def _standard_input(self) -> Stream:
        try:
            fd = sys.stdin.fileno()
        except (OSError, ValueError):
            return sys.stdin.buffer  # a program has put something else there
        return self._waiting(fd)

    def _waiting(self, fd: int) -> io.BufferedReader:
        # Buffered: Arrow takes a short read for the end.
        return io.BufferedReader(_Waiting(fd, self._abandoned), _BUFFER_BYTES)
