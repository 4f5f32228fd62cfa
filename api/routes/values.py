"""GET /values: the points themselves, as JSON, Arrow or raw float64, streamed as fast as the client takes them.

What is streamed is a span of the series: it stays as it was when the request came, whatever is appended or cleaned up
meanwhile, and it is read from the mapped files piece by piece. A slow client holds one piece, not the whole.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import falcon
import falcon.asgi
import orjson
from falcon import mediatypes
from numpy.typing import NDArray

from api.access.guard import check_revoked
from api.body import arrow
from api.body.media import ARROW, JSON, RAW
from api.body.raw import COLUMNS, PRICE, SIZE, TIME, parse_columns
from api.http.exchange import RECEIVE, Scope
from api.http.problems import Refusal, shown
from api.http.query import bad_query, parameters, parse_format, parse_lasting, parse_place, symbol_of
from api.http.request import Request
from api.http.times import TIMES, iso, wants_iso
from hft_mmap import ColumnsDiffer, Span, Store
from hft_mmap.span import PIECE_POINTS

_PARAMETERS = ("symbol", "last", "from", "to", "format", "columns", TIMES)
_EXAMPLE = "/values?symbol=ABC-USD&last=1000"
_JSON_NAMES = {PRICE: "values", TIME: "times", SIZE: "sizes"}
_FORMATS = {"json": JSON, "arrow": ARROW, "raw": RAW}
# PERF: 8,192 numbers take orjson 0.4 ms; a piece of 32,768 is 256 KiB, which go to the socket in 0.1 ms.
_JSON_PIECE_POINTS = 8_192
_ISO_PIECE_POINTS = 1_024  # PERF: 0.4 us each, so this is 0.4 ms as well.


class ValuesQuery(NamedTuple):
    """What one request asks: the newest `last` points, or those of [first, end); None where nothing was said.

    Each may be a time, as its text.
    """

    symbol: str
    last: int | str | None
    first: int | str | None
    end: int | str | None
    media_type: str | None
    columns: tuple[str, ...] | None = None
    iso: bool = False


def parse_values_query(query: bytes) -> ValuesQuery:
    """Return what `query`, the raw bytes after the question mark, asks for. Raises Refusal (400); InvalidSymbol."""
    given = parameters(query, _PARAMETERS)
    symbol = symbol_of(given, _EXAMPLE)
    if "last" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either last, for the newest points, or from and to, for those of two indexes")
    last = parse_lasting("last", given["last"]) if "last" in given else None
    first, end = (parse_place(name, given[name]) if name in given else None for name in ("from", "to"))
    if isinstance(first, int) and isinstance(end, int) and first > end:
        raise bad_query(f"from must not be above to, and {first} is above {end}")
    columns = parse_columns(given["columns"], None).names if "columns" in given else None
    return ValuesQuery(symbol, last, first, end, parse_format(given, _FORMATS), columns, wants_iso(given))


class Values:
    """Streams the points of a series."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the newest points, those between two indexes, or all that are kept."""
        asked = parse_values_query(req.scope["query_string"])
        media_type = asked.media_type or accepted(req.header(b"accept"), (JSON, ARROW, RAW))
        check_iso(media_type, as_iso=asked.iso)
        span = _span(self._store, asked)
        columns = _columns_of(span, asked, media_type)
        if media_type == ARROW:
            stream = await _arrow(span, columns)
        elif media_type == RAW:
            stream = _Stream(8 * len(span) * len(columns), _raw(span, columns))
        else:
            stream = _Stream(None, _json(span, columns, as_iso=asked.iso))
        resp.content_type = media_type
        resp.set_headers(
            {
                "X-Total": str(span.total),
                "X-Start": str(span.start),
                "X-First-Index": str(span.first),
                "X-Values": str(len(span)),
                "X-Columns": ",".join(columns),
                "Vary": "Accept",
            }
        )
        if stream.length is not None:
            resp.content_length = stream.length
        # A view of memory is as good as bytes to the server; Falcon's types know only those.
        await req.scope[RECEIVE]()  # the body of the request, which is empty
        resp.stream = sent(stream.pieces, req.scope)  # type: ignore[assignment]

    on_head = on_get


