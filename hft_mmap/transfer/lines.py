"""Text in blocks of whole lines, so that each block can be parsed on its own, by any thread."""

from collections.abc import Iterator

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.source import Source, Stream

BLOCK_BYTES = 1 << 21
"""Measured: blocks from 512 KiB to 4 MiB parse equally fast, smaller ones cost calls, larger ones cold memory."""
MAX_ROW_BYTES = 1 << 26
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def end_of_rows(block: bytes, *, quotes: bool) -> int:
    """Return where the last whole line of `block` ends, 0 if none does.

    quotes: a line end inside double quotes is none. The block has to begin with a line. A lone CR ends a line too,
    but it is looked for only where there is no LF: the LF of a CRLF may be in the next block.
    """
    return _last_end(block, b"\n", quotes=quotes) or _last_end(block, b"\r", quotes=quotes)


def _last_end(block: bytes, mark: bytes, *, quotes: bool) -> int:
    """Return where the last line that ends with `mark` ends, 0 if none does."""
    end = block.rfind(mark)
    open_quotes = block.count(b'"') if quotes and end >= 0 else 0
    if not open_quotes:
        return end + 1
    limit = len(block)
    while end >= 0:
        open_quotes -= block.count(b'"', end, limit)
        if open_quotes % 2 == 0:
            return end + 1
        limit, end = end, block.rfind(mark, 0, end)
    return 0


def line_blocks(source: Source, stream: Stream, *, quotes: bool) -> Iterator[bytes]:
    """Yield the bytes of `stream` in blocks of whole lines; the last line needs no end. A byte order mark is left out.

    A text that fits into one block is one, so that whoever looks at the first sees all of it. UnreadableFile for a line
    of more than MAX_ROW_BYTES.
    """
    rest = b""
    begin = True
    ended = False
    while not ended:
        piece, ended = _piece(stream)
        block = rest + piece if rest else bytes(piece)
        if begin and len(block) >= len(BYTE_ORDER_MARK):
            block = block.removeprefix(BYTE_ORDER_MARK)
            begin = False
        end = 0 if ended else end_of_rows(block, quotes=quotes)
        if end:
            yield block[:end]
            rest = block[end:]
        else:
            rest = block
        if len(rest) > MAX_ROW_BYTES:
            hint = ": is a double quote never closed" if quotes else ""
            raise UnreadableFile(f"{source.name}: a row does not end within {MAX_ROW_BYTES >> 20} MiB{hint}")
    if rest.removeprefix(BYTE_ORDER_MARK):
        yield rest.removeprefix(BYTE_ORDER_MARK) if begin else rest


def _piece(stream: Stream) -> tuple[bytes, bool]:
    """Return the next BLOCK_BYTES of a stream, and whether it has ended, with less of them then."""
    piece = stream.read(BLOCK_BYTES)
    while len(piece) < BLOCK_BYTES:
        more = stream.read(BLOCK_BYTES - len(piece))
        if not more:
            return piece, True
        piece += more
    return piece, False
