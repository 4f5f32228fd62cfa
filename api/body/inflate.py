"""Compressed bodies, inflated in small steps: other requests have their turn between two, and no step passes the bound.

Steps and not a thread: 64 KiB take zlib 0.2 ms, less than handing the body over and back takes when the processor is
busy; nothing is to be stopped or waited for when the service ends; and the memory in use is what was inflated so far.
"""

import asyncio
import sys
import zlib
from collections.abc import Iterator
from http import HTTPStatus

from api.body.media import GZIP
from api.http.problems import Refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_BYTES = 65_536
"""What one step takes in and puts out at most."""
MAX_MEMBERS = 1024
"""Compressed streams that one body may consist of, one after the other, as `cat a.gz b.gz` makes them."""
_GZIP_WRAPPER = 16 + zlib.MAX_WBITS
# 8 MiB, which RFC 9659 gives to every Zstandard body of HTTP: a frame may ask its reader for a window of gigabytes.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


async def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return `body` as it was before it was compressed by `coding`.

    Raises Refusal: 413 as soon as more than `max_bytes` come out, 400 if the body is damaged, cut off, or followed by
    something else.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for part in _gunzipped(body) if coding == GZIP else _unzstded(body):
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if parts:
                await asyncio.sleep(0)
            parts.append(part)
    except (zlib.error, zstd.ZstdError) as error:
        raise _bad(f"The body is no sound {coding}: {error}") from None
    return b"".join(parts)


def _gunzipped(body: bytes) -> Iterator[bytes]:
    """Yield what comes out of each step, also when that is nothing."""
    position = 0
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP_WRAPPER)
        while not member.eof:
            data = member.unconsumed_tail
            if not data:
                data = body[position : position + STEP_BYTES]
                position += len(data)
            part = member.decompress(data, STEP_BYTES)
            if not data and not part:
                raise _cut_off(GZIP)
            yield part
        position -= len(member.unused_data)
        if position == len(body):
            return
    raise _too_many_members()


def _unzstded(body: bytes) -> Iterator[bytes]:
    """Yield what comes out of each step, also when that is nothing."""
    position = 0
    for _ in range(MAX_MEMBERS):
        frame = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
        while not frame.eof:
            data = b""
            if frame.needs_input:
                data = body[position : position + STEP_BYTES]
                position += len(data)
                if not data:
                    raise _cut_off("zstd")
            yield frame.decompress(data, STEP_BYTES)
        position -= len(frame.unused_data)
        if position == len(body):
            return
    raise _too_many_members()


def _too_large(max_bytes: int) -> Refusal:
    detail = (
        f"The body inflates to more than {max_bytes} bytes, which are allowed (server.max_body_bytes): "
        "send several batches"
    )
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _cut_off(coding: str) -> Refusal:
    return _bad(f"The body is no sound {coding}: it ends too early")


def _too_many_members() -> Refusal:
    return _bad(f"The body consists of more than {MAX_MEMBERS} compressed streams: compress it in one")


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)
