"""Requests broken at the level of bytes: nobody knows what becomes of them, only what must not."""

from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes], bytes]


def _flip(random: Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 4)):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _insert(random: Random, data: bytes) -> bytes:
    junk = random.choice(
        (b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\xff", b"0", b"\x7f", b"\r\n x", b"GET / ")
    )
    place = random.randint(0, len(data))
    return data[:place] + junk * random.choice((1, 1, 3, 100)) + data[place:]


def _remove(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + data[place + random.randint(1, 20) :]


def _repeat(random: Random, data: bytes) -> bytes:
    begin = random.randrange(len(data))
    end = random.randint(begin, min(len(data), begin + 200))
    return data[:end] + data[begin:end] * random.randint(1, 3) + data[end:]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def _swap_line(random: Random, data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    random.shuffle(lines)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _line_ends(random: Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", random.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), random.choice((1, -1)))


def _first_line(random: Random, data: bytes) -> bytes:
    _, _, rest = data.partition(b"\r\n")
    lines = (
        b"GET /health HTTP/1.0", b"GET /health HTTP/0.9", b"GET /health HTTP/2.0", b"GET /health HTTP/1.9",
        b"GET /health",
        b"GET  /health  HTTP/1.1", b"GET /he alth HTTP/1.1", b" GET /health HTTP/1.1", b"get /health HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"GET\t/health\tHTTP/1.1", b"GET /h\xe9alth HTTP/1.1", b"GET http://[::1/ HTTP/1.1",
        b"GET http://a:99999999/ HTTP/1.1",
        b"CONNECT test:443 HTTP/1.1", b"CONNECT /health HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET * HTTP/1.1",
        b"GET health HTTP/1.1",
        b"GET ?symbol=A HTTP/1.1", b"GET #a HTTP/1.1", b"GET /%s HTTP/1.1" % (b"x" * 70_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"FOO /health HTTP/1.1", b"M-SEARCH * HTTP/1.1",
        b"SOURCE /stats ICE/1.0",
        b"DESCRIBE rtsp://test/ RTSP/1.0", b"GET /health HTTP/1.1 ", b"", b"\0" * 100,
        b"GET /health?%s HTTP/1.1" % (b"&" * 60_000),
        b"GET //test/health HTTP/1.1", b"GET http:///health HTTP/1.1", b"GET /health#fragment HTTP/1.1",
        b"GET http://u:p@test HTTP/1.1",
    )  # fmt: skip
    return random.choice(lines) + b"\r\n" + rest


def _headers(random: Random, data: bytes) -> bytes:
    extra = (
        b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: +5",
        b"Content-Length: 0x10",
        b"Content-Length: 99999999999999999999999", b"Content-Length: 1, 1", b"Content-Length:",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: x",
        b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: identity",
        b"TE: trailers\r\nTrailer: X",
        b"Expect: 100-continue", b"Expect: nonsense", b"Connection: close",
        b"Connection: keep-alive, upgrade\r\nUpgrade: h2c",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==",
        b"X-Folded: a\r\n b\r\n\tc", b"X-Nul: a\0b", b"X-Bare: a\rb", b": empty", b"No colon", b"X Space: 1",
        b"X-\xff: 1",
        b"\r\n".join(b"X-%d: 1" % number for number in range(random.choice((50, 101, 5000)))),
        b"X-Long: " + b"x" * 70_000, b"Host: other",
        b"Content-Type: text/plain", b"Content-Encoding: gzip", b"X-Offset: \xff", b"X-Request-ID: \xff\x01",
    )  # fmt: skip
    first, _, rest = data.partition(b"\r\n")
    added = b"\r\n".join(random.choice(extra) for _ in range(random.choice((1, 1, 2))))
    return first + b"\r\n" + added + b"\r\n" + rest


def _chunks(random: Random, data: bytes) -> bytes:
    head = b"POST /add_batch HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    sizes = (
        b"0",
        b"1",
        b"5",
        b"-1",
        b"+5",
        b"0x5",
        b"ffffffffffffffff",
        b"fffffffffffffffff",
        b"",
        b" 5",
        b"5 ",
        b"G",
        b"5;" + b"x" * 5000,
    )
    body = b""
    for _ in range(random.randint(1, 5)):
        body += (
            random.choice(sizes)
            + random.choice((b"\r\n", b"\r\n", b"\n", b"\r"))
            + data[: random.choice((0, 1, 5, 5))]
            + b"\r\n"
        )
    return (
        head
        + body
        + random.choice((b"", b"0\r\n\r\n", b"0\r\n\r\n0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"00000000000000000\r\n\r\n"))
    )


def _noise(random: Random, _data: bytes) -> bytes:
    return random.randbytes(random.choice((1, 10, 300, 5000)))


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _insert, _remove, _repeat, _cut, _swap_line, _line_ends, _first_line, _first_line, _headers, _headers,
    _chunks, _noise,
)  # fmt: skip


def mutant(random: Random, data: bytes) -> bytes:
    """Return `data` broken in one to three ways."""
    for _ in range(random.choice((1, 1, 2, 3))):
        if data:
            data = random.choice(MUTATIONS)(random, data)
    return data
