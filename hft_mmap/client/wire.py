"""What is asked of the service and how its answers are read; opens no connection, so both clients share it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import Prices
from hft_mmap.by_time import Instant, Window
from hft_mmap.client.errors import NotFound
from hft_mmap.client.places import place_of, window_of
from hft_mmap.named import FIVE
from hft_mmap.reader import SeriesInfo
from hft_mmap.ticks import Sizes, Ticks, Times, as_ticks, check_ticks
from hft_mmap.tree.buckets import Buckets

RAW = "application/octet-stream"
APPEND_PATH = "/add_batch"
STREAM_TIMEOUT_S = 45.0
"""A stream on which nothing came for so long is dead: the service says something every 15 s."""
BATCH_VALUES = 100_000
"""What a service takes in one batch unless its settings say otherwise."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Added:
    """A batch was stored: points of it, points ever appended to the series, and how durable they are.

    late: points that came with a time before that of the point before them, whose time they have now; latest_ns: by how
    much at most. seq: of a replica of a shard, the newest record of its log that was read with it.
    """

    added: int
    total: int
    durability: str
    late: int = 0
    latest_ns: int = 0
    seq: int | None = None

    def then(self, after: "Added") -> "Added":
        """Return what is true of this batch and the one after it, together."""
        late, latest_ns = self.late + after.late, max(self.latest_ns, after.latest_ns)
        return Added(self.added + after.added, after.total, after.durability, late, latest_ns, after.seq)


@dataclass(frozen=True, slots=True)
class Stats:
    """Min, max, last, average and population variance of a window."""

    min: float
    max: float
    last: float
    avg: float
    var: float


