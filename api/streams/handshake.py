"""What a client asks for when it opens a stream: its query, read as strictly as every other, and its origin."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from api.body.raw import PRICES_ALONE, Columns, parse_columns
from api.http.exchange import CALLER
from api.http.path_points import FEW_POINTS, reads_path
from api.http.problems import Refusal, shown
from api.http.query import MOST, bad_query, pairs, parse_index, parse_lasting, parse_names
from api.http.request import Request
from hft_mmap import STANDARD_WINDOWS
from hft_mmap.by_time import duration_ns
from hft_mmap.files.names import validate_symbol
from hft_mmap.named import SCANNED

INGEST, STATS, QUERY = "ingest", "stats", "query"
AT_THE_END = "total"
"""The offset of a client that goes on where the series ends, wherever that is."""

MAX_SYMBOLS = 256
MAX_WINDOWS = 16
MIN_INTERVAL_MS, DEFAULT_INTERVAL_MS, MAX_INTERVAL_MS = 10, 100, 60_000
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_DEFAULT_PORTS: Mapping[str, str] = {"http": "80", "https": "443"}
_PORT = re.compile(r":[0-9]+\Z")


class IngestQuery(NamedTuple):
    """One series that the frames go to and the point of the first value, or None for what each frame says itself.

    columns: what binary frames have.
    """

    symbol: str | None
    offset: int | str | None
    columns: Columns = PRICES_ALONE


class AskingQuery(NamedTuple):
    """Nothing: what is asked stands in messages."""


class StatsQuery(NamedTuple):
    """Series and windows whose statistics are sent, and the milliseconds between two messages at least.

    `names` are the statistics that are sent beside the five. `bar` is how many points, or how long, a bar of the first
    symbol is, or None where no bars are sent.
    """

    symbols: tuple[str, ...]
    windows: tuple[int | str, ...]
    names: tuple[str, ...]
    interval_ms: int
    bar: int | str | None = None


def check_origin(req: Request) -> None:
    """Raise Refusal (403) where the page of another origin opened a stream of a service without tokens.

    A browser lets any page open a WebSocket to any host, this machine's 127.0.0.1 included, and only tells in `Origin`
    whose page it is. Programs send no Origin, and pass. Where there are tokens, a page must have been given one.
    """
    if CALLER in req.scope:
        return
    origin = req.get_header("Origin")
    if origin is None:
        return
    scheme, _, authority = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme.lower())
    host = req.get_header("Host") or ""
    if port is None or _with_port(authority, port) != _with_port(host, port):
        detail = f"Pages of {shown(origin)} may not use this service: only those of its own host, {shown(host)}, may"
        raise Refusal(HTTPStatus.FORBIDDEN, detail)


def parse_mode(query: bytes) -> str:
    """Return which stream is asked for. Raises Refusal (400)."""
    given = [value for name, value in pairs(query) if name == "mode"]
    if given not in ([INGEST], [STATS], [QUERY]):
        what = f"not {shown(given[0])}" if len(given) == 1 else "given once"
        raise bad_query(
            f"mode must be {INGEST} (to send prices), {STATS} (to be sent statistics) or {QUERY} (to ask), {what}"
        )
    return given[0]


def parse_ingest(query: bytes) -> IngestQuery:
    """Return where the frames of an ingest stream go. Raises Refusal (400), InvalidSymbol."""
    given = _given(query, once=("mode", "symbol", "offset", "columns", "time_unit"))
    symbol = given["symbol"][0] if given["symbol"] else None
    if symbol is not None:
        validate_symbol(symbol)
    columns = PRICES_ALONE
    if given["columns"] or given["time_unit"]:
        columns = parse_columns(*(given[name][0] if given[name] else None for name in ("columns", "time_unit")))
    if not given["offset"]:
        return IngestQuery(symbol, None, columns)
    if symbol is None:
        raise bad_query("offset needs a symbol; without one, each frame has an offset of its own")
    (text,) = given["offset"]
    return IngestQuery(symbol, AT_THE_END if text == AT_THE_END else parse_index("offset", text), columns)


def parse_asking(query: bytes) -> AskingQuery:
    """Return what a client says that asks by messages. Raises Refusal (400) for all but the mode."""
    _given(query, once=("mode",))
    return AskingQuery()


def parse_stats(query: bytes, *, events: bool = False) -> StatsQuery:
    """Return what a client wants to be sent, as `events` or over a WebSocket.

    Raises Refusal (400), InvalidSymbol, InvalidStatistic.
    """
    once = ("stats", "interval_ms", "bars") if events else ("mode", "stats", "interval_ms")
    given = _given(query, once=once, often=("symbol", "window"))
    symbols = tuple(dict.fromkeys(given["symbol"]))
    for symbol in symbols:
        validate_symbol(symbol)
    if len(given["symbol"]) > MAX_SYMBOLS:
        raise too_many_symbols(len(given["symbol"]))
    if len(given["window"]) > MAX_WINDOWS:
        raise _too_many_windows(len(given["window"]))
    windows = check_windows([parse_lasting("window", text) for text in given["window"]] or STANDARD_WINDOWS)
    interval_ms = DEFAULT_INTERVAL_MS
    if given["interval_ms"]:
        (text,) = given["interval_ms"]
        if not _WHOLE.fullmatch(text) or not MIN_INTERVAL_MS <= int(text) <= MAX_INTERVAL_MS:
            raise bad_query(f"interval_ms must be from {MIN_INTERVAL_MS} to {MAX_INTERVAL_MS}, not {shown(text)}")
        interval_ms = int(text)
    names = parse_names(given["stats"][0]) if given["stats"] else ()
    check_paths(windows, names)
    bar = parse_lasting("bars", given["bars"][0]) if given.get("bars") else None
    return StatsQuery(symbols, windows, names, interval_ms, bar)


def check_windows(windows: Iterable[int | str]) -> tuple[int | str, ...]:
    """Return the windows in ascending order, each once, those by time last; one longer than any series is MOST.

    Raises Refusal (400) for more than MAX_WINDOWS.
    """
    given = set(windows)
    points = sorted({min(window, MOST) for window in given if isinstance(window, int)})
    times = sorted((window for window in given if isinstance(window, str)), key=duration_ns)
    ascending = (*points, *times)
    if len(ascending) > MAX_WINDOWS:
        raise _too_many_windows(len(ascending))
    return ascending


def check_paths(windows: Iterable[int | str], names: Iterable[str]) -> None:
    """Raise Refusal (400) where the statistics of a path are to be sent of longer windows than a stream reads.

    Each message would read all their points again, on the event loop.
    """
    lasting = [window for window in windows if isinstance(window, str)]
    if lasting and reads_path(names):
        raise bad_query(
            f"{', '.join(filter(SCANNED.__contains__, names))} read every point of every window for each message, and "
            f"nothing bounds how many {lasting[0]} has: name windows of points, or ask /stats now and then"
        )
    points = sum(window for window in windows if isinstance(window, int))
    if points > FEW_POINTS and reads_path(names):
        raise bad_query(
            f"{', '.join(filter(SCANNED.__contains__, names))} read every point of every window for each message, and "
            f"these windows have {points:,} points together; a stream has at most {FEW_POINTS:,} of a series: name "
            "shorter ones by window, or ask /stats now and then"
        )


def _too_many_windows(count: int) -> Refusal:
    return bad_query(f"{count} windows; a series has at most {MAX_WINDOWS} in one stream")


def too_many_symbols(count: int) -> Refusal:
    """Return the refusal of one symbol too many."""
    return bad_query(f"{count} symbols; a stream has at most {MAX_SYMBOLS}: open another one")


def _given(query: bytes, *, once: tuple[str, ...], often: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return the values of each known parameter."""
    given: dict[str, list[str]] = {name: [] for name in (*once, *often)}
    for name, value in pairs(query):
        if name not in given:
            raise bad_query(f"Unknown parameter {shown(name)}; known are {', '.join(given)}")
        if given[name] and name in once:
            raise bad_query(f"The parameter {name} is given twice")
        given[name].append(value)
    return given


def _with_port(authority: str, port: str) -> str:
    return authority.lower() if _PORT.search(authority) else f"{authority.lower()}:{port}"
