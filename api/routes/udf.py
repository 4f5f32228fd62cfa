"""/udf/…: bars for TradingView's charts, as its Universal Data Feed asks for them.

    /udf/config    what this feed can do             /udf/search    symbols that have a text in their name
    /udf/symbols   one symbol                        /udf/history   its bars
    /udf/time      the time of the service

Under a prefix, as /symbols is another route of this service: a chart is given the address of /udf as its data feed.
Answers are what that protocol says, refusals {"s":"error","errmsg":"…"} with the status that they have everywhere.
"""

import asyncio
import math
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import falcon.asgi
import numpy as np
import orjson

from api.access.guard import symbols_of
from api.access.tokens import READ
from api.http.exchange import REFUSED, request_id
from api.http.problems import INTERNAL_ERROR, Refusal, log_unexpected, shown, status_of
from api.http.query import bad_query, parameters, symbol_of
from api.http.request import Request
from api.operation.beside import Beside
from hft_mmap import Store
from hft_mmap.by_time import check_times, first_from
from hft_mmap.candles import of_any
from hft_mmap.moment import Moment
from hft_mmap.named import Indexes

_NS = 10**9
RESOLUTIONS: Mapping[str, int] = {
    **{f"{seconds}S": seconds for seconds in (1, 5, 10, 15, 30)},
    **{f"{minutes}": 60 * minutes for minutes in (1, 2, 3, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720)},
    "1D": 86_400,
}
"""Names of bars, and how long each lasts in seconds; weeks and months a chart makes out of days."""
_SAME = {"D": "1D"}
MOST_BARS = 5_000
MOST_FOUND = 1_000
_FOUND = 30
_MOST_SECONDS = (2**63 - 1) // _NS
_SECONDS = re.compile(r"-?[0-9]{1,15}")
_MOST_DIGITS = 8
_LOOKED_AT = 100
_NAMES = ("first", "max", "min", "last")
_TYPE = "crypto"


class Part(NamedTuple):
    """Bars of a symbol: those that begin in [begin, end) seconds, or the newest `most` that begin before `end`."""

    symbol: str
    length: int
    begin: int
    end: int
    most: int | None


