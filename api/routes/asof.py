"""GET and POST /asof: the newest point at or before a place, of one series or many; or one for each of many times."""

import asyncio
from functools import partial
from typing import Any, NamedTuple

import falcon.asgi
import numpy as np
import orjson
from numpy.typing import NDArray

from api.body import arrow
from api.body.decode import Decoder
from api.body.indexes import Indexes, read_indexes
from api.body.intake import Intake
from api.body.media import ARROW, body_type
from api.http.query import bad_query, parse_format, parse_place, parse_symbols
from api.http.request import Request
from api.http.times import TIMES, iso, wants_iso
from api.operation.beside import Beside
from api.operation.settings import ServerSettings
from api.routes.values import accepted, check_iso
from api.routes.windows import FORMATS
from hft_mmap import Point, Series, Store
from hft_mmap.asof import NOWHERE
from hft_mmap.by_time import duration_ns, is_instant

MAX_ROWS = 1_000_000
"""Symbols times times of one answer."""

_EXAMPLE = "/asof?symbol=ABC-USD&at=1000"
_ROW_BYTES = 64  # of an answer, columns and text


class AsofQuery(NamedTuple):
    """The newest point at or before the index, or the time, `at`, of each series; `tolerance` is how long before it."""

    symbols: tuple[str, ...]
    at: int | str | None
    tolerance: str | None
    iso: bool
    media_type: str | None = None


def parse_asof_query(query: bytes, *, many: bool = False) -> AsofQuery:
    """Return what `query` asks for; with `many` the times are in the body. Raises Refusal (400), InvalidSymbol."""
    symbols, given = parse_symbols(query, (*(("format",) if many else ("at",)), "tolerance", TIMES), _EXAMPLE)
    if not many and "at" not in given:
        raise bad_query(f"The parameter at is missing: the index, or the time, as of which to ask; ask {_EXAMPLE}")
    at = parse_place("at", given["at"]) if "at" in given else None
    if "tolerance" in given:
        duration_ns(given["tolerance"], "tolerance")
        if at is not None and not is_instant(at):
            raise bad_query(f"tolerance goes with a time, and at is the index {at}: a time in nanoseconds is {at}ns")
    return AsofQuery(symbols, at, given.get("tolerance"), wants_iso(given), parse_format(given, FORMATS))


class Asof:
    """Answers the newest point at or before a place."""

    def __init__(self, store: Store, settings: ServerSettings, beside: Beside) -> None:
        self._store = store
        self._intake = Intake(settings, Decoder(settings.max_batch_values))
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer its index and its price, or one of each series."""
        asked = parse_asof_query(req.scope["query_string"])
        # Its page may have to be read from the disk first, as for a barrier.
        resp.data = await asyncio.to_thread(_one if len(asked.symbols) == 1 else _across, self._store, asked)

    on_head = on_get

    async def on_post(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer a point for each time of the body, of each series."""
        asked = parse_asof_query(req.scope["query_string"], many=True)
        media_type = asked.media_type or accepted(req.header(b"accept"), tuple(FORMATS.values()))
        check_iso(media_type, as_iso=asked.iso)
        pyarrow = await arrow.loaded_to_write() if media_type == ARROW else None
        kind = body_type(req.content_type)
        async with self._intake.body(req) as body:
            (times,) = await read_indexes(body, kind, ("time",), timed=True)
        rows = len(times) * len(asked.symbols)
        if rows > MAX_ROWS:
            raise bad_query(
                f"{len(times):,} times of {len(asked.symbols)} symbols are {rows:,} points; one answer has at most "
                f"{MAX_ROWS:,}: send fewer at a time"
            )
        series = [self._store.series(symbol) for symbol in asked.symbols]
        _held = self._beside.hold(_ROW_BYTES * rows)
        make = _many if pyarrow is None else partial(_arrow, pyarrow)
        resp.data = await self._beside.answer("windows", partial(make, series, times, asked))
        resp.content_type = media_type
        resp.set_header("Vary", "Accept")


def _one(store: Store, asked: AsofQuery) -> bytes:
    found = store.asof(asked.symbols[0], asked.at or 0, asked.tolerance)
    if found is None:
        return orjson.dumps({"symbol": asked.symbols[0], "index": None, "value": None, "time": None})
    columns = {"time": _time(found, asked), "size": found.size}
    beside = {name: value for name, value in columns.items() if value is not None}
    return orjson.dumps({"symbol": asked.symbols[0], "index": found.index, "value": found.value, **beside})


def _across(store: Store, asked: AsofQuery) -> bytes:
    found: list[Point | None] = [store.asof(symbol, asked.at or 0, asked.tolerance) for symbol in asked.symbols]
    columns = {
        name: [None if point is None else _time(point, asked) if name == "time" else getattr(point, name)
               for point in found]
        for name in ("index", "time", "value", "size")
    }  # fmt: skip
    return orjson.dumps({"symbols": asked.symbols, **columns})


def _time(point: Point, asked: AsofQuery) -> int | str | None:
    return iso(np.array([point.time]))[0] if asked.iso and point.time is not None else point.time


def _many(series: list[Series], times: Indexes, asked: AsofQuery) -> bytes:
    rows = [_row(one, times, asked) for one in series]
    names = ("index", "time", "value", "size")
    if len(rows) == 1:
        found: dict[str, Any] = {"symbol": series[0].symbol, **rows[0]}
    else:
        found = {"symbols": [one.symbol for one in series], **{name: [row[name] for row in rows] for name in names}}
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)


def _arrow(pyarrow: arrow.Arrow, series: list[Series], times: Indexes, asked: AsofQuery) -> bytes:
    """Return the points as an Arrow stream, those of each series behind those of the one before."""
    rows = [one.asof_many(times, asked.tolerance) for one in series]
    nowhere = np.concatenate([row["index"] == NOWHERE for row in rows])
    unsized = np.repeat(["size" not in row for row in rows], len(times))
    nothing = np.zeros(len(times))

    def column(name: str, kind: arrow.Arrow, missing: NDArray[np.bool_]) -> arrow.Arrow:
        return pyarrow.array(np.concatenate([row.get(name, nothing) for row in rows]), mask=missing).cast(kind)

    columns = {
        "index": column("index", pyarrow.int64(), nowhere),
        "time": column("time", pyarrow.timestamp("ns", tz="UTC"), nowhere),
        "value": column("value", pyarrow.float64(), nowhere),
        "size": column("size", pyarrow.float64(), nowhere | unsized),
    }
    if len(series) > 1:
        places = np.repeat(np.arange(len(series), dtype=np.int32), len(times))
        symbols = pyarrow.DictionaryArray.from_arrays(places, [one.symbol for one in series])
        columns = {"symbol": symbols, **columns}
    table, sink = pyarrow.table(columns), pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _row(one: Series, times: Indexes, asked: AsofQuery) -> dict[str, Any]:
    found = one.asof_many(times, asked.tolerance)
    row: dict[str, Any] = dict(found)
    if asked.iso:
        row["time"] = iso(found["time"])
    there = found["index"] != NOWHERE
    if not there.all():
        for name, column in row.items():
            values = column if isinstance(column, list) else column.tolist()
            row[name] = [value if known else None for value, known in zip(values, there.tolist(), strict=True)]
    return {**row, "size": row.get("size")}
