"""A symbol moves to another shard: sealed, copied as batches with their offsets, and then left to the other one.

Each step may be taken again: a seal is one already, a batch that is there is compared and not stored twice. So a move
that was ended anywhere goes on when it is begun again.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

BATCH_POINTS = 32_768
_WAIT_S = 60.0
_PATIENCE_S = 60.0
_AGAIN_S = 0.2
_COLUMNS = ("time", "price", "size")
_RAW = "application/octet-stream"
_PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


class MoveError(Exception):
    """The move can't go on; what to do."""


class Place(NamedTuple):
    """Where a symbol ends in a shard, and what its points have."""

    start: int
    total: int
    columns: tuple[str, ...]
    oldest: dict[str, Any]
    """The oldest point: value, time and size, as far as there are."""


class Shard:
    """The replicas of a shard: the first that answers does."""

    def __init__(
        self, urls: Sequence[str], token: str, opened: Callable[..., Any] = urlopen,
        pause: Callable[[float], object] = sleep,
    ) -> None:  # fmt: skip
        self._urls = list(urls)  # of http, as the command has made sure
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opened = opened
        self._pause = pause
        self._newest = 0

    def ask(
        self, path: str, body: bytes | None = None, kind: str = "", method: str = "GET", **query: object
    ) -> tuple[int, bytes]:  # fmt: skip
        """Return status and body of an answer that is none of those that pass. MoveError where there is none."""
        until, why = monotonic() + _PATIENCE_S, ""
        headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
        if self._newest and method == "GET":
            headers["X-Min-Seq"] = str(self._newest)
        while monotonic() < until:
            url = f"{self._urls[0].rstrip('/')}{path}{'?' if query else ''}{urlencode(query)}"
            try:
                with self._opened(Request(url, body, headers, method=method), timeout=_WAIT_S) as answer:  # noqa: S310
                    return answer.status, answer.read()
            except HTTPError as error:
                said = error.read()
                if error.code not in _PASSING:
                    return error.code, said
                why = _detail(said) or f"status {error.code}"
            except OSError as error:
                why = str(error)
            self._urls.append(self._urls.pop(0))
            self._pause(_AGAIN_S)
        raise MoveError(f"{self._urls[0]} does not go on: {why}; once it does, run this again")

    def changed(self, what: str, path: str, body: bytes, kind: str, method: str, **query: object) -> dict[str, Any]:
        """Return what a change was answered. MoveError where it was refused."""
        status, said = self.ask(path, body, kind, method, **query)
        if status != HTTPStatus.OK:
            raise MoveError(f"{what} was refused with {status}: {_detail(said)}")
        told: dict[str, Any] = json.loads(said)
        self._newest = max(self._newest, told["seq"])
        return told

    def step(self, what: str, **body: object) -> dict[str, Any]:
        """Take a step of a move."""
        return self.changed(what, "/cluster", json.dumps(body).encode(), "application/json", "PATCH")

    def place(self, symbol: str) -> Place | None:
        """Return where a symbol ends, None where there is none."""
        status, said = self.ask(f"/symbols/{quote(symbol, safe='')}")
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST}:
            return None
        row = self._read(status, said)
        query: dict[str, Any] = {"symbol": symbol, "from": row["start"], "to": row["start"] + 1}
        first = self._read(*self.ask("/values", **query))
        oldest = {name: first[f"{name}s"][0] for name in ("value", "time", "size") if f"{name}s" in first}
        columns = tuple(name for name in _COLUMNS if name == "price" or name in oldest)
        return Place(row["start"], row["total"], columns, oldest)

    @staticmethod
    def _read(status: int, said: bytes) -> dict[str, Any]:
        if status != HTTPStatus.OK:
            raise MoveError(f"the points could not be read, {status}: {_detail(said)}; run this again")
        found: dict[str, Any] = json.loads(said)
        return found

    def rows(self, symbol: str, place: Place, begin: int, end: int) -> bytes:
        """Return rows as raw columns. MoveError."""
        columns = ",".join(place.columns)
        query: dict[str, Any] = {"symbol": symbol, "from": begin, "to": end, "format": "raw", "columns": columns}
        status, said = self.ask("/values", **query)
        if status != HTTPStatus.OK or len(said) != 8 * len(place.columns) * (end - begin):
            raise MoveError(f"points {begin} to {end - 1} could not be read, {status}: {_detail(said)}; run this again")
        return said


def _detail(said: bytes) -> str:
    try:
        return str(json.loads(said)["detail"])
    except (ValueError, LookupError, TypeError):
        return said[:80].decode(errors="replace")


def moved(
    symbol: str, source: Shard, target: Shard, to: int, batch_points: int = BATCH_POINTS
) -> Iterator[str]:  # fmt: skip
    """Move `symbol` from `source` to the shard `to`, and yield what was done. MoveError.

    batch_points: what a batch has; the same when a move goes on that was ended.
    """
    total = source.step(f"the seal of {symbol}", seal=symbol)["total"]
    place = source.place(symbol)
    if place is None:
        yield f"{symbol} has moved already"
        source.step(f"to leave {symbol}", moved=symbol, to=to)  # refused where that was to another shard
        return
    yield f"{symbol} is sealed at {total}"
    _copy(symbol, source, place, target, batch_points)
    arrived = target.place(symbol)
    if arrived is None or arrived.total != place.total:
        ends = arrived and arrived.total
        raise MoveError(f"shard {to} ends {symbol} at {ends}, not at {place.total}; run this again")
    yield f"{place.total - place.start} points are in shard {to}"
    source.step(f"to leave {symbol}", moved=symbol, to=to)
    yield f"{symbol} has moved: have HAProxy know (hft-mmap cluster haproxy)"


def _copy(symbol: str, source: Shard, place: Place, target: Shard, batch_points: int) -> None:
    """Have the target store every point that it still keeps, each with its index; those it has are compared."""
    arrived = target.place(symbol)
    kept = place.start if arrived is None else max(place.start, arrived.start)
    if kept == place.start:
        target.step(f"{symbol}, begun in the other shard,", begin=symbol, offset=place.start, **place.oldest)
    query: Mapping[str, object] = {"symbol": symbol, "columns": ",".join(place.columns)}
    # The first point lies alone, and each batch lies where it lay before: none is there in part.
    for begin in range(place.start + 1, place.total, batch_points):
        if begin >= kept:
            rows = source.rows(symbol, place, begin, min(begin + batch_points, place.total))
            what = f"a batch of {symbol} at {begin}"
            target.changed(what, "/add_batch", rows, _RAW, "POST", offset=begin, **query)