class _Endpoint:
    """Answers GET, and tells every refusal as the protocol does."""

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the question of the query."""
        try:
            resp.data = await self._answered(req)
        except Exception as error:  # noqa: BLE001 - whatever it is, a chart knows one form of it
            status, text = status_of(error), str(error)
            if status is None:
                log_unexpected(error, request_id(req.scope), req.scope["path"])
                status, text = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
            if isinstance(error, Refusal):
                resp.set_headers(dict(error.headers))
            resp.status = req.scope[REFUSED] = status.value
            resp.set_header("X-Request-ID", request_id(req.scope))
            resp.data = orjson.dumps({"s": "error", "errmsg": text})

    on_head = on_get

    async def _answered(self, req: Request) -> bytes:
        raise NotImplementedError


class Config(_Endpoint):
    """Answers what this feed can do."""

    async def _answered(self, req: Request) -> bytes:
        parameters(req.scope["query_string"], ())
        return orjson.dumps({
            "supported_resolutions": list(RESOLUTIONS),
            "supports_search": True, "supports_group_request": False, "supports_marks": False,
            "supports_timescale_marks": False, "supports_time": True, "exchanges": [], "symbols_types": [],
        })  # fmt: skip


class Time(_Endpoint):
    """Answers the time, in seconds since 1970."""

    async def _answered(self, req: Request) -> bytes:
        parameters(req.scope["query_string"], ())
        return b"%d" % (time.time_ns() // _NS)


class Search(_Endpoint):
    """Answers the symbols that have a text in their name, in whatever case."""

    async def _answered(self, req: Request) -> bytes:
        given = parameters(req.scope["query_string"], ("query", "type", "exchange", "limit"))
        limit = given.get("limit", str(_FOUND))
        if not re.fullmatch("[0-9]{1,18}", limit) or not 1 <= int(limit) <= MOST_FOUND:
            raise bad_query(f"limit must be a whole number from 1 to {MOST_FOUND:,}, not {shown(limit)}")
        text, may_read = given.get("query", "").lower(), symbols_of(req.scope, READ)

        def find() -> bytes:
            found: list[str] = []
            meant = self._store.serving(
                where=lambda symbol: text in symbol.lower() and (may_read is None or may_read(symbol))
            )
            for series in meant:
                if "times" in series.columns:
                    found.append(series.symbol)
                if len(found) == int(limit):
                    break
            return orjson.dumps([{**_named(one), "symbol": one, "full_name": one} for one in found])

        return await self._beside.answer("symbols", find)


class SymbolInfo(_Endpoint):
    """Answers what a chart has to know of one symbol."""

    async def _answered(self, req: Request) -> bytes:
        given = parameters(req.scope["query_string"], ("symbol",))
        symbol = symbol_of(given, "/udf/symbols?symbol=ABC-USD")
        return await asyncio.to_thread(_symbol, self._store, symbol)


class History(_Endpoint):
    """Answers bars."""

    async def _answered(self, req: Request) -> bytes:
        part = parse_history_query(req.scope["query_string"])
        return await self._beside.answer("windows", partial(_history, self._store, part))


def _symbol(store: Store, symbol: str) -> bytes:
    series = store.series(symbol)
    moment = series.moment()
    check_times(moment)
    prices = series.window(_LOOKED_AT)
    return orjson.dumps({
        **_named(symbol), "name": symbol, "session": "24x7", "timezone": "Etc/UTC", "format": "price",
        "minmov": 1, "pricescale": 10 ** max(map(_digits, prices.tolist())), "has_intraday": True, "has_seconds": True,
        "seconds_multipliers": [name[:-1] for name in RESOLUTIONS if name.endswith("S")],
        "intraday_multipliers": [name for name in RESOLUTIONS if name.isdecimal()],
        "has_daily": True, "has_weekly_and_monthly": False, "supported_resolutions": list(RESOLUTIONS),
        "volume_precision": _MOST_DIGITS, "visible_plots_set": "ohlcv" if "sizes" in series.columns else "ohlc",
        "data_status": "streaming",
    })  # fmt: skip


def _named(symbol: str) -> dict[str, object]:
    return {"ticker": symbol, "description": symbol, "type": _TYPE, "exchange": "", "listed_exchange": ""}


def _digits(price: float) -> int:
    """Return how many digits a price has behind its point, as far as a chart shows them."""
    return next((digits for digits in range(_MOST_DIGITS) if round(price, digits) == price), _MOST_DIGITS)


# -- bars -------------------------------------------------------------------------------------------------------------


def parse_history_query(query: bytes) -> Part:
    """Return what `query` asks for. Raises Refusal (400), InvalidSymbol."""
    given = parameters(query, ("symbol", "resolution", "from", "to", "countback", "currencyCode", "unitId"))
    symbol = symbol_of(given, "/udf/history?symbol=ABC-USD&resolution=1&from=1767225600&to=1767229200")
    name = given.get("resolution", "")
    length = RESOLUTIONS.get(_SAME.get(name, name))
    if length is None:
        raise bad_query(f"resolution must be one of {', '.join(RESOLUTIONS)}, not {shown(name)}")
    begin, end = (_seconds(name, given) for name in ("from", "to"))
    if begin > end:
        raise bad_query(f"from must not be after to, and {begin} is after {end}")
    if "countback" not in given:
        return Part(symbol, length, begin, end, None)
    count = given["countback"]
    if not re.fullmatch("[0-9]{1,18}", count) or not 1 <= int(count) <= MOST_BARS:
        raise bad_query(f"countback must be a whole number from 1 to {MOST_BARS:,}, not {shown(count)}")
    return Part(symbol, length, begin, end, int(count))


def _seconds(name: str, given: Mapping[str, str]) -> int:
    text = given.get(name, "")
    if not _SECONDS.fullmatch(text):
        raise bad_query(f"{name} must be a whole number of seconds since 1970, not {shown(text)}")
    return max(min(int(text), _MOST_SECONDS), -_MOST_SECONDS)


def _history(store: Store, part: Part) -> bytes:
    series = store.series(part.symbol)
    moment = series.moment()
    check_times(moment)
    least = -math.inf if part.most is not None else part.begin
    most = MOST_BARS + 1 if part.most is None else part.most
    begins, lo, hi = bars_before(moment, part.length, least, part.end, most)
    if len(begins) > MOST_BARS:
        raise bad_query(
            f"more than {MOST_BARS:,} bars of {part.length} s are asked for: ask for a shorter time, or longer bars"
        )
    if not len(begins):
        earlier, _, _ = bars_before(moment, part.length, -math.inf, int(min(part.begin, part.end)), 1)
        return orjson.dumps({"s": "no_data", **({"nextTime": int(earlier[0])} if len(earlier) else {})})
    has_sizes = "sizes" in series.columns
    found = of_any(moment, lo, hi, (*_NAMES, "volume") if has_sizes else _NAMES)
    columns = {"t": begins, **dict(zip("ohlc", (found[name] for name in _NAMES), strict=True))}
    volume = {"v": found["volume"]} if has_sizes else {}
    return orjson.dumps({"s": "ok", **columns, **volume}, option=orjson.OPT_SERIALIZE_NUMPY)


def bars_before(
    moment: Moment, length: int, begin: float, end: int, most: int
) -> tuple[Indexes, Indexes, Indexes]:  # fmt: skip
    """Return when the newest `most` bars that begin in [begin, end) begin, in seconds, and their points [lo, hi).

    Bars without points are passed over, however many; one of which points may no longer be kept is not among them.
    O(bars log N), two searches for each.
    """
    oldest = moment.view.time_of(moment.start)
    found: list[Sequence[int]] = []
    last = (end - 1) // length * length  # the newest bar that may be among them
    hi = first_from(moment, (last + length) * _NS)
    while hi > moment.start and len(found) < most:
        bar = moment.view.time_of(hi - 1) // _NS // length * length
        if bar < begin or (moment.start and bar * _NS <= oldest):
            break
        lo = first_from(moment, bar * _NS)
        found.append((bar, lo, hi))
        hi = lo
    columns = np.array(found[::-1], dtype=np.int64).reshape(-1, 3).T
    return columns[0].copy(), columns[1].copy(), columns[2].copy()


def resources(store: Store, beside: Beside) -> Mapping[str, object]:
    """Return the resource behind each route of this protocol."""
    kinds: Mapping[str, type[_Endpoint]] = {
        "config": Config, "symbols": SymbolInfo, "search": Search, "history": History, "time": Time,
    }  # fmt: skip
    return {f"/udf/{route}": kind(store, beside) for route, kind in kinds.items()}
