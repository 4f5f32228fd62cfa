"""Query strings, read strictly: each parameter once, nothing unknown, plain whole numbers.

A lenient reader (`int(" 3")`, the last of two values, "٣") answers a question that was not asked; here that is a 400.
"""

import re
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from api.http.problems import Refusal, shown
from hft_mmap.by_time import duration_ns, instant_ns
from hft_mmap.files.names import validate_symbol
from hft_mmap.named import checked_names

_BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_EXPONENT = re.compile(r"[1-8]")
_DIGITS = re.compile(r"0|[1-9][0-9]*")
_INDEX = re.compile(r"[0-9]{1,19}")
_STATS_PARAMETERS = ("symbol", "exponent", "k", "window", "at", "from", "to", "stats")
MAX_NAME_CHARS = 64
"""What a refusal repeats of the name of a statistic that there is not."""
LARGEST_OFFSET = 2**63 - 1
_MOST_DIGITS = 18
_TIME = re.compile(r"[0-9]{4}-|[0-9.]+[a-z]")
MOST_SYMBOLS = 1_000
"""Symbols of one question."""
MOST = 10**_MOST_DIGITS
"""More points than any series can have, and still a 64-bit integer."""


class StatsQuery(NamedTuple):
    """What one request asks: a window of `symbol`, points or a time, or all standard windows where it is None."""

    symbol: str
    window: int | str | None


def parse_stats_query(query: bytes) -> StatsQuery:
    """Return what `query`, the raw bytes after the question mark, asks for.

    Raises Refusal (400) for anything but one symbol and at most one of exponent, k and window; InvalidSymbol.
    """
    given = parameters(query, _STATS_PARAMETERS)
    symbol = symbol_of(given, "/stats?symbol=ABC-USD&exponent=3")
    ways = [name for name in ("exponent", "k", "window") if name in given]
    if len(ways) > 1:
        raise bad_query(f"Give only one of {' and '.join(ways)}: k is exponent, and window=1000 is exponent=3")
    if not ways:
        return StatsQuery(symbol, None)
    return StatsQuery(symbol, parse_window(ways[0], given[ways[0]]))


def parse_window(name: str, value: str) -> int | str:
    """Return the window that the parameter `name`, which is window, exponent or k, has as its text; Refusal (400).

    A number with a unit is a time, and stays a text. InvalidWindow.
    """
    if name != "window":
        if not _EXPONENT.fullmatch(value):
            raise bad_query(
                f"{name} must be a single digit from 1 to 8, for a window of 10 to 100,000,000 points, "
                f"not {shown(value)}"
            )
        return int(10 ** int(value))
    return parse_lasting(name, value)


def parse_lasting(name: str, value: str, *, least: int = 1) -> int | str:
    """Return a number of points, or the text of a time with its unit, as "5m"; Refusal (400), InvalidWindow."""
    if not value[-1:].isalpha():
        return whole_number(name, value, least=least)
    duration_ns(value, name)
    return value


def parse_place(name: str, text: str) -> int | str:
    """Return the index that a text of digits is, or the text of a time. Raises Refusal (400), InvalidTimes."""
    if text.isascii() and text.isdecimal():
        return parse_index(name, text)
    if text != "now" and not _TIME.match(text):
        raise bad_query(
            f"{name} must be a whole number from 0 to {LARGEST_OFFSET}, digits only, or a time such as "
            f"2026-01-31T09:30:00Z, not {shown(text)}"
        )
    return parse_time(name, text)


def parse_time(name: str, text: str) -> str:
    """Return the text of a time. Raises InvalidRange."""
    if text == "now":
        return f"{time.time_ns()}ns"
    instant_ns(text, name)
    return text


