"""The bytes of a text file as UTF-8: other encodings translated, lines that are no rows left out."""

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.look import Choice
from hft_mmap.transfer.source import Headed, Source, Stream
from hft_mmap.transfer.wanted import Wanted

HEAD_BYTES = 1 << 16
"""Bytes that are looked at for the encoding."""
_PIECE_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 26
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
UTF8 = "UTF-8"
LATIN1 = Choice("--encoding latin-1", "Western European (Latin-1)", "encoding", "latin-1")


class _Pieces:
    """A stream of what an iterator yields."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        some, self._rest = self._rest[:size], self._rest[size:]
        return some


@contextmanager
def opened_text(source: Source, wanted: Wanted) -> Iterator[Stream]:
    """Yield the text of a source in UTF-8, without the lines that `wanted` leaves out; UnreadableFile.

    What is no UTF-8 and was not said to be anything else is handed on as it is: cells that nobody reads may hold
    whatever they want.
    """
    with source.opened() as raw:
        head = raw.read(HEAD_BYTES)
        while len(head) < HEAD_BYTES and (more := raw.read(HEAD_BYTES - len(head))):
            head += more
        stream: Stream = Headed(head, raw)
        encoding = _encoding(source, head, wanted)
        source.look.encoding = UTF8 if encoding is None else encoding
        if encoding is None and not _is_utf8(head):
            source.look.encoding = None
        if encoding is not None:
            stream = _Pieces(_translated(source, stream, encoding))
        if wanted.skip_rows or wanted.comment is not None:
            stream = _Pieces(_rows_only(source, stream, wanted))
        yield stream


def _is_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8, but for a character that is cut at their end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _encoding(source: Source, head: bytes, wanted: Wanted) -> str | None:
    """Return what text has to be translated from; None: nothing, it is UTF-8 or ASCII where that matters."""
    if wanted.encoding is not None:
        try:
            name = codecs.lookup(wanted.encoding).name
            if not codecs.lookup(name)._is_text_encoding:  # noqa: SLF001 - as open() asks
                raise LookupError  # noqa: TRY301 - the same refusal
        except LookupError:
            raise UnreadableFile(
                f"{source.name}: no encoding is called {wanted.encoding!r}: utf-8, utf-16, latin-1, windows-1252 are"
            ) from None
        return None if name in {"utf-8", "ascii"} else wanted.encoding
    for mark, name in _MARKS:
        if head.startswith(mark):
            return None if name == "utf-8" else name
    zeros = [head[place::2].count(0) for place in (0, 1)]
    if max(zeros) * 4 > len(head):
        name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        source.look.doubt(
            f"every other byte is 0, so it is no UTF-8, and it has no byte order mark: --encoding {name} reads it",
            Choice(f"--encoding {name}", "UTF-16 without byte order mark", "encoding", name),
        )
        source.look.settle()
    return None


def _translated(source: Source, stream: Stream, encoding: str) -> Iterator[bytes]:
    """Yield text in UTF-8; UnreadableFile where it is not in `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while piece := stream.read(_PIECE_BYTES):
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise UnreadableFile(f"{source.name}: is not in {encoding}: {error}") from error


def _rows_only(source: Source, stream: Stream, wanted: Wanted) -> Iterator[bytes]:
    """Yield text without the first `skip_rows` lines, and without those that begin with `comment`."""
    skip = wanted.skip_rows
    mark = re.escape(wanted.comment.encode()) if wanted.comment else None
    comments = None if mark is None else re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*" + mark + rb"[^\r\n]*(?:\r\n|\n|\r|\Z)")
    rest = b""
    while piece := stream.read(_PIECE_BYTES):
        rest += piece
        # The end of a CR may be half of a CRLF: it waits for what follows.
        end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1
        if not end and len(rest) > _MAX_LINE_BYTES:
            raise UnreadableFile(f"{source.name}: a row does not end within {_MAX_LINE_BYTES >> 20} MiB")
        lines, rest = rest[:end], rest[end:]
        skip, lines = _without_first(lines, skip)
        if comments is not None:
            lines = comments.sub(b"", lines)
        if lines:
            yield lines
    _, rest = _without_first(rest, skip)
    yield rest if comments is None else comments.sub(b"", rest)


_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|\Z)")


def _without_first(lines: bytes, count: int) -> tuple[int, bytes]:
    """Return text without its first `count` lines, and how many of them are still to be left out."""
    begin = 0
    while count and begin < len(lines):
        found = _LINE.match(lines, begin)
        begin = found.end() if found else len(lines)
        count -= 1
    return count, lines[begin:]
