"""GET /first, /quantile and /rank: where a barrier is met, which points have a rank, which rank has a price."""

import asyncio
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import falcon.asgi
import orjson

from api.http.problems import shown
from api.http.query import bad_query, parameters, parse_index, parse_lasting, parse_place, symbol_of
from api.http.request import Request
from api.operation.beside import Beside
from hft_mmap import Store

MAX_QUANTILES = 100

_FIRST_PARAMETERS = ("symbol", "after", "above", "below", "until")
_FIRST_EXAMPLE = "/first?symbol=ABC-USD&after=0&above=152"
_QUANTILE_PARAMETERS = ("symbol", "q", "window", "from", "to")
_QUANTILE_EXAMPLE = "/quantile?symbol=ABC-USD&window=1000&q=0.5,0.99"
_RANK_PARAMETERS = ("symbol", "value", "window", "from", "to")
_RANK_EXAMPLE = "/rank?symbol=ABC-USD&window=1000&value=151.25"
_MAX_NUMBER_CHARS = 40
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class FirstQuery(NamedTuple):
    """What one request asks: the first point behind `after` and before `until` that meets a barrier."""

    symbol: str
    after: int
    above: float | None
    below: float | None
    until: int | None


class Part(NamedTuple):
    """Which points of a series: the newest `window`, those of [begin, end), or all that are kept."""

    window: int | str | None
    begin: int | str | None
    end: int | str | None


class QuantileQuery(NamedTuple):
    """What one request asks: quantiles of a part of a series."""

    symbol: str
    shares: tuple[float, ...]
    part: Part


class RankQuery(NamedTuple):
    """What one request asks: how many points of a part of a series lie below a price, at it and above it."""

    symbol: str
    value: float
    part: Part


def parse_first_query(query: bytes) -> FirstQuery:
    """Return what `query`, the raw bytes after the question mark, asks for. Raises Refusal (400); InvalidSymbol."""
    given = parameters(query, _FIRST_PARAMETERS)
    symbol = symbol_of(given, _FIRST_EXAMPLE)
    if "after" not in given:
        raise bad_query(f"The parameter after is missing: the index behind which to look; ask for {_FIRST_EXAMPLE}")
    if given.keys().isdisjoint({"above", "below"}):
        raise bad_query(f"Give above, below, or both: a price that is to be met; ask for {_FIRST_EXAMPLE}")
    after = parse_index("after", given["after"])
    until = parse_index("until", given["until"]) if "until" in given else None
    above, below = (_number(name, given[name]) if name in given else None for name in ("above", "below"))
    return FirstQuery(symbol, after, above, below, until)


def parse_quantile_query(query: bytes) -> QuantileQuery:
    """Return what `query`, the raw bytes after the question mark, asks for. Raises Refusal (400); InvalidSymbol."""
    given = parameters(query, _QUANTILE_PARAMETERS)
    symbol = symbol_of(given, _QUANTILE_EXAMPLE)
    if "q" not in given:
        raise bad_query(f"The parameter q is missing: numbers from 0 to 1; ask for {_QUANTILE_EXAMPLE}")
    texts = given["q"].split(",")
    if len(texts) > MAX_QUANTILES:
        raise bad_query(f"q must be at most {MAX_QUANTILES} numbers, not {len(texts)}")
    return QuantileQuery(symbol, tuple(map(_share, texts)), _part(given))


def parse_rank_query(query: bytes) -> RankQuery:
    """Return what `query`, the raw bytes after the question mark, asks for. Raises Refusal (400); InvalidSymbol."""
    given = parameters(query, _RANK_PARAMETERS)
    symbol = symbol_of(given, _RANK_EXAMPLE)
    if "value" not in given:
        raise bad_query(f"The parameter value is missing: the price whose rank is asked for; ask for {_RANK_EXAMPLE}")
    return RankQuery(symbol, _number("value", given["value"]), _part(given))


def _part(given: Mapping[str, str]) -> Part:
    if "window" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either window, for the newest points, or from and to, for those of two indexes")
    window = parse_lasting("window", given["window"]) if "window" in given else None
    return Part(window, _bound(given, "from"), _bound(given, "to"))


def _bound(given: Mapping[str, str], name: str) -> int | str | None:
    return parse_place(name, given[name]) if name in given else None


def _share(text: str) -> float:
    found = _number("q", text)
    if not 0 <= found <= 1:
        raise bad_query(f"q must be from 0 to 1, not {shown(text)}")
    return found


def _number(name: str, text: str) -> float:
    """Return the number that the parameter `name` has as its text."""
    found = float(text) if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text) else math.inf
    if math.isinf(found):
        raise bad_query(f"{name} must be a number, such as 151.25, not {shown(text)}")
    return found


class First:
    """Answers where a barrier is first met."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the point, or nulls where no point met a barrier."""
        asked = parse_first_query(req.scope["query_string"])
        series = self._store.series(asked.symbol)
        # Some pages may have to be read from the disk first: nobody else waits for that.
        found = await asyncio.to_thread(
            series.first, asked.after, above=asked.above, below=asked.below, until=asked.until
        )
        index, value, which = (found.index, found.value, found.which) if found else (None, None, None)
        resp.data = orjson.dumps({"symbol": asked.symbol, "index": index, "value": value, "which": which})

    on_head = on_get


class Quantile:
    """Answers exact quantiles, a few searches at a time: the others wait for their turn, and hold up nobody else."""

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer one stored value for each share."""
        asked = parse_quantile_query(req.scope["query_string"])
        series = self._store.series(asked.symbol)
        part = asked.part
        search = partial(series.quantile, asked.shares, window=part.window, start=part.begin, end=part.end)
        found = await self._beside.answer("quantile", search)
        resp.data = orjson.dumps({"symbol": asked.symbol, "q": asked.shares, "value": found})

    on_head = on_get


class Rank:
    """Answers how many points lie below a price, at it and above it; it takes its turn with the searches."""

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the three counts, which add up to the points that were looked at."""
        asked = parse_rank_query(req.scope["query_string"])
        series, part = self._store.series(asked.symbol), asked.part
        count = partial(series.rank, asked.value, window=part.window, start=part.begin, end=part.end)
        found = await self._beside.answer("rank", count)
        resp.data = orjson.dumps({"symbol": asked.symbol, "value": asked.value, **found._asdict()})

    on_head = on_get
