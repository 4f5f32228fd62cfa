"""POST /windows: named statistics of up to a million windows in one request, a row for each.

Around each fill, or between each two events: the body has the windows, the query says which statistics. They are folded
in a thread beside the event loop, a few requests at a time, and the answer is sent piece by piece.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import falcon.asgi
import numpy as np
import orjson

from api.body import arrow
from api.body.decode import Decoder
from api.body.indexes import Indexes, read_indexes
from api.body.intake import Intake
from api.body.media import ARROW, JSON, body_type
from api.http.path_points import check_path_points, reads_path
from api.http.problems import shown
from api.http.query import MOST, bad_query, parameters, parse_format, parse_lasting, parse_names, symbol_of
from api.http.request import Request
from api.operation.beside import Beside, Held
from api.operation.settings import ServerSettings
from api.routes.values import accepted, sent
from hft_mmap import Columns, Series, Store, asof, by_time
from hft_mmap.answers import check_ranges, wanted_of
from hft_mmap.candles import of_any
from hft_mmap.files.proved import groups_of, read_from
from hft_mmap.moment import Moment
from hft_mmap.named import FIVE

MAX_CELLS = 10_000_000
"""Numbers in one answer: windows by columns."""

_PARAMETERS = ("symbol", "by", "before", "after", "stats", "format")
_EXAMPLE = "/windows?symbol=ABC-USD&stats=avg,std"
_INDEX, _TIME = "index", "time"
FORMATS = {"json": JSON, "arrow": ARROW}
_JSON_PIECE = 8_192
_ARROW_PIECE = 65_536


class WindowsQuery(NamedTuple):
    """Which statistics of which series. With `before` and `after` a window is so many points, or a time, around one.

    The places, or the bounds of windows, are indexes, or times where `by_time` says so.
    """

    symbol: str
    names: tuple[str, ...]
    by_time: bool
    before: int | str | None
    after: int | str | None
    media_type: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """What the body has to have."""
        if self.before is self.after is None:
            return ("start", "end")
        return ("time",) if self.by_time else ("index",)


def parse_windows_query(query: bytes) -> WindowsQuery:
    """Return what `query` asks for. Raises Refusal (400), InvalidSymbol, InvalidStatistic, InvalidWindow."""
    given = parameters(query, _PARAMETERS)
    symbol = symbol_of(given, _EXAMPLE)
    if given.get("by", _INDEX) not in {_INDEX, _TIME}:
        raise bad_query(f"by must be {_INDEX} or {_TIME}, which says what the numbers are, not {shown(given['by'])}")
    before, after = (
        parse_lasting(name, given[name], least=0) if name in given else None for name in ("before", "after")
    )
    kinds = {type(side) for side in (before, after) if side}
    if len(kinds) > 1:
        raise bad_query(f"before and after must both be points, or both be times, not {before} and {after}")
    names = parse_names(given.get("stats")) or FIVE
    return WindowsQuery(symbol, names, given.get("by") == _TIME, before, after, parse_format(given, FORMATS))


class Windows:
    """Answers many windows of one series, all of one moment."""

    def __init__(self, store: Store, settings: ServerSettings, beside: Beside) -> None:
        self._store = store
        self._intake = Intake(settings, Decoder(settings.max_batch_values))
        self._beside = beside

    async def on_post(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer a row for each window of the body."""
        asked = parse_windows_query(req.scope["query_string"])
        media_type = asked.media_type or accepted(req.header(b"accept"), (JSON, ARROW))
        pyarrow = await arrow.loaded_to_write() if media_type == ARROW else None
        kind = body_type(req.content_type)
        async with self._intake.body(req) as body:
            columns = await read_indexes(body, kind, asked.columns, timed=asked.by_time)
        series = self._store.series(asked.symbol)
        cells = len(columns[0]) * (2 + len(asked.names))
        if cells > MAX_CELLS:
            raise bad_query(
                f"{len(columns[0]):,} windows with {len(asked.names)} statistics are {cells:,} numbers; one answer has "
                f"at most {MAX_CELLS:,}: send fewer windows at a time"
            )
        held = self._beside.hold(8 * (cells + 8 * len(columns[0])))
        found = await self._beside.answer("windows", partial(_fold, series, columns, asked))
        pieces = _json(found, held) if pyarrow is None else _arrow(pyarrow, found, held)
        resp.content_type = media_type
        resp.set_headers({"X-Windows": str(len(found["start"])), "Vary": "Accept"})
        resp.stream = sent(pieces, req.scope)  # type: ignore[assignment]


def _fold(series: Series, columns: list[Indexes], asked: WindowsQuery) -> Columns:
    moment = series.moment()
    wanted = wanted_of(moment, asked.names)
    starts, ends = _bounds(moment, columns, asked)
    if reads_path(wanted):
        begin = read_from(moment.view, groups_of(wanted))
        # As float64, which no number overflows.
        check_path_points(float(np.maximum(ends.astype(np.float64) - np.maximum(starts, begin), 0).sum()))
    return Columns({"start": starts, "end": ends} | of_any(moment, starts, ends, wanted))


def _bounds(moment: Moment, columns: list[Indexes], asked: WindowsQuery) -> tuple[Indexes, Indexes]:
    """Return start and end of each window. Raises Refusal (400), InvalidRange, OutOfRange, ColumnsDiffer."""
    columns = [np.array(column) for column in columns]  # of a body, so read-only, and not one number after the other
    if len(columns) > 1:
        return by_time.many_between(moment, *columns) if asked.by_time else check_ranges(moment, *columns)
    if isinstance(asked.before or asked.after, str):
        times = columns[0] if asked.by_time else asof.times_of(moment, columns[0])
        return by_time.many_around(moment, times, asked.before or None, asked.after or None)
    places = asof.indexes_of(moment, columns[0]) if asked.by_time else columns[0]
    return check_ranges(moment, *_around(places, int(asked.before or 0), int(asked.after or 0)))


def _around(index: Indexes, before: int, after: int) -> tuple[Indexes, Indexes]:
    """Return starts and ends of the windows around each index. Raises Refusal (400) for what is no index."""
    # An index that is as large as an int64 may be would wrap around to a window that there is.
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < MOST:
        bad = int(np.flatnonzero((index < 0) | (index >= MOST))[0])
        raise bad_query(f"index[{bad}] must be a whole number from 0, and below {MOST}, not {index[bad]}")
    return index - before, index + (after + 1)


def _json(found: Columns, _held: Held) -> Iterator[bytes]:
    before = b"{"
    for name, column in found.items():
        before += orjson.dumps(name) + b":["
        for begin in range(0, len(column), _JSON_PIECE):
            piece = column[begin : begin + _JSON_PIECE]
            yield before + orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
            before = b","
        before = b"]," if len(column) else before + b"],"
    yield before[:-1] + b"}"


def _arrow(pyarrow: arrow.Arrow, found: Columns, _held: Held) -> Iterator[memoryview]:
    kinds = {np.dtype(np.int64): pyarrow.int64(), np.dtype(np.float64): pyarrow.float64()}
    schema = pyarrow.schema([pyarrow.field(name, kinds[column.dtype]) for name, column in found.items()])
    yield memoryview(schema.serialize())
    for begin in range(0, len(found["start"]), _ARROW_PIECE):
        part = [pyarrow.array(column[begin : begin + _ARROW_PIECE], from_pandas=True) for column in found.values()]
        yield memoryview(pyarrow.record_batch(part, schema=schema).serialize())
    yield memoryview(arrow.END)
