"""GET /first and GET /quantile: where a barrier is first met, and which stored values have the ranks asked for."""

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import falcon.asgi
import orjson

from api.http.problems import shown
from api.http.query import bad_query, parameters, parse_index, symbol_of, whole_number
from api.http.request import Request
from api.operation.beside import Beside
from hft_mmap import Store

MAX_QUANTILES = 100

_FIRST_PARAMETERS = ("symbol", "after", "above", "below", "until")
_FIRST_EXAMPLE = "/first?symbol=ABC-USD&after=0&above=152"
_QUANTILE_PARAMETERS = ("symbol", "q", "window", "from", "to")
_QUANTILE_EXAMPLE = "/quantile?symbol=ABC-USD&window=1000&q=0.5,0.99"
_MAX_NUMBER_CHARS = 40
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class FirstQuery(NamedTuple):
    """What one request asks: the first point behind `after` and before `until` that meets a barrier."""

    symbol: str
    after: int
    above: float | None
    below: float | None
    until: int | None


class QuantileQuery(NamedTuple):
    """What one request asks: quantiles of the newest `window` points, of [begin, end), or of all that are kept."""

    symbol: str
    shares: tuple[float, ...]
    window: int | None
    begin: int | None
    end: int | None


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
    if "window" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either window, for the newest points, or from and to, for those of two indexes")
    texts = given["q"].split(",")
    if len(texts) > MAX_QUANTILES:
        raise bad_query(f"q must be at most {MAX_QUANTILES} numbers, not {len(texts)}")
    window = whole_number("window", given["window"], least=1) if "window" in given else None
    return QuantileQuery(symbol, tuple(map(_share, texts)), window, _bound(given, "from"), _bound(given, "to"))


def _bound(given: Mapping[str, str], name: str) -> int | None:
    return parse_index(name, given[name]) if name in given else None


def _share(text: str) -> float:
    found = _number("q", text)
    if found > 1:
        raise bad_query(f"q must be from 0 to 1, not {shown(text)}")
    return found


def _number(name: str, text: str) -> float:
    """Return the number that the parameter `name` has as its text; no price has a sign."""
    found = float(text) if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text) else float("inf")
    if found == float("inf"):
        raise bad_query(f"{name} must be a number from 0, such as 151.25, not {shown(text)}")
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
        search = partial(series.quantile, asked.shares, window=asked.window, start=asked.begin, end=asked.end)
        found = await self._beside.answer("quantile", search)
        resp.data = orjson.dumps({"symbol": asked.symbol, "q": asked.shares, "value": found})

    on_head = on_get
