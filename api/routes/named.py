"""What /stats answers where statistics are named, any range is asked for or several symbols are; and GET /bars."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import falcon.asgi
import orjson

from api.http.path_points import FEW_POINTS, check_path_points, reads_path
from api.http.problems import shown
from api.http.query import (
    MOST,
    MOST_SYMBOLS,
    bad_query,
    pairs,
    parameters,
    parse_names,
    parse_place,
    parse_window,
    symbol_of,
    whole_number,
)
from api.http.request import Request
from api.operation.beside import Beside
from hft_mmap import STANDARD_WINDOWS, Series, Store
from hft_mmap.answers import rows
from hft_mmap.files.group import groups_of, points_read
from hft_mmap.files.names import validate_symbol
from hft_mmap.named import FIVE

MAX_BARS = 5_000
_EXAMPLE = "/stats?symbol=ABC-USD&window=1000&stats=std,zscore"
_BARS_EXAMPLE = "/bars?symbol=ABC-USD&points=1000"
_NEW = frozenset({"stats", "from", "to", "at"})
_PARAMETERS = ("symbol", "exponent", "k", "window", "at", "from", "to", "stats")
_BARS_PARAMETERS = ("symbol", "points", "window", "from", "to", "stats")
BAR = {"first": "open", "max": "high", "min": "low", "last": "close", "avg": "mean", "std": "std", "count": "count"}
_FEW_SYMBOLS = 8  # answered on the event loop; more take as long as a turn of it


class NamedQuery(NamedTuple):
    """Which statistics of which part of which series; without window, at, begin and end the eight standard windows."""

    symbols: tuple[str, ...]
    names: tuple[str, ...]
    window: int | str | None
    at: int | str | None
    begin: int | str | None
    end: int | str | None

    @property
    def is_range(self) -> bool:
        """Say whether it is of points that no batch will move."""
        return not self.at is self.begin is self.end is None


def parse_named_query(query: bytes) -> NamedQuery | None:
    """Return what `query` asks, None where it has nothing but what /stats has always taken.

    Raises Refusal (400), InvalidSymbol, InvalidStatistic.
    """
    found = list(pairs(query))
    symbols = [value for name, value in found if name == "symbol"]
    if len(symbols) < 2 and _NEW.isdisjoint(name for name, _ in found):  # noqa: PLR2004 - one symbol is the other form
        return None
    if not symbols:
        raise bad_query(f"The parameter symbol is missing; ask for {_EXAMPLE}")
    if len(symbols) > MOST_SYMBOLS:
        raise bad_query(f"{len(symbols)} symbols; one request has at most {MOST_SYMBOLS:,}: send several")
    for symbol in symbols:
        validate_symbol(symbol)
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise bad_query(f"The symbol {shown(twice)} is given twice")
    others = b"&".join(part for part in query.split(b"&") if not part.startswith(b"symbol="))
    given = parameters(others, _PARAMETERS) if len(symbols) > 1 else parameters(query, _PARAMETERS)
    asked = _located(given)
    if len(symbols) > 1 and asked == (None,) * 4:
        raise bad_query("Several symbols need one window, or from and to: the eight windows are answered for one")
    return NamedQuery(tuple(symbols), parse_names(given.get("stats")), *asked)


def _located(given: Mapping[str, str]) -> tuple[int | str | None, ...]:
    """Return window, at, from and to, each None where it was not given."""
    ways = [name for name in ("exponent", "k", "window") if name in given]
    if len(ways) > 1:
        raise bad_query(f"Give only one of {' and '.join(ways)}: k is exponent, and window=1000 is exponent=3")
    if ways and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query(f"Give either {ways[0]}, for the newest points, or from and to, for those of two indexes")
    if "at" in given and not ways:
        raise bad_query("at is where a window ends: give a window beside it, and neither from nor to")
    window = parse_window(ways[0], given[ways[0]]) if ways else None
    at, begin, end = (parse_place(name, given[name]) if name in given else None for name in ("at", "from", "to"))
    return window, at, begin, end


async def answer_named(store: Store, asked: NamedQuery, beside: Beside) -> bytes:
    """Return the answer as JSON. Raises what `Store.stats_across` and `Series.statistics` raise.

    Raises Refusal (422) where more points would have to be read one by one than one request may, or (503) where too
    many such questions wait.
    """
    if reads_path(asked.names):
        if len(asked.symbols) <= _FEW_SYMBOLS and _points(store, asked) <= FEW_POINTS:
            return _answer(store, asked)
        return await beside.answer("path", partial(_answer_paths, store, asked))
    if len(asked.symbols) <= _FEW_SYMBOLS:
        return _answer(store, asked)
    return await asyncio.to_thread(_answer, store, asked)


def _answer_paths(store: Store, asked: NamedQuery) -> bytes:
    check_path_points(_points(store, asked))
    return _answer(store, asked)


def _points(store: Store, asked: NamedQuery) -> int:
    """Return how many points of all windows that are asked for are read one by one, where groups do not cover them."""
    groups = groups_of(asked.names)
    if asked.window is None and not asked.is_range:
        moment, start, total = store.series(asked.symbols[0]).part()
        return sum(
            points_read(moment.view, max(start, total - window), total, groups) for window in STANDARD_WINDOWS
        )  # fmt: skip
    parts = [
        store.series(symbol).part(window=asked.window, at=asked.at, start=asked.begin, end=asked.end)
        for symbol in asked.symbols
    ]
    return sum(points_read(moment.view, begin, end, groups) for moment, begin, end in parts)


def _answer(store: Store, asked: NamedQuery) -> bytes:
    if len(asked.symbols) == 1:
        return answer_one(store.series(asked.symbols[0]), asked)
    return _answer_many(store, asked)


def answer_one(series: Series, asked: NamedQuery) -> bytes:
    """Return the five and the named statistics of one series: of a window, a range, or the eight windows."""
    names = tuple(dict.fromkeys(FIVE + asked.names))
    if asked.window is None and not asked.is_range:
        start, total, found = series.stats_windows(names, STANDARD_WINDOWS)
        by_exponent = {str(k): one for k, one in enumerate(rows({name: found[name] for name in names}), start=1)}
        head = {"symbol": series.symbol, "total": total, "count": total - start}
        return orjson.dumps({**head, "windows": by_exponent})
    return orjson.dumps(
        series.statistics(names, window=asked.window, at=asked.at, start=asked.begin, end=asked.end)
    )  # fmt: skip


def _answer_many(store: Store, asked: NamedQuery) -> bytes:
    names = tuple(dict.fromkeys(FIVE + asked.names))
    found = store.stats_across(
        asked.symbols, names, window=asked.window, at=asked.at, start=asked.begin, end=asked.end
    )  # fmt: skip
    columns = {"symbols": asked.symbols, **{name: found[name] for name in names}}
    return orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY)


class BarsQuery(NamedTuple):
    """Bars of `points` points over the newest `window` points, or those of [begin, end), and further statistics."""

    symbol: str
    points: int
    window: int | None
    begin: int
    end: int
    names: tuple[str, ...]


def parse_bars_query(query: bytes) -> BarsQuery:
    """Return what `query`, the raw bytes after the question mark, asks for. Raises Refusal (400), InvalidSymbol."""
    given = parameters(query, _BARS_PARAMETERS)
    symbol = symbol_of(given, _BARS_EXAMPLE)
    if "points" not in given:
        raise bad_query(f"The parameter points is missing: how many points a bar has; ask for {_BARS_EXAMPLE}")
    if "window" in given and not given.keys().isdisjoint({"from", "to"}):
        raise bad_query("Give either window, for the newest points, or from and to, for those of two indexes")
    window = whole_number("window", given["window"], least=1) if "window" in given else None
    begin = whole_number("from", given.get("from", "0"), least=0)
    end = whole_number("to", given["to"], least=0) if "to" in given else MOST
    if begin > end:
        raise bad_query(f"from must not be above to, and {begin} is above {end}")
    points = whole_number("points", given["points"], least=1)
    return BarsQuery(symbol, points, window, begin, end, parse_names(given.get("stats")))


class Bars:
    """Answers bars of so many points, as columns."""

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the bars of a window, of a range, or of all that is kept."""
        asked = parse_bars_query(req.scope["query_string"])
        if reads_path(asked.names):
            resp.data = await self._beside.answer("path", partial(self._answer, asked))
            return
        # In a thread for the same reasons as the buckets of /series.
        resp.data = await asyncio.to_thread(self._answer, asked)

    on_head = on_get

    def _answer(self, asked: BarsQuery) -> bytes:
        series = self._store.series(asked.symbol)
        start, total = series.bounds()
        begin, end = (asked.begin, asked.end) if asked.window is None else (total - asked.window, total)
        begin, end = min(max(begin, start), total), min(end, total)
        bars = (end - 1) // asked.points - begin // asked.points + 1 if begin < end else 0
        if bars > MAX_BARS:
            raise bad_query(
                f"points={asked.points} makes {bars:,} bars, and at most {MAX_BARS:,} are answered: give more points a "
                "bar, or ask for fewer points"
            )
        if reads_path(asked.names):
            check_path_points(end - begin)
        names = tuple(dict.fromkeys((*BAR, *asked.names)))
        found = series.stats_bars(asked.points, begin, max(begin, end), stats=names)
        columns = {BAR.get(name, name): found[name] for name in names}
        document = {"symbol": asked.symbol, "total": total, "start": start, "index": found["start"], **columns}
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