@dataclass(frozen=True, slots=True)
class Windows:
    """The statistics of several windows, by their number of points, all of one moment.

    total: points ever appended to the series; count: those that are kept. named: the further statistics that a stream
    was asked for, by window and name, None where one is undefined.
    """

    symbol: str
    total: int
    count: int
    windows: Mapping[int, Stats]
    named: Mapping[int, Mapping[str, float | int | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask(Generic[Answer]):
    """One request, how its answer is read, and whether it may be sent again after it was perhaps carried out."""

    read: Callable[[httpx.Response], Answer]
    method: str
    path: str
    params: Mapping[str, str | int | Sequence[str | int]]
    headers: Mapping[str, str]
    content: bytes | None = None
    repeatable: bool = True
    accepted: tuple[int, ...] = (200,)
    of: str | None = None

    @property
    def symbols(self) -> list[str]:
        """The symbols that it is about, none where it is about all; `of`: the one that no parameter names."""
        found = self.params.get("symbol", self.of)
        if found is None:
            return []
        return [str(found)] if isinstance(found, str | int) else [str(one) for one in found]


def batches(
    values: Prices, batch_values: int, times: Times | None = None, sizes: Sizes | None = None, time_unit: str = "ns",
    *, signed: bool = False,
) -> list[Ticks]:  # fmt: skip
    """Return points in batches of at most `batch_values`, at least one; each of them is looked at before.

    signed: prices may be negative.

    InvalidValues, InvalidTimes, InvalidSizes if one of them is none.
    """
    return cut(check_ticks(as_ticks(values, times, sizes, time_unit), signed=signed), batch_values)


def cut(rows: Ticks, batch_values: int) -> list[Ticks]:
    """Return points in batches of at most `batch_values`."""
    count = len(rows.prices)
    return [rows.cut(begin, min(begin + batch_values, count)) for begin in range(0, count, batch_values)]


def append(symbol: str, batch: Ticks, offset: int | None) -> Ask[Added]:
    """Ask for a batch that `batches` gave to be stored, as raw numbers."""
    headers = {"Content-Type": RAW}
    params: dict[str, str | int] = {"symbol": symbol}
    if offset is not None:
        headers["X-Offset"] = str(offset)
    columns = {"time": batch.times, "price": batch.prices, "size": batch.sizes}
    there = {name: column for name, column in columns.items() if column is not None}
    if len(there) > 1:
        params["columns"] = ",".join(there)
    body = b"".join(column.tobytes() for column in there.values())
    return Ask(_added, "POST", APPEND_PATH, params, headers, body, offset is not None)


def stats(symbol: str, window: Window) -> Ask[Stats]:
    """Ask for the statistics of one window."""
    params = {"symbol": symbol, "window": window_of(window)}
    return Ask(lambda response: Stats(**response.json()), "GET", "/stats", params, {})


def windows(symbol: str) -> Ask[Windows]:
    """Ask for the statistics of the eight standard windows."""
    return Ask(_windows, "GET", "/stats", {"symbol": symbol}, {})


def total(symbol: str) -> Ask[int]:
    """Ask how many points were ever appended; 0 where the series does not exist."""
    return Ask(_total, "GET", "/stats", {"symbol": symbol}, {}, accepted=(200, 404))


def buckets(symbol: str, given: Mapping[str, int | None]) -> Ask[Buckets]:
    """Ask for a range in buckets or bars."""
    params: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    return Ask(_buckets, "GET", "/series", {"symbol": symbol, **params}, {})


def series(symbol: str) -> Ask[SeriesInfo]:
    """Ask what is stored of one symbol."""
    return Ask(lambda response: _series(response, symbol), "GET", "/symbols", {}, {}, of=symbol)


def symbols(prefix: str = "", after: str | None = None, limit: int | None = None) -> Ask[list[SeriesInfo]]:
    """Ask what is stored."""
    given = {"prefix": prefix or None, "after": after, "limit": limit}
    params: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    return Ask(
        lambda response: [SeriesInfo(**row) for row in response.json()["symbols"]], "GET", "/symbols", params, {}
    )


def create(symbol: str) -> Ask[bool]:
    """Ask for a symbol to be made; the answer says whether it was."""
    path = _path_of(symbol)
    return Ask(lambda response: bool(response.json()["created"]), "PUT", path, {}, {}, accepted=(200, 201), of=symbol)


def rename(old: str, new: str) -> Ask[int]:
    """Ask for another name; the answer has the total."""
    body = json.dumps({"symbol": new}).encode()
    headers = {"Content-Type": "application/json"}
    return Ask(
        lambda response: int(response.json()["total"]),
        "PATCH",
        _path_of(old),
        {},
        headers,
        body,
        repeatable=False,
        of=old,
    )


def remove(symbol: str) -> Ask[None]:
    """Ask for a symbol to be removed."""
    return Ask(lambda _: None, "DELETE", _path_of(symbol), {}, {}, repeatable=False, of=symbol)


def _path_of(symbol: str) -> str:
    """Return the path of a symbol; a dot alone would be taken for a step in it."""
    return f"/symbols/{quote(symbol, safe='').replace('.', '%2E')}"


def health() -> Ask[bool]:
    """Ask whether the process answers."""
    return Ask(lambda response: bool(response.json()["status"] == "ok"), "GET", "/health", {}, {})


def ready() -> Ask[list[str]]:
    """Ask whether every series serves; the answer has the reasons why not."""
    return Ask(_reasons, "GET", "/ready", {}, {}, accepted=(200, 503))


def columns(symbol: str) -> Ask[tuple[str, ...]]:
    """Ask which columns a series has: "price", and "time" or "size" beside it."""
    params: dict[str, str | int] = {"symbol": symbol, "last": 1, "format": "json"}
    return Ask(lambda response: tuple(response.headers["X-Columns"].split(",")), "HEAD", "/values", params, {})


def values(
    symbol: str, last: Window | None, first: int | Instant | None, end: int | Instant | None,
    columns: tuple[str, ...] = ("price",),
) -> Ask[NDArray[np.float64]]:  # fmt: skip
    """Ask for points, as raw numbers, one column behind the other."""
    params = {"symbol": symbol, "columns": ",".join(columns)} | ({} if last is None else {"last": window_of(last)})
    params |= {name: place_of(place, name) for name, place in (("from", first), ("to", end)) if place is not None}
    return Ask(_no_body, "GET", "/values", params, {"Accept": RAW})


def stream(symbols: str | Sequence[str], windows: Sequence[int], stats: Sequence[str], interval_ms: int) -> Ask[None]:
    """Ask to be told of every change, as server-sent events."""
    params: dict[str, str | int | Sequence[str | int]] = {
        "symbol": [symbols] if isinstance(symbols, str) else list(symbols),
        "window": list(windows),
        "interval_ms": interval_ms,
    }
    if stats:
        params["stats"] = ",".join(stats)
    return Ask(lambda _response: None, "GET", "/events", params, {"Accept": "text/event-stream"})


class Updates:
    """Makes updates of the lines of server-sent events; a line comes without its end."""

    def __init__(self, stats: Sequence[str]) -> None:
        """Know of no symbol yet; `stats` are the further statistics that were asked for."""
        self._names = tuple(stats)
        self._data = ""
        self._told: dict[str, Windows] = {}

    def begin(self) -> None:
        """Begin a new answer: what the one before it left unfinished is nothing."""
        self._data = ""

    def take(self, line: str) -> Windows | None:
        """Take the next line; return the update that ends with it, unless that is how things stood before.

        Every answer begins with how things stand, so one that goes on for another tells much of it again.
        """
        if line.startswith("data:"):
            self._data += line.removeprefix("data:")
            return None
        if line or not self._data:  # id, retry, a comment that keeps the connection; or the end of none of ours
            return None
        found: dict[str, Any] = json.loads(self._data)
        self._data = ""
        by_size = {int(size): one for size, one in found["windows"].items()}
        five = {size: Stats(**{name: one[name] for name in FIVE}) for size, one in by_size.items()}
        named = (
            {size: {name: one[name] for name in self._names} for size, one in by_size.items()} if self._names else {}
        )
        update = Windows(found["symbol"], found["total"], found["count"], five, named)
        if self._told.get(update.symbol) == update:
            return None
        self._told[update.symbol] = update
        return update


class Points:
    """Takes the body of an answer with points, part by part, into the array that it becomes."""

    def __init__(self, response: httpx.Response) -> None:
        """Make room for as many points as the headers announce."""
        self._columns = response.headers.get("X-Columns", "price").split(",")
        self._count = int(response.headers["X-Values"])
        self.array = np.empty(self._count * len(self._columns))
        self._room = self.array.data.cast("B") if self.array.size else memoryview(b"")
        self._place = 0

    def take(self, part: bytes) -> None:
        """Take the next part."""
        self._room[self._place : self._place + len(part)] = part
        self._place += len(part)

    def whole(self) -> NDArray[np.float64]:
        """Return the points; RemoteProtocolError if not all have come."""
        if self._place != self.array.nbytes:
            message = f"{self._place} of {self.array.nbytes} bytes arrived"
            raise httpx.RemoteProtocolError(message)
        return self.array

    def ticks(self) -> Ticks:
        """Return the points with their columns; RemoteProtocolError if not all have come."""
        parts = dict(zip(self._columns, np.split(self.whole(), len(self._columns)), strict=True))
        times = parts.get("time")
        return Ticks(parts["price"], None if times is None else times.view(np.int64), parts.get("size"))


def _added(response: httpx.Response) -> Added:
    found: dict[str, Any] = response.json()
    late, latest_ns = found.get("late", 0), found.get("latest_ns", 0)
    return Added(found["added"], found["total"], found["durability"], late, latest_ns, found.get("seq"))


def _windows(response: httpx.Response) -> Windows:
    found: dict[str, Any] = response.json()
    by_size = {10 ** int(exponent): Stats(**one) for exponent, one in found["windows"].items()}
    return Windows(found["symbol"], found["total"], found["count"], by_size)


def _series(response: httpx.Response, symbol: str) -> SeriesInfo:
    for row in response.json()["symbols"]:
        if row["symbol"] == symbol:
            return SeriesInfo(**row)
    problem = {"status": 404, "detail": f"Symbol not found: {symbol}"}
    raise NotFound(HTTPStatus.NOT_FOUND, problem, response.headers.get("X-Request-ID"))


def _buckets(response: httpx.Response) -> Buckets:
    found: dict[str, Any] = response.json()
    prices = {name: np.array(found[name], dtype=np.float64) for name in ("first", "last", "min", "max", "mean")}
    return Buckets(index=np.array(found["index"], dtype=np.int64), end=int(found["to"]), **prices)


def _total(response: httpx.Response) -> int:
    return int(response.json().get("total", 0))


def _reasons(response: httpx.Response) -> list[str]:
    found: dict[str, Any] = response.json()
    return [str(one["detail"]) for one in found.get("reasons", ())] or _not_ready(response)


def _not_ready(response: httpx.Response) -> list[str]:
    return [] if response.is_success else [str(response.json().get("detail", response.reason_phrase))]


def _no_body(_response: httpx.Response) -> NDArray[np.float64]:
    return np.empty(0)
