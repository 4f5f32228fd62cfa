"""GET /bars: open, high, low, close of every so many points, of every minute, of every so much volume or value."""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import falcon.asgi
import orjson

from api.http.path_points import check_path_points, reads_path
from api.http.problems import shown
from api.http.query import bad_query, parameters, parse_lasting, parse_names, parse_place, symbol_of, whole_number
from api.http.request import Request
from api.http.times import TIMES, iso, wants_iso
from api.operation.beside import Beside
from hft_mmap import Series, Store, by_time
from hft_mmap.asked import bounds
from hft_mmap.candles import FILLS, Cut, cut_by_clock, cut_by_points, cut_by_sizes, folded, kept_of
from hft_mmap.files.proved import groups_of, read_from
from hft_mmap.moment import Moment

MAX_BARS = 5_000
MAX_EDGES = 1_000_000
"""Bars by time that a range may have before those without points are left out; they take 10 ms."""
BAR = {"first": "open", "max": "high", "min": "low", "last": "close", "avg": "mean", "std": "std", "count": "count"}
OF_SIZES = ("volume", "vwap")
"""What a bar has as well where the series has sizes."""

_EXAMPLE = "/bars?symbol=ABC-USD&points=1000"
_WAYS = ("points", "every", "volume", "value")
_PARAMETERS = ("symbol", *_WAYS, "window", "from", "to", "tz", "fill", TIMES, "stats")
_MAX_NUMBER_CHARS = 40
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class BarsQuery(NamedTuple):
    """Which bars of which part of a series, and further statistics; one of points, every and limit is not None.

    `limit` is of the volume, or of the value where `by_value`.
    """

    symbol: str
    points: int | None
    every: str | None
    limit: float | None
    by_value: bool
    window: int | str | None
    begin: int | str | None
    end: int | str | None
    tz: str | None
    fill: str
    iso: bool
    names: tuple[str, ...]


def parse_bars_query(query: bytes) -> BarsQuery:
    """Return what `query`, the raw bytes after the question mark, asks for.

    Raises Refusal (400), InvalidSymbol, InvalidStatistic, InvalidWindow.
    """
    given = parameters(query, _PARAMETERS)
    symbol = symbol_of(given, _EXAMPLE)
    ways = [name for name in _WAYS if name in given]
    if len(ways) != 1:
        raise bad_query(
            f"Give one of {', '.join(_WAYS)}, which says what a bar is, not {' and '.join(ways) or 'none'}; ask for "
            f"{_EXAMPLE}"
        )
    for name in ("tz", "fill"):
        if name in given and ways[0] != "every":
            raise bad_query(f"{name} goes with every, for bars by time, and not with {ways[0]}")
    fill = given.get("fill", "none")
    if fill not in FILLS:
        raise bad_query(f"fill must be one of {', '.join(FILLS)}, not {shown(fill)}")
    points = whole_number("points", given["points"], least=1) if "points" in given else None
    by_value = "value" in given
    limit = None if points or "every" in given else _limit(ways[0], given[ways[0]])
    every = _every(given["every"]) if "every" in given else None
    names = parse_names(given.get("stats"))
    window, begin, end = _part(given)
    return BarsQuery(
        symbol, points, every, limit, by_value, window, begin, end, given.get("tz"), fill, wants_iso(given), names
    )


def _part(given: Mapping[str, str]) -> tuple[int | str | None, ...]:
    if "window" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either window, for the newest points, or from and to, for those of two indexes or times")
    window = parse_lasting("window", given["window"]) if "window" in given else None
    begin, end = (parse_place(name, given[name]) if name in given else None for name in ("from", "to"))
    if isinstance(begin, int) and isinstance(end, int) and begin > end:
        raise bad_query(f"from must not be above to, and {begin} is above {end}")
    return window, begin, end


def _every(text: str) -> str:
    by_time.duration_ns(text, "every")
    return text


def _limit(name: str, text: str) -> float:
    found = float(text) if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text) else 0.0
    if not 0 < found < float("inf"):
        raise bad_query(f"{name} must be a number above 0, such as 1000.5, not {shown(text)}")
    return found


class Bars:
    """Answers bars, as columns."""

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the bars of a window, of a range, or of all that is kept."""
        asked = parse_bars_query(req.scope["query_string"])
        series = self._store.series(asked.symbol)
        names = tuple(dict.fromkeys((*names_of(series), *asked.names)))
        if reads_path(names) or asked.limit is not None:
            resp.data = await self._beside.answer("path", partial(_answer, series.moment, asked, names))
            return
        # In a thread for the same reasons as the buckets of /series.
        resp.data = await asyncio.to_thread(_answer, series.moment, asked, names)

    on_head = on_get


def names_of(series: Series) -> tuple[str, ...]:
    """Return the statistics that each bar of a series has."""
    return (*BAR, *(OF_SIZES if "sizes" in series.columns else ()))


def _answer(look: Callable[[], Moment], asked: BarsQuery, names: tuple[str, ...]) -> bytes:
    moment = look()
    cut = _cut(moment, asked, names)
    columns = columns_of(moment, cut, names)
    if asked.iso and "time" in columns:
        columns["time"] = iso(columns["time"])
    document = {"symbol": asked.symbol, "total": moment.total, "start": moment.start, **columns}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def columns_of(moment: Moment, cut: Cut, names: tuple[str, ...]) -> dict[str, Any]:
    """Return bars as columns under the names of /bars, times in nanoseconds."""
    found = folded(moment, cut, names)
    times = {"time": found["time"]} if "time" in found else {}
    return {**times, "index": found["start"], **{BAR.get(name, name): found[name] for name in names}}


def _cut(moment: Moment, asked: BarsQuery, names: tuple[str, ...]) -> Cut:
    """Return the bars that are asked for. Raises Refusal (400, 422) where they are, or read, too many."""
    begin, end = asked.begin, asked.end
    if asked.window is not None:
        is_time = by_time.is_time(asked.window)
        newest = bounds(moment, asked.window)[0] if is_time else max(moment.total - int(asked.window), 0)
        begin, end = newest, moment.total
    lo, hi = kept_of(moment, begin, end)
    if asked.limit is not None:
        check_path_points(hi - lo)
    else:
        check_path_points(hi - max(lo, read_from(moment.view, groups_of(names))))
    if asked.limit is not None:
        return cut_by_sizes(moment, asked.limit, lo, hi, by_value=asked.by_value, most=MAX_BARS)
    if asked.points is not None:
        _check_bars("points", asked.points, (hi - 1) // asked.points - lo // asked.points + 1 if lo < hi else 0)
        return cut_by_points(moment, asked.points, lo, hi)
    most = MAX_EDGES if asked.fill == "none" else MAX_BARS
    cut = cut_by_clock(moment, asked.every, begin, end, tz=asked.tz, fill=asked.fill, most=most)
    _check_bars("every", asked.every, len(cut.starts))
    return cut


def _check_bars(way: str, given: int | str | None, bars: int) -> None:
    if bars > MAX_BARS:
        few = "give more points a bar" if way == "points" else f"give a longer {way}"
        raise bad_query(
            f"{way}={given} makes {bars:,} bars, and at most {MAX_BARS:,} are answered: {few}, or ask for fewer points"
        )
