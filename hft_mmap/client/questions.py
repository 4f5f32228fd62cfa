"""What is asked of any window or range: the requests and how their answers are read; both clients share it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap.answers import Passage, Point, Rank, checked_indexes
from hft_mmap.asof import NOWHERE
from hft_mmap.by_time import Instant, Lasting, Window, is_time, many_ns
from hft_mmap.client.places import lasting, place_of, window_of
from hft_mmap.client.wire import RAW, Ask
from hft_mmap.errors import InvalidRange, InvalidWindow
from hft_mmap.named import ARGMAX, ARGMIN, Column, Columns, Indexes, checked_names
from hft_mmap.ticks import Times

Number: TypeAlias = float | int | None
Place: TypeAlias = int | Instant
WINDOWS_A_REQUEST = 100_000
_BAR = {"first": "open", "max": "high", "min": "low", "last": "close", "avg": "mean", "std": "std", "count": "count"}
"""What a bar has in any case, and its name there."""
_BY: Mapping[str, Callable[[str, Any], Indexes]] = {"time": many_ns, "index": checked_indexes}
_POINT = ("index", "value", "time", "size")
_WHOLE = frozenset({"start", "end", "time", "count", "index", "total", ARGMIN, ARGMAX})


def _given(window: Window | None = None, **places: Place | None) -> dict[str, str]:
    """Return the parameters that are not None; `from_` stands for from, which is a word of Python."""
    found = {} if window is None else {"window": window_of(window)}
    names = {name: name.rstrip("_") for name in places}
    return found | {names[name]: place_of(at, names[name]) for name, at in places.items() if at is not None}


def statistics(
    symbol: str, stats: Sequence[str], window: Window | None, at: Place | None, start: Place | None, end: Place | None
) -> Ask[dict[str, Number]]:  # fmt: skip
    """Ask for named statistics of one window or range."""

    def read(response: httpx.Response) -> dict[str, Number]:
        found: dict[str, Number] = response.json()
        return {name: found[name] for name in stats}

    return Ask(read, "GET", "/stats", {"symbol": symbol, "stats": ",".join(stats), **_part(window, at, start, end)}, {})


def across(
    symbols: Sequence[str], stats: Sequence[str], window: Window | None, at: Place | None, start: Place | None,
    end: Place | None,
) -> Ask[Columns]:  # fmt: skip
    """Ask for named statistics of a window or range of each symbol."""

    def read(response: httpx.Response) -> Columns:
        found = response.json()
        columns = {name: found[name] if isinstance(found[name], list) else [found[name]] for name in stats}
        return _columns(columns)

    params = {"symbol": list(symbols), "stats": ",".join(stats), **_part(window, at, start, end)}
    return Ask(read, "GET", "/stats", params, {})


def _part(window: Window | None, at: Place | None, start: Place | None, end: Place | None) -> dict[str, str]:
    """Return the parameters of a part; InvalidRange where there is none, which would be eight windows."""
    found = _given(window=window, at=at, from_=start, to=end)
    if not found:
        message = "give a window, or start, end or both: of which points the statistics are to be"
        raise InvalidRange(message)
    return found


def many(symbol: str, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str]) -> Iterator[Ask[Columns]]:
    """Ask for named statistics of each range, WINDOWS_A_REQUEST of them at a time; once at least."""
    return _pairs(symbol, checked_indexes("starts", starts), checked_indexes("ends", ends), stats, {})


def between(symbol: str, starts: Times, ends: Times, stats: Sequence[str]) -> Iterator[Ask[Columns]]:
    """Ask for named statistics of the points between two times, likewise."""
    return _pairs(symbol, many_ns("starts", starts), many_ns("ends", ends), stats, {"by": "time"})


def around(
    symbol: str, places: Times, stats: Sequence[str], before: Window | None, after: Window | None, by: str
) -> Iterator[Ask[Columns]]:
    """Ask for named statistics of a window around each index, or each time, likewise; InvalidWindow."""
    sides = {name: _side(name, side) for name, side in (("before", before), ("after", after)) if side is not None}
    if not sides:
        message = "give before, after or both: how many points, or how long a time, a window is around its place"
        raise InvalidWindow(message)
    if by not in _BY:
        message = f"by must be {' or '.join(_BY)}, which says what the places are, not {by!r}"
        raise InvalidRange(message)
    return _windows(symbol, _BY[by]("places", places), stats, sides | {"by": by})


def _side(name: str, side: Window) -> str:
    return lasting(side, name) if is_time(side) else window_of(side)


def _pairs(
    symbol: str, lo: Indexes, hi: Indexes, stats: Sequence[str], params: Mapping[str, str]
) -> Iterator[Ask[Columns]]:  # fmt: skip
    if len(lo) != len(hi):
        message = f"starts and ends must be of one length, not {len(lo)} and {len(hi)}"
        raise InvalidRange(message)
    return _windows(symbol, np.stack((lo, hi), axis=1), stats, params)


def _windows(
    symbol: str, rows: Indexes, stats: Sequence[str], params: Mapping[str, str]
) -> Iterator[Ask[Columns]]:  # fmt: skip
    asked = {"symbol": symbol, "stats": ",".join(stats), "format": "json", **params}
    for content in _bodies(rows):
        yield Ask(lambda response: _columns(response.json()), "POST", "/windows", asked, {"Content-Type": RAW}, content)


def _bodies(rows: Indexes) -> Iterator[bytes]:
    """Yield the rows as bodies of at most WINDOWS_A_REQUEST rows, one at least."""
    for begin in range(0, max(len(rows), 1), WINDOWS_A_REQUEST):
        yield rows[begin : begin + WINDOWS_A_REQUEST].astype("<i8").tobytes()


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of all `parts`, of which there is one at least."""
    return Columns({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def spread(parts: Sequence[Sequence[int]], found: Sequence[Columns]) -> Columns:
    """Return columns whose rows are at the places `parts` say; each of those is what one of `found` has."""
    order = np.argsort(np.concatenate([np.array(part, dtype=np.intp) for part in parts]), kind="stable")
    return Columns({name: column[order] for name, column in joined(found).items()})


def bars(
    symbol: str, stats: Sequence[str], window: Window | None, start: Place | None, end: Place | None,
    **way: str | float | None,
) -> Ask[Columns]:  # fmt: skip
    """Ask for bars, which `way` says by points, every, volume or value, and perhaps tz and fill."""
    names = checked_names(stats)
    further = ",".join(name for name in names if name not in _BAR)

    def read(response: httpx.Response) -> Columns:
        found: dict[str, Any] = response.json()
        columns = {"time": found["time"]} if "time" in found else {}
        ends = [start + count for start, count in zip(found["index"], found["count"], strict=True)]
        columns |= {"start": found["index"], "end": ends}
        return _columns(columns | {name: found[_BAR.get(name, name)] for name in names})

    params = {"symbol": symbol, **_given(window, from_=start, to=end)} | ({"stats": further} if further else {})
    params |= {name: str(value) for name, value in way.items() if value is not None}
    return Ask(read, "GET", "/bars", params, {})


def first(symbol: str, after: int, above: float | None, below: float | None, until: int | None) -> Ask[Passage | None]:
    """Ask for the first point that meets a barrier."""

    def read(response: httpx.Response) -> Passage | None:
        found: dict[str, Any] = response.json()
        return None if found["index"] is None else Passage(found["index"], found["value"], found["which"])

    # As the shortest text that reads back as the same number.
    barriers = {name: repr(float(value)) for name, value in (("above", above), ("below", below)) if value is not None}
    return Ask(read, "GET", "/first", {"symbol": symbol, **_given(None, after=after, until=until), **barriers}, {})


def quantile(
    symbol: str, q: Sequence[float], window: Window | None, start: Place | None, end: Place | None
) -> Ask[tuple[float, ...]]:
    """Ask for exact quantiles of a window or a range."""
    shares = ",".join(repr(float(share)) for share in q)
    params = {"symbol": symbol, "q": shares, **_given(window, from_=start, to=end)}
    return Ask(lambda response: tuple(map(float, response.json()["value"])), "GET", "/quantile", params, {})


def rank(
    symbol: str, value: float, window: Window | None, start: Place | None, end: Place | None
) -> Ask[Rank]:  # fmt: skip
    """Ask for how many points of a window or a range are below a value, equal to it and above it."""

    def read(response: httpx.Response) -> Rank:
        found: dict[str, Any] = response.json()
        return Rank(found["below"], found["equal"], found["above"])

    params = {"symbol": symbol, "value": repr(float(value)), **_given(window, from_=start, to=end)}
    return Ask(read, "GET", "/rank", params, {})


def asof(symbol: str, at: Place, tolerance: Lasting | None) -> Ask[Point | None]:
    """Ask for the newest point at or before an index, or a time."""

    def read(response: httpx.Response) -> Point | None:
        found: dict[str, Any] = response.json()
        if found["index"] is None:
            return None
        return Point(found["index"], float(found["value"]), found.get("time"), found.get("size"))

    return Ask(read, "GET", "/asof", {"symbol": symbol, **_given(at=at), **_near(tolerance)}, {})


def asof_across(symbols: Sequence[str], at: Place, tolerance: Lasting | None) -> Ask[dict[str, Point | None]]:
    """Ask for it of each symbol."""

    def read(response: httpx.Response) -> dict[str, Point | None]:
        found: dict[str, Any] = response.json()
        if "symbols" not in found:  # those of one are no lists
            found = {"symbols": [found["symbol"]]} | {name: [found.get(name)] for name in _POINT}
        rows = zip(*(found[name] for name in _POINT), strict=True)
        points = [None if row[0] is None else Point(*row) for row in rows]
        return dict(zip(found["symbols"], points, strict=True))

    return Ask(read, "GET", "/asof", {"symbol": list(symbols), **_given(at=at), **_near(tolerance)}, {})


def asof_many(symbol: str, times: Times, tolerance: Lasting | None) -> Iterator[Ask[Columns]]:
    """Ask for the newest point at or before each time, WINDOWS_A_REQUEST of them at a time."""

    def read(response: httpx.Response) -> Columns:
        found: dict[str, Any] = response.json()
        empty = {"index": NOWHERE, "time": 0}
        columns = {
            name: [empty.get(name) if value is None else value for value in found[name]]
            for name in ("index", "time", "value", "size")  # in the order of the library
            if found[name] is not None
        }
        return _columns(columns)

    params = {"symbol": symbol, **_near(tolerance)}
    for content in _bodies(many_ns("times", times)):
        yield Ask(read, "POST", "/asof", params, {"Content-Type": RAW}, content)


def _near(tolerance: Lasting | None) -> dict[str, str]:
    return {} if tolerance is None else {"tolerance": lasting(tolerance, "tolerance")}


def _columns(found: Mapping[str, list[Any]]) -> Columns:
    """Return columns of JSON as arrays: null, where a statistic is undefined, as NaN."""
    return Columns({name: _column(name, values) for name, values in found.items()})


def _column(name: str, values: list[Any]) -> Column:
    # The index of the least price of no point is none: such a column is of floats, as that of the library.
    kind: type[np.int64 | np.float64] = np.int64 if name in _WHOLE and None not in values else np.float64
    made: NDArray[Any] = np.array(values, dtype=kind)
    return made
