"""GET /series: any range of a series in buckets, for charts."""

import asyncio
from typing import Any, NamedTuple

import falcon.asgi
import orjson

from api.http.prepared import QUESTION, Batch
from api.http.query import MOST, bad_query, parse_symbols, whole_number
from api.http.request import Request
from hft_mmap import Buckets, Store

MAX_BUCKETS = 5_000
DEFAULT_BUCKETS = 1_000
MAX_BUCKETS_OF_ALL = 100_000
"""Buckets times symbols of one answer; so many take 60 ms in a thread and have 5 MB."""
_FEW_BUCKETS, _FEW_POINTS = 100, 1_000_000
"""So few buckets of so few of the newest points are answered on the event loop.

PERF: they take 20 to 70 us from memory, where the newest points are, and a thread takes 60 more."""

_PARAMETERS = ("window", "from", "to", "buckets", "size")
_EXAMPLE = "/series?symbol=ABC-USD&window=1000000&buckets=1000"


class SeriesQuery(NamedTuple):
    """What one request asks: the newest `window` points, or (None) those of [begin, end), in buckets or bars.

    Of several symbols each is answered as a list in every column. `size` is the number of points of a bar, or None for
    `buckets` of nearly the same size.
    """

    symbols: tuple[str, ...]
    window: int | None
    begin: int
    end: int
    buckets: int
    size: int | None

    @property
    def is_small(self) -> bool:
        """Whether few of the newest points are asked for, in few buckets."""
        if len(self.symbols) > 1 or self.window is None or self.window > _FEW_POINTS:
            return False
        most = self.buckets if self.size is None else self.window // self.size + 2
        return min(most, self.window) <= _FEW_BUCKETS


def parse_series_query(query: bytes) -> SeriesQuery:
    """Return what `query`, the raw bytes after the question mark, asks for.

    Raises Refusal (400) for anything but symbols, a window or a range, and buckets or a size; InvalidSymbol.
    """
    symbols, given = parse_symbols(query, _PARAMETERS, _EXAMPLE)
    if "window" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either window, for the newest points, or from and to, for those of two indexes")
    if "buckets" in given and "size" in given:
        raise bad_query("Give either buckets, which is how many, or size, which is how many points each has")
    least = {"from": 0, "to": 0}
    numbers = {name: whole_number(name, value, least=least.get(name, 1)) for name, value in given.items()}
    begin, end = numbers.get("from", 0), numbers.get("to", MOST)
    if begin > end:
        raise bad_query(f"from must not be above to, and {begin} is above {end}")
    buckets = numbers.get("buckets", DEFAULT_BUCKETS)
    if buckets > MAX_BUCKETS:
        raise bad_query(f"buckets must be at most {MAX_BUCKETS:,}, not {buckets:,}")
    if len(symbols) > 1:
        _check_many(len(symbols), buckets, sized="size" in given)
    return SeriesQuery(symbols, numbers.get("window"), begin, end, buckets, numbers.get("size"))


def _check_many(symbols: int, buckets: int, *, sized: bool) -> None:
    """Raise Refusal (400) where the answer of several symbols would have too many buckets, or nobody knows how many."""
    if sized:
        raise bad_query(f"size goes with one symbol, and there are {symbols}: give buckets, which is how many of each")
    if symbols * buckets > MAX_BUCKETS_OF_ALL:
        raise bad_query(
            f"{symbols} symbols of {buckets:,} buckets are {symbols * buckets:,} buckets, and at most "
            f"{MAX_BUCKETS_OF_ALL:,} are answered: give fewer buckets, or send several requests"
        )


class SeriesBuckets:
    """Answers a range of a series as columns, one entry a bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the buckets of a window, of a range, or of all that is kept."""
        asked = parse_series_query(req.scope["query_string"])
        if asked.is_small:
            question = _Small(self, asked)
            resp.data = question.answer(b"", None)
            if resp.data is not None:
                req.scope[QUESTION] = question
                return
        # PERF: 1,000 buckets over 1e8 points take 0.6 ms from memory, 5,000 take 4 ms, and some hundred pages may have
        # to be read from the disk first. In a thread, with the GIL released, nobody else waits for that; it adds 60 us.
        resp.data = await asyncio.to_thread(self.answer, asked)

    on_head = on_get

    def is_open(self, symbol: str) -> bool:
        """Whether a series was used before: the first use opens it, which waits for the disk."""
        return self._store.is_open(symbol)

    def answer(self, asked: SeriesQuery) -> bytes:
        """Answer a question. Raises Refusal (400) for too many bars, and what `Store.series` raises."""
        if len(asked.symbols) == 1:
            return orjson.dumps(self._one(asked.symbols[0], asked), option=orjson.OPT_SERIALIZE_NUMPY)
        found = [self._one(symbol, asked) for symbol in asked.symbols]
        columns = {name: [one[name] for one in found] for name in found[0] if name != "symbol"}
        return orjson.dumps({"symbols": asked.symbols, **columns}, option=orjson.OPT_SERIALIZE_NUMPY)

    def _one(self, symbol: str, asked: SeriesQuery) -> dict[str, Any]:
        series = self._store.series(symbol)
        start, total = series.bounds()
        # Points that come from here on are not of this answer: it is cut to the bounds that it names.
        begin, end = (asked.begin, asked.end) if asked.window is None else (total - asked.window, total)
        begin, end = min(max(begin, 0), total), min(end, total)
        if asked.size is None:
            found = series.buckets(begin, end, asked.buckets)
        else:
            bars = (end - 1) // asked.size - max(begin, start) // asked.size + 1
            if bars > MAX_BUCKETS:
                raise bad_query(
                    f"size={asked.size} makes {bars:,} bars, and at most {MAX_BUCKETS:,} are answered: give a larger "
                    "size, or ask for fewer points"
                )
            found = series.bars(begin, end, asked.size)
        return _document(symbol, start, total, found)


class _Small:
    """A question for few buckets, which can be asked again."""

    __slots__ = ("_asked", "_resource")
    batch: Batch | None = None
    offset: int | None = None
    kept_bytes = 384

    def __init__(self, resource: SeriesBuckets, asked: SeriesQuery) -> None:
        self._resource = resource
        self._asked = asked

    def answer(self, _body: bytes, _caller: object, _offset: int | None = None) -> bytes | None:
        """Answer as things stand; None where the series has to be opened first."""
        asked = self._asked
        return self._resource.answer(asked) if self._resource.is_open(asked.symbols[0]) else None


def _document(symbol: str, start: int, total: int, found: Buckets) -> dict[str, Any]:
    """Return the answer; `start` and `total` are the bounds of the series."""
    begin = int(found.index[0]) if len(found.index) else found.end
    columns = {"index": found.index, "first": found.first, "last": found.last}
    columns |= {"min": found.min, "max": found.max, "mean": found.mean}
    return {"symbol": symbol, "total": total, "start": start, "from": begin, "to": found.end, **columns}
