"""What /stats answers where statistics are named, any range is asked for or several symbols are."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import orjson

from api.http.path_points import FEW_POINTS, check_path_points, reads_path
from api.http.problems import shown
from api.http.query import (
    MOST_SYMBOLS,
    bad_query,
    pairs,
    parameters,
    parse_names,
    parse_place,
    parse_window,
)
from api.operation.beside import Beside
from hft_mmap import STANDARD_TIMES, STANDARD_WINDOWS, Series, Store
from hft_mmap.answers import rows
from hft_mmap.asked import newest_of_each
from hft_mmap.files.names import validate_symbol
from hft_mmap.files.proved import groups_of, read_from
from hft_mmap.moment import Moment
from hft_mmap.named import FIVE

_EXAMPLE = "/stats?symbol=ABC-USD&window=1000&stats=std,zscore"
_NEW = frozenset({"stats", "from", "to", "at"})
_PARAMETERS = ("symbol", "exponent", "k", "window", "at", "from", "to", "stats")
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
    if asked.window is None and not asked.is_range:
        series = store.series(asked.symbols[0])
        moment, _, total = series.part()
        begins = newest_of_each(moment, (*STANDARD_WINDOWS, *standard_times(series))).tolist()
        return sum(_read(asked, moment, begin, total) for begin in begins)
    parts = [
        store.series(symbol).part(window=asked.window, at=asked.at, start=asked.begin, end=asked.end)
        for symbol in asked.symbols
    ]
    return sum(_read(asked, *part) for part in parts)


def _read(asked: NamedQuery, moment: Moment, begin: int, end: int) -> int:
    """Return how many of the points [begin, end) are read."""
    return max(end - max(begin, read_from(moment.view, groups_of(asked.names))), 0)


def _answer(store: Store, asked: NamedQuery) -> bytes:
    if len(asked.symbols) == 1:
        return answer_one(store.series(asked.symbols[0]), asked)
    return _answer_many(store, asked)


def standard_times(series: Series) -> tuple[str, ...]:
    """Return the standard windows by time, where a series has times."""
    return STANDARD_TIMES if "times" in series.columns else ()


def answer_one(series: Series, asked: NamedQuery) -> bytes:
    """Return the five and the named statistics of one series: of a window, a range, or the eight windows."""
    names = tuple(dict.fromkeys(FIVE + asked.names))
    if asked.window is None and not asked.is_range:
        lasting = standard_times(series)
        start, total, found = series.stats_windows(names, (*STANDARD_WINDOWS, *lasting))
        fields = rows({name: found[name] for name in names})
        by_exponent = {str(k): one for k, one in enumerate(fields[: len(STANDARD_WINDOWS)], start=1)}
        document = {"symbol": series.symbol, "total": total, "count": total - start, "windows": by_exponent}
        if lasting:
            document["by_time"] = dict(zip(lasting, fields[len(STANDARD_WINDOWS) :], strict=True))
        return orjson.dumps(document)
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