def _span(store: Store, asked: ValuesQuery) -> Span:
    """Return the points that are asked for. Raises what `Store.span` and `Series.part` raise."""
    last, first, end = asked.last, asked.first, asked.end
    if isinstance(last, str) or isinstance(first, str) or isinstance(end, str):
        moment, lo, hi = store.series(asked.symbol).part(window=last, start=first, end=end)
        return Span(moment.symbol, moment.start, moment.total, lo, hi, moment.view)
    return store.span(asked.symbol, last=last, first=first, end=end)


def _columns_of(span: Span, asked: ValuesQuery, media_type: str) -> tuple[str, ...]:
    """Return the columns that are sent: those asked for, or all. Raises Refusal (406), ColumnsDiffer.

    Raw numbers do not say what they are, so who takes them has to name the columns of a series that has several.
    """
    there = tuple(name for name in COLUMNS if name == PRICE or f"{name}s" in span.columns)
    if asked.columns is not None:
        if missing := [name for name in asked.columns if name not in there]:
            message = f"{span.symbol} has no {missing[0]}s; its columns are {', '.join(there)}"
            raise ColumnsDiffer(message)
        return asked.columns
    if media_type == RAW and len(there) > 1:
        detail = (
            f"{span.symbol} has {' and '.join(span.columns)}, and raw numbers do not say which they are: name the "
            f"columns, columns={','.join(there)} for all of them"
        )
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, detail)
    return there


class _Stream(NamedTuple):
    """The pieces of a body, and its length in bytes where that is known before the last is made."""

    length: int | None
    pieces: Iterator[bytes | memoryview]


def accepted(accept: bytes | None, offered: tuple[str, ...]) -> str:
    """Return the one of `offered` that the client likes best, JSON if it is all the same; raise Refusal (400, 406)."""
    header = "*/*" if accept is None else accept.decode("latin-1")
    try:
        media_type = mediatypes.best_match(offered, header)
    except falcon.InvalidMediaType:
        raise bad_query(f"Accept is no list of media types: {shown(header)}") from None
    if not media_type:
        detail = f"There is no {shown(header)} of this; there are {', '.join(offered[:-1])} and {offered[-1]}"
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, detail)
    return media_type


def check_iso(media_type: str, *, as_iso: bool) -> None:
    """Refuse times as RFC 3339 in a format that has its own. Raises Refusal (400)."""
    if as_iso and media_type != JSON:
        raise bad_query(f"times=iso goes with {JSON}: times are timestamps in Arrow, and numbers among raw numbers")


def _pieces(span: Span, column: str, points: int = PIECE_POINTS) -> Iterator[NDArray[Any]]:
    """Yield one column in pieces: views of the mapped files."""
    if column == PRICE:
        return span.pieces(points)
    return (getattr(rows, f"{column}s") for rows in span.rows(points))


def _raw(span: Span, columns: tuple[str, ...]) -> Iterator[bytes | memoryview]:
    # A view of the mapped file goes to the socket as it is; an empty one could not be cast.
    return (piece.data.cast("B") for name in columns for piece in _pieces(span, name))


def _json(span: Span, columns: tuple[str, ...], *, as_iso: bool) -> Iterator[bytes | memoryview]:
    head = {"symbol": span.symbol, "total": span.total, "start": span.start, "first": span.first}
    yield orjson.dumps(head)[:-1]
    for name in (name for name in _JSON_NAMES if name in columns):
        before = b',"%s":[' % _JSON_NAMES[name].encode()
        texts = as_iso and name == TIME
        for piece in _pieces(span, name, _ISO_PIECE_POINTS if texts else _JSON_PIECE_POINTS):
            listed = iso(piece) if texts else piece
            yield before + orjson.dumps(listed, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
            before = b","
        yield b"]" if len(span) else before + b"]"
    yield b"}"


async def _arrow(span: Span, columns: tuple[str, ...]) -> _Stream:
    written = arrow.Written(await arrow.loaded_to_write(), span, columns)
    return _Stream(written.length, written.pieces())


async def sent(pieces: Iterator[bytes | memoryview], scope: Scope) -> AsyncIterator[bytes | memoryview]:
    """Yield the pieces until the client has gone, and give way to other requests after each.

    Raises Refusal (401) where the token of the request is revoked meanwhile: then the answer ends before it is whole.

    The body of the request has been received. Back-pressure comes from the one who sends them: it asks for the next
    piece when the last one is on its way.
    """
    gone = asyncio.ensure_future(scope[RECEIVE]())
    try:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)  # a client that is fast enough would never make `send` wait
            if gone.done():
                return
            check_revoked(scope)
    finally:
        gone.cancel()
