"""Single requests whose answer is known: good batches, and everything that is wrong with a batch or a question.

A draft says which statuses its answer may have. Only one with status 200 may store something, and then its values.
"""

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

TAKEN = frozenset({200})
BAD = frozenset({400})
WRONG = frozenset({422})
JSON = "application/json"
MAX_BODY_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Draft:
    """A request, the statuses that may answer it, and what it appends; `ends`: the connection may end with it."""

    request: bytes
    statuses: frozenset[int]
    symbol: str = ""
    values: tuple[float, ...] = ()
    ends: bool = False


Recipe = Callable[[Random, str], Draft]


def request(method: str, target: str, body: bytes | None = None, *headers: str) -> bytes:
    """Return a request with a content-length if it has a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def post(body: bytes | str, *headers: str, kind: str = JSON, target: str = "/add_batch") -> bytes:
    """Return a POST of a body to /add_batch."""
    data = body.encode() if isinstance(body, str) else body
    return request("POST", target, data, f"Content-Type: {kind}", *headers)


def odd_symbols(lane: str) -> list[str]:
    """Return symbols that are fine and look like an attack."""
    shapes = (
        "../x{}",
        "..{}",
        "a/b\\{}",
        "%2e%2e%2f{}",
        "日本円-{}",
        "'; DROP TABLE {};--",
        "~{}$(id)`",
        '"quoted" {}',
    )
    return [lane, *(shape.format(lane) for shape in shapes)]


def _prices(random: Random) -> list[float]:
    size = random.choice((1, 1, 2, 10, 10, 64, 300))
    kind = random.random()
    if kind < 0.6:
        return [round(random.uniform(0, 1000), 2) for _ in range(size)]
    if kind < 0.9:
        return [random.choice((0.0, 5e-324, 1e140, 1.0, 2.0**53, random.random(), random.expovariate(1e-9)))] * size
    return [float(random.randrange(2**64)) for _ in range(size)]


# Good batches


def _plain(random: Random, lane: str) -> Draft:
    symbol, values = random.choice(odd_symbols(lane)), _prices(random)
    fields = {"symbol": symbol, "values": values}
    if random.random() < 0.3:
        fields = dict(reversed(fields.items()))
    body = json.dumps(
        fields, ensure_ascii=random.random() < 0.5, separators=random.choice(((",", ":"), (" ,\n", "\t: ")))
    )
    prefix = b"\xef\xbb\xbf" if random.random() < 0.05 else b""
    target = random.choice(("/add_batch", "/add_batch/", "/add%5Fbatch"))
    return Draft(post(prefix + body.encode(), *_noise(random), target=target), TAKEN, symbol, tuple(values))


def _chunked(random: Random, lane: str) -> Draft:
    values = _prices(random)
    body = json.dumps({"symbol": lane, "values": values}).encode()
    chunks = b""
    while body:
        size = random.randint(1, len(body))
        extension = random.choice((b"", b"", b";name=value", b';q="a b"'))
        chunks += b"%0*x%b\r\n%b\r\n" % (random.choice((1, 8)), size, extension, body[:size])
        body = body[size:]
    trailer = random.choice((b"", b"X-Trailer: 1\r\nContent-Type: text/plain\r\n"))
    head = request("POST", "/add_batch", None, f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
    return Draft(head + chunks + b"0\r\n" + trailer + b"\r\n", TAKEN, lane, tuple(values))


def _raw(random: Random, lane: str) -> Draft:
    symbol, values = random.choice(odd_symbols(lane)), _prices(random)
    body = struct.pack(f"<{len(values)}d", *values)
    target = f"/add_batch?symbol={quote(symbol, safe='')}"
    return Draft(post(body, kind="application/octet-stream", target=target), TAKEN, symbol, tuple(values))


def _zipped(random: Random, lane: str) -> Draft:
    values = _prices(random)
    body = gzip.compress(json.dumps({"symbol": lane, "values": values}).encode(), random.randint(0, 9))
    return Draft(post(body, "Content-Encoding: gzip"), TAKEN, lane, tuple(values))


# Batches that are none


def _bad_value(random: Random, lane: str) -> Draft:
    refused = {
        "-1": BAD, "-5e-324": BAD, "1.0000000000000002e140": BAD, "1e999": BAD, "9" * 400: BAD, "NaN": BAD, "01": BAD,
        "-Infinity": BAD, "+1": BAD, "1.": BAD, ".5": BAD, "0x10": BAD, "1e": BAD, "": BAD, "'1'": BAD, "--1": BAD,
        "null": WRONG, "true": WRONG, '"1"': WRONG, "[1]": WRONG, "{}": WRONG, "[]": WRONG, '""': WRONG,
    }  # fmt: skip
    token = random.choice(list(refused))
    values = [repr(one) for one in _prices(random)]
    values.insert(random.randint(0, len(values)), token)
    symbol = json.dumps(lane)
    return Draft(post(f'{{"symbol":{symbol},"values":[{",".join(values)}]}}'), refused[token])


def _bad_symbol(random: Random, _lane: str) -> Draft:
    wrong = ("null", "1", "true", "[]", '["A"]', "{}")
    bad = (
        '""', '"a\\u0000b"', '"\\n"', '"\\u007f"', '"\\u2028"', '"\\ud800"', json.dumps("x" * 65), json.dumps("€" * 22),
        json.dumps("x" * 10_000), '"\\udc00\\ud800"', '"\\u009f"', '"a\nb"', '"\\x41"', '"open',
    )  # fmt: skip
    symbol = random.choice((*wrong, *bad))
    return Draft(post(f'{{"symbol":{symbol},"values":[1]}}'), WRONG if symbol in wrong else BAD)


def _bad_shape(random: Random, lane: str) -> Draft:
    symbol = json.dumps(lane)
    bodies = {
        f'{{"symbol":{symbol},"values":[1],"values":[2]}}': BAD,
        f'{{"symbol":{symbol},"symbol":"B","values":[2]}}': BAD,
        f'{{"symbol":{symbol},"values":[1],"offset":0,"offset":0}}': BAD, f'{{"symbol":{symbol},"values":[]}}': BAD,
        f'{{"symbol":{symbol},"values":[1],"extra":1}}': WRONG, f'{{"symbol":{symbol},"Values":[1]}}': WRONG,
        f'{{"symbol":{symbol}}}': WRONG, '{"values":[1]}': WRONG, "{}": WRONG, "[]": WRONG, "1": WRONG, "null": WRONG,
        f'{{"symbol":{symbol},"values":{{"0":1}}}}': WRONG, f'{{"symbol":{symbol},"values":1}}': WRONG,
        f'{{"symbol":{symbol},"values":[1],"offset":-1}}': BAD,
        f'{{"symbol":{symbol},"values":[1],"offset":1.0}}': WRONG,
        f'{{"symbol":{symbol},"values":[1],"offset":{10**30}}}': WRONG, "": BAD, " ": BAD, "\x00": BAD, "{": BAD,
        f'{{"symbol":{symbol},"values":[1]}}}}': BAD, f'{{"symbol":{symbol},"values":[1],}}': BAD,
        f'{{"symbol":{symbol},"values":[1]}}{{"symbol":{symbol},"values":[1]}}': BAD,
        f'{{"symbol":{symbol},"values":[1],"offset":{10**15}}}': frozenset({409}),
    }  # fmt: skip
    body = random.choice(list(bodies))
    return Draft(post(body), bodies[body])


def _deep(random: Random, lane: str) -> Draft:
    depth = random.choice((10, 1000, 1025, 5000, 60_000, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    body = opening * depth + random.choice(("", "1" + closing * depth))
    if random.random() < 0.5:
        body = f'{{"symbol":{json.dumps(lane)},"values":{body}}}'
    return Draft(post(body), BAD | WRONG)


def _no_text(random: Random, lane: str) -> Draft:
    junk = random.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82"))
    symbol = json.dumps(lane).encode()
    body = random.choice(
        (b'{"symbol":"A' + junk + b'","values":[1]}', b'{"symbol":%b,"values":[1%b]}' % (symbol, junk))
    )
    return Draft(post(body), BAD)


def _bad_kind(random: Random, lane: str) -> Draft:
    body = json.dumps({"symbol": lane, "values": [1.0]})
    kinds = (
        "",
        "text/plain",
        "application/jsonp",
        "application/json; charset=latin-1",
        "json",
        "*/*",
        "\xff",
        "application/",
    )
    if random.random() < 0.2:
        return Draft(request("POST", "/add_batch", body.encode()), frozenset({415}))
    if random.random() < 0.3:
        coding = random.choice(("br", "gzip, gzip", "deflate", "chunked", "\xff", "gz ip"))
        return Draft(post(body, f"Content-Encoding: {coding}"), frozenset({415}))
    return Draft(post(body, kind=random.choice(kinds)), frozenset({415}))


def _bad_raw(random: Random, lane: str) -> Draft:
    good = struct.pack("<3d", 1, 2, 3)
    nan, infinite, negative = (struct.pack("<d", value) for value in (float("nan"), float("inf"), -1.0))
    body = random.choice((good[:-1], good + b"x", good + nan, infinite + good, negative, b""))
    query = f"symbol={quote(lane)}"
    if random.random() < 0.3:
        body, query = (
            good,
            random.choice(("", "symbol=", "symbol=A&symbol=B", "sym=A", "symbol=%00", "symbol=%ff", "s%")),
        )
    return Draft(post(body, kind="application/octet-stream", target=f"/add_batch?{query}"), BAD)


def _bad_zip(random: Random, lane: str) -> Draft:
    whole = gzip.compress(json.dumps({"symbol": lane, "values": [1.0]}).encode())
    cut = random.randrange(len(whole))
    spoilt = bytearray(whole)
    spoilt[-random.randint(1, 8)] ^= 1 << random.randrange(8)  # checksum and length stand at the end
    coding = random.choice(("gzip", "zstd"))
    body = random.choice((whole[:cut], bytes(spoilt), b"junk", whole + b"junk"))
    return Draft(post(body, f"Content-Encoding: {coding}"), BAD)


def _too_large(random: Random, lane: str) -> Draft:
    size = random.choice((MAX_BODY_BYTES + 1, 16 * 2**20))
    body = random.choice((b"[", b'{"symbol":"%b","values":[1,' % lane.encode(), b" ")).ljust(
        size, random.choice((b"[", b"1"))
    )
    return Draft(post(body), frozenset({413}), ends=True)


def _too_many(_random: Random, lane: str) -> Draft:
    return Draft(post(f'{{"symbol":{json.dumps(lane)},"values":[{"1," * 100_000}1]}}'), BAD)


def _bomb(_random: Random, lane: str) -> Draft:
    body = gzip.compress(f'{{"symbol":"{lane}","values":['.encode() + b" " * (8 * 2**20), 9)
    return Draft(post(body, "Content-Encoding: gzip"), frozenset({413}))


# Questions


def _question(random: Random, lane: str) -> Draft:
    symbol = quote(lane, safe="")
    queries = {
        f"symbol={symbol}": TAKEN, f"symbol={symbol}&k={random.randint(1, 8)}": TAKEN,
        f"window=1&symbol={symbol}&": TAKEN,
        f"symbol={symbol}&window={'9' * random.randint(1, 500)}": TAKEN, f"%73ymbol={symbol}&exponent=%38": TAKEN,
        "symbol=NO-SUCH": frozenset({404}), "symbol=..%2F..%2Fetc%2Fpasswd&k=1": frozenset({404}), "": BAD,
        f"symbol={symbol}&k=0": BAD, f"symbol={symbol}&k=9": BAD, f"symbol={symbol}&window=0": BAD, "symbol=%": BAD,
        f"symbol={symbol}&window=-1": BAD, f"symbol={symbol}&window=1e3": BAD, f"symbol={symbol}&k=%D9%A3": BAD,
        f"symbol={symbol}&k=1&k=1": BAD, f"symbol={symbol}&k=1&window=1": BAD, "symbol=%00": BAD, "symbol=%zz": BAD,
        f"symbol={symbol}&{'x' * 5000}=1": BAD, "symbol=%ff": BAD, f"symbol={'x' * 10_000}": BAD, "symbol": BAD,
        f"symbol={symbol}&exponent=+1": BAD, f"symbol={symbol};k=1": frozenset({400, 404}), "&" * 3000: BAD,
    }  # fmt: skip
    query = random.choice(list(queries))
    method = random.choice(("GET", "GET", "HEAD"))
    return Draft(
        request(method, f"{random.choice(('/stats', '/stats/'))}?{query}", None, *_noise(random)), queries[query]
    )


def _odd_path(random: Random, _lane: str) -> Draft:
    paths = ("/stats//", "/../etc/passwd", "/stats/..", "/%2e%2e/%2e%2e/", "/%00", "/%FF%FE", "/%", "/%zz",
             "/health;x", "/health%0d%0aX:%201", "/" + "a/" * 500, "/" + "%41" * 3000, "/stats%3Fsymbol=A", "/*",
             "/.git/config",
             "http://test/nothing", "/{}", "/add_batch/x", "/\\..\\", "/STATS")  # fmt: skip
    return Draft(
        request(random.choice(("GET", "HEAD", "OPTIONS", "PUT", "M-SEARCH")), random.choice(paths)), frozenset({404})
    )


def _odd_method(random: Random, _lane: str) -> Draft:
    method = random.choice(("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "LOCK", "SEARCH", "PURGE", "MKCALENDAR"))
    target = random.choice(
        ("/add_batch", "/stats?symbol=A", "/health", "/ready/", "/metrics", "/symbols", "/openapi.json")
    )
    body = random.choice((None, b"", b"{}", b"x" * 1000))
    return Draft(request(method, target, body), frozenset({405}))


def _fine(random: Random, _lane: str) -> Draft:
    target = random.choice(
        ("/health", "/ready", "/symbols/", "/openapi.json", "/metrics", "/%68ealth", "http://test/health")
    )
    if random.random() < 0.05:
        return Draft(request("OPTIONS", target, None, *_noise(random)), TAKEN)
    return Draft(request(random.choice(("GET", "HEAD")), target, None, *_noise(random)), TAKEN)


def _noise(random: Random) -> list[str]:
    """Return headers that mean nothing to the service."""
    if random.random() < 0.7:
        return []
    names = (
        "X-Request-ID",
        "Accept",
        "Cookie",
        "Accept-Encoding",
        "X-Forwarded-For",
        "Authorization",
        "Range",
        "TE",
        "If-Match",
    )
    texts = (
        "",
        "x" * 3000,
        "\xe9\xff",
        "gzip;q=nan",
        '"',
        "a, b,, c",
        "bytes=0-18446744073709551616",
        "../../",
        "%00",
        "\t x",
    )
    return [f"{random.choice(names)}: {random.choice(texts)}" for _ in range(random.randint(1, 30))]


RECIPES: tuple[tuple[Recipe, float], ...] = (
    (_plain, 20), (_chunked, 6), (_raw, 6), (_zipped, 4), (_bad_value, 14), (_bad_symbol, 8), (_bad_shape, 12),
    (_deep, 2),
    (_no_text, 4), (_bad_kind, 6), (_bad_raw, 5), (_bad_zip, 4), (_too_large, 0.03), (_too_many, 0.1), (_bomb, 0.1),
    (_question, 20), (_odd_path, 8), (_odd_method, 6), (_fine, 3),
)  # fmt: skip
"""How to make a draft, and how often that is done."""


def draft(random: Random, lane: str) -> Draft:
    """Return one request for the symbols of `lane`."""
    recipes, weights = zip(*RECIPES, strict=True)
    recipe: Recipe = random.choices(recipes, weights)[0]
    return recipe(random, lane)