def parse_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a parameter `stats`, with commas between them, each once. Raises InvalidStatistic."""
    return () if text is None else checked_names(name[:MAX_NAME_CHARS] for name in text.split(","))


def parse_format(given: Mapping[str, str], formats: Mapping[str, str]) -> str | None:
    """Return the media type that the parameter format names, None without it. Raises Refusal (400)."""
    name = given.get("format")
    if name is not None and name not in formats:
        raise bad_query(f"format must be one of {', '.join(formats)}, not {shown(name)}")
    return None if name is None else formats[name]


def whole_number(name: str, value: str, *, least: int) -> int:
    """Return the number that the parameter `name` has as its text; what is larger than any series is MOST.

    Raises Refusal (400) for anything but plain digits, and for a number below `least`, which is 0 or 1.
    """
    if not _DIGITS.fullmatch(value) or (least and value == "0"):
        raise bad_query(
            f"{name} must be a whole number from {least}, digits only and no leading zero, not {shown(value)}"
        )
    return int(value) if len(value) <= _MOST_DIGITS else MOST


def symbol_of(given: Mapping[str, str], example: str) -> str:
    """Return the symbol among the parameters.

    Raises Refusal (400), which shows `example`, if it is missing; InvalidSymbol.
    """
    if "symbol" not in given:
        raise bad_query(f"The parameter symbol is missing; ask for {example}")
    validate_symbol(given["symbol"])
    return given["symbol"]


def parse_symbols(query: bytes, known: tuple[str, ...], example: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the symbols of a query that may name several, each once, and its other parameters, of those `known`.

    Raises Refusal (400), which shows `example` where there is no symbol; InvalidSymbol.
    """
    symbols = [value for name, value in pairs(query) if name == "symbol"]
    others = b"&".join(part for part in query.split(b"&") if not part.startswith(b"symbol="))
    given = parameters(others, ("symbol", *known))
    if not symbols:
        raise bad_query(f"The parameter symbol is missing; ask for {example}")
    if len(symbols) > MOST_SYMBOLS:
        raise bad_query(f"{len(symbols)} symbols; one request has at most {MOST_SYMBOLS:,}: send several")
    for symbol in symbols:
        validate_symbol(symbol)
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise bad_query(f"The symbol {shown(twice)} is given twice")
    return tuple(symbols), given


_OF_ARROW = ("symbol", "offset", "column", "time_column", "size_column", "time_unit")
_OF_RAW = ("symbol", "offset", "columns", "time_unit")


class BatchQuery(NamedTuple):
    """Where the numbers of a binary body go, and which columns it has; None for what was not given."""

    symbol: str
    offset: int | None
    given: Mapping[str, str]


def parse_batch_query(query: bytes, *, named: bool) -> BatchQuery:
    """Return what `query` says about a binary body; named: its columns have names themselves.

    Raises Refusal (400) for anything but one symbol, and at most one of each of the others.
    """
    given = parameters(query, _OF_ARROW if named else _OF_RAW)
    if "symbol" not in given:
        raise bad_query("The parameter symbol is missing; a binary body goes to /add_batch?symbol=ABC-USD")
    offset = parse_index("offset", given["offset"]) if "offset" in given else None
    return BatchQuery(given["symbol"], offset, given)


def parse_index(name: str, text: str) -> int:
    """Return the index of a point written as `text`; raise Refusal (400) that calls it `name`."""
    if not _INDEX.fullmatch(text) or int(text) > LARGEST_OFFSET:
        raise bad_query(f"{name} must be a whole number from 0 to {LARGEST_OFFSET}, digits only, not {shown(text)}")
    return int(text)


def parameters(query: bytes, known: tuple[str, ...]) -> dict[str, str]:
    """Return name and value of each parameter in `query`.

    Raises Refusal (400) for one that is not `known` or is given twice, and for what is not UTF-8.
    """
    given: dict[str, str] = {}
    for name, value in pairs(query):
        if name not in known:
            raise bad_query(f"Unknown parameter {shown(name)}; known are {', '.join(known)}")
        if name in given:
            raise bad_query(f"The parameter {name} is given twice")
        given[name] = value
    return given


def pairs(query: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and value of each parameter in `query`, as they come. Raises Refusal (400) where it is no text."""
    for part in query.split(b"&"):
        if part:  # a lone question mark, or one ampersand too many, asks for nothing
            raw_name, _, raw_value = part.partition(b"=")
            yield _decoded(raw_name), _decoded(raw_value)


def _decoded(part: bytes) -> str:
    """Return the text of one name or value: "+" is a space, as in every form encoding, %2B is a plus."""
    # PERF: plain text, as nearly all of it is, in a tenth of the time; there may be a thousand symbols.
    if b"%" not in part and b"+" not in part and part.isascii():
        return part.decode()
    if _BROKEN_PERCENT.search(part):
        raise bad_query("The query has a percent sign that is not followed by two hexadecimal digits; write %25 for it")
    try:
        return unquote_to_bytes(part.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise bad_query("The query is not UTF-8 once its percent signs are decoded") from None


def bad_query(detail: str) -> Refusal:
    """Return the refusal (400) of a query."""
    return Refusal(HTTPStatus.BAD_REQUEST, detail)
