"""What is asked of any window or range: the requests and how their answers are read; both clients share it."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap.answers import Passage, Point, Rank, checked_indexes
from hft_mmap.client.wire import RAW, Ask
from hft_mmap.errors import InvalidRange
from hft_mmap.named import ARGMAX, ARGMIN, Column, Columns

Number: TypeAlias = float | int | None
WINDOWS_A_REQUEST = 100_000
_WHOLE = frozenset({"start", "end", "count", "index", "total", ARGMIN, ARGMAX})


def _given(**parameters: int | None) -> dict[str, str | int]:
    """Return the parameters that are not None; `from_` stands for from, which is a word of Python."""
    return {name.rstrip("_"): operator.index(value) for name, value in parameters.items() if value is not None}


def statistics(symbol: str, stats: Sequence[str], **part: int | None) -> Ask[dict[str, Number]]:
    """Ask for named statistics of one window or range."""

    def read(response: httpx.Response) -> dict[str, Number]:
        found: dict[str, Number] = response.json()
        return {name: found[name] for name in stats}

    return Ask(read, "GET", "/stats", {"symbol": symbol, "stats": ",".join(stats), **_part(part)}, {})


def across(symbols: Sequence[str], stats: Sequence[str], **part: int | None) -> Ask[Columns]:
    """Ask for named statistics of a window or range of each symbol."""

    def read(response: httpx.Response) -> Columns:
        found = response.json()
        columns = {name: found[name] if isinstance(found[name], list) else [found[name]] for name in stats}
        return _columns(columns)

    params = {"symbol": list(symbols), "stats": ",".join(stats), **_part(part)}
    return Ask(read, "GET", "/stats", params, {})


def _part(part: Mapping[str, int | None]) -> dict[str, str | int]:
    """Return the parameters of a part; InvalidRange where there is none, which would be eight windows."""
    found = _given(window=part["window"], at=part["at"], from_=part["start"], to=part["end"])
    if not found:
        message = "give a window, or start, end or both: of which points the statistics are to be"
        raise InvalidRange(message)
    return found


def many(symbol: str, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str]) -> Iterator[Ask[Columns]]:
    """Ask for named statistics of each range, WINDOWS_A_REQUEST of them at a time; once at least."""
    lo, hi = checked_indexes("starts", starts), checked_indexes("ends", ends)
    if len(lo) != len(hi):
        message = f"starts and ends must be of one length, not {len(lo)} and {len(hi)}"
        raise InvalidRange(message)
    pairs = np.stack((lo, hi), axis=1).astype("<i8")
    params = {"symbol": symbol, "stats": ",".join(stats), "format": "json"}
    for begin in range(0, max(len(pairs), 1), WINDOWS_A_REQUEST):
        content = pairs[begin : begin + WINDOWS_A_REQUEST].tobytes()
        yield Ask(
            lambda response: _columns(response.json()), "POST", "/windows", params, {"Content-Type": RAW}, content
        )


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of all `parts`, of which there is one at least."""
    return Columns({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def first(symbol: str, after: int, above: float | None, below: float | None, until: int | None) -> Ask[Passage | None]:
    """Ask for the first point that meets a barrier."""

    def read(response: httpx.Response) -> Passage | None:
        found: dict[str, Any] = response.json()
        return None if found["index"] is None else Passage(found["index"], found["value"], found["which"])

    # As the shortest text that reads back as the same number.
    barriers = {name: repr(float(value)) for name, value in (("above", above), ("below", below)) if value is not None}
    return Ask(read, "GET", "/first", {"symbol": symbol, **_given(after=after, until=until), **barriers}, {})


def quantile(
    symbol: str, q: Sequence[float], window: int | None, start: int | None, end: int | None
) -> Ask[tuple[float, ...]]:
    """Ask for exact quantiles of a window or a range."""
    shares = ",".join(repr(float(share)) for share in q)
    params = {"symbol": symbol, "q": shares, **_given(window=window, from_=start, to=end)}
    return Ask(lambda response: tuple(map(float, response.json()["value"])), "GET", "/quantile", params, {})


def rank(symbol: str, value: float, window: int | None, start: int | None, end: int | None) -> Ask[Rank]:
    """Ask for how many points of a window or a range are below a value, equal to it and above it."""

    def read(response: httpx.Response) -> Rank:
        found: dict[str, Any] = response.json()
        return Rank(found["below"], found["equal"], found["above"])

    params = {"symbol": symbol, "value": repr(float(value)), **_given(window=window, from_=start, to=end)}
    return Ask(read, "GET", "/rank", params, {})


def asof(symbol: str, at: int) -> Ask[Point]:
    """Ask for the newest point at or before an index."""

    def read(response: httpx.Response) -> Point:
        found: dict[str, Any] = response.json()
        return Point(found["index"], float(found["value"]), found.get("time"), found.get("size"))

    return Ask(read, "GET", "/asof", {"symbol": symbol, **_given(at=at)}, {})


def _columns(found: Mapping[str, list[Any]]) -> Columns:
    """Return columns of JSON as arrays: null, where a statistic is undefined, as NaN."""
    return Columns({name: _column(name, values) for name, values in found.items()})


def _column(name: str, values: list[Any]) -> Column:
    kind: type[np.int64 | np.float64] = np.int64 if name in _WHOLE else np.float64
    made: NDArray[Any] = np.array(values, dtype=kind)
    return made
