"""Pseudo-random bytes that look like HTTP: words of it in any order, with bytes between them that are none."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from random import Random

_WORDS = (
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"/health",
    b"/add_batch",
    b"/stats?symbol=A&k=1", b"/stream?mode=ingest", b"/events?symbol=A", b"/values?symbol=A", b"/metrics", b"/%2e%2e/",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9.9\r\n", b"Host: x\r\n", b"Host: x\r\n", b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Sec-WebSocket-Version: 13\r\n", b"Upgrade: h2c\r\n",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"Content-Type: application/json\r\n", b"\r\n", b"\r\n\r\n",
    b"\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"fffffffffffffffff\r\n", b"\n", b"\r", b":", b" ", b"\0",
    b'{"symbol":"A","values":[1]}', b"\x82\x84\0\0\0\0abcd", b"\x88\x80\0\0\0\0", b"\x89\xff", b"\x16\x03\x01\x02",
)  # fmt: skip
_WHOLE = (
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    (
        b"GET /stream?mode=ingest HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ),
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Z]")
_LANES = 16
_MOST_WORDS = 120
_PATIENCE_S = 60.0


def noise(random: Random) -> bytes:
    """Return what one connection sends."""
    words = [random.choice(_WORDS) for _ in range(random.randrange(1, _MOST_WORDS))]
    for _ in range(random.randrange(4)):
        words.insert(random.randrange(len(words)), random.randbytes(random.randrange(1, 40)))
    return random.choice(_WHOLE) * random.randrange(3) + b"".join(words)


async def make_noise(port: int, seed: int, size: int) -> Counter[int]:
    """Send `size` bytes over many connections; return how many answers had each status."""
    statuses: Counter[int] = Counter()

    async def lane(number: int) -> None:
        random, left = Random(f"{seed}/{number}"), size // _LANES
        while left > 0:
            sent = noise(random)
            left -= len(sent)
            answered = await asyncio.wait_for(_converse(port, sent), _PATIENCE_S)
            statuses.update(int(status) for status in _STATUS.findall(answered))

    await asyncio.gather(*(lane(number) for number in range(_LANES)))
    return statuses


async def _converse(port: int, sent: bytes) -> bytes:
    """Send all of it, and nothing more; return what comes until the service ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = bytearray()
    with suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        while piece := await reader.read(65_536):
            answered += piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return bytes(answered)
