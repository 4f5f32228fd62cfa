"""InfluxDB's line protocol: lines of ticks, of many symbols, from text to one batch for each symbol.

    trades,symbol=ABC-USD side="buy",price=150.25,amount=3 1700000000000000000

The symbol is what the tag says that the settings name, or the measurement without one. Of the fields, the first of each
list of names that a line has is taken, and others are passed over. A line without a time gets that of its request.
"""

import math
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.operation.settings import LineProtocolSettings
from hft_mmap import Ticks
from hft_mmap.batch import NEGATIVE
from hft_mmap.ticks import UNITS_NS
from hft_mmap.tree import lines as kernel
from hft_mmap.tree.kernels import MAX_PRICE

UNITS: Mapping[str, int] = {
    "n": 1, "u": 1_000, "µ": 1_000, **UNITS_NS, "m": 60 * UNITS_NS["s"], "h": 3600 * UNITS_NS["s"]
}  # fmt: skip
"""What `precision` names, in nanoseconds."""
_SEED = secrets.randbits(62)  # so that nobody can choose names that fall on one place
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[iu]?")
_ESCAPED = re.compile(rb"\\([,= ])")
_NEWLINE = ord("\n")
_BOUGHT, _SOLD = ("buy", "b", "bid", "bought", "buyer"), ("sell", "s", "ask", "a", "sold", "seller")


class Fault(NamedTuple):
    """Why `lines` lines are not stored, the first of which begins at the byte `at` of the body."""

    lines: int
    at: int
    reason: str


class Part(NamedTuple):
    """What a body has of one symbol, in the order of its times; its first line begins at the byte `at`."""

    symbol: str
    ticks: Ticks
    at: int


class Read(NamedTuple):
    """What a body has: a batch for each symbol, and what is wrong with other lines."""

    parts: list[Part]
    faults: list[Fault]


class LineProtocol:
    """Reads bodies by the names that the settings give."""

    def __init__(self, settings: LineProtocolSettings, *, signed: bool = False) -> None:
        """Read the names of `settings`; signed: prices may be negative."""
        roles = (
            (kernel.TAG, [settings.symbol_tag]), (kernel.PRICE, _listed(settings.price_fields)),
            (kernel.SIZE, _listed(settings.size_fields)), (kernel.SIDE, [settings.side]),
            (kernel.BOUGHT, _cased(_BOUGHT)), (kernel.SOLD, _cased(_SOLD)),
        )  # fmt: skip
        words = [(word.encode(), role) for role, named in roles for word in named if word]
        self._words, self._table = _table(words)
        self._least = -MAX_PRICE if signed else 0.0
        self._reasons = {
            kernel.NO_FIELDS: "is no line protocol, measurement,tag=value field=value time",
            kernel.NO_PRICE: f"has none of the fields {settings.price_fields} (line_protocol.price_fields)",
            kernel.NO_NUMBER: "has a price that is no number",
            kernel.NO_SIZE: "has a size that is no number",
            kernel.NO_SIDE: f"has a side that is none of {', '.join((*_BOUGHT, *_SOLD))}",
            kernel.NO_TIME: "has a time that is no whole number of 64 bits",
            kernel.BAD_PRICE: f"has a price that is not from {self._least:g} to {MAX_PRICE:g}"
            + ("" if signed else f"; {NEGATIVE}"),
            kernel.BAD_SIZE: "has a size that is not finite",
            kernel.BAD_TIME: "has a time that lies beyond 64 bits of nanoseconds (1677 to 2262)",
        }

    def read(self, body: bytes, lines: int, unit_ns: int, now_ns: int) -> Read:
        """Return what stands in `body`, whose times are in units of `unit_ns`; O(bytes), 0.2 us a line.

        lines: as many as `lines_of` says.
        """
        most = lines + 1
        places, times = np.empty((most, kernel.PLACES), np.int64), np.empty(most, np.int64)
        prices, sizes, counts = np.empty(most), np.empty(most), np.empty(kernel.COUNTS, np.int64)
        found_at = np.full(1 << (2 * most).bit_length(), -1, np.int64)
        n = kernel.read_lines(
            np.frombuffer(body, np.uint8), self._words, self._table, _SEED, unit_ns, now_ns, self._least, found_at,
            places, prices, sizes, times, counts,
        )  # fmt: skip
        rows = _Rows(body, places[:n], prices[:n], times[:n], sizes[:n])
        not_fine, slowly, names, bare, earlier = counts.tolist()
        if slowly:
            _read_slowly(rows, self._least)
        if not not_fine and names == 1 and not earlier and bare in (0, n):
            return Read([_part(rows, 0, Ticks(rows.prices, rows.times, None if bare else rows.sizes))], [])
        return Read(list(_parts(rows)), self._faults(rows) if not_fine else [])

    def _faults(self, rows: "_Rows") -> list[Fault]:
        """Return what is wrong with lines, for each reason how many and the first."""
        told, found = rows.places[:, kernel.TOLD], []
        for fault, reason in self._reasons.items():
            lines = np.flatnonzero(told == fault)
            if len(lines):
                found.append(Fault(len(lines), int(rows.places[lines[0], kernel.BEGIN]), reason))
        return found


def lines_of(body: bytes) -> int:
    """Return how many lines have an end."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == _NEWLINE))


class _Rows(NamedTuple):
    """The lines of a body, as the kernel has left them."""

    body: bytes
    places: NDArray[np.int64]
    prices: NDArray[np.float64]
    times: NDArray[np.int64]
    sizes: NDArray[np.float64]


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _cased(words: Iterable[str]) -> list[str]:
    return [form for word in words for form in dict.fromkeys((word, word.upper(), word.capitalize()))]


def _table(words: list[tuple[bytes, int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return words and their roles as the kernel takes them."""
    text = np.frombuffer(b"".join(word for word, _ in words), np.uint8)
    table = np.full((max(kernel.HEADS, len(words)), kernel.WORD_COLUMNS), -1)
    end = len(text)
    for k, (word, role) in reversed(list(enumerate(words))):
        begin = end - len(word)
        place = kernel.place_of(word[0], word[-1], len(word))
        table[k, : kernel.FIRST] = begin, end, role, table[place, kernel.FIRST]
        table[place, kernel.FIRST] = k
        end = begin
    table.flags.writeable = False
    return text, table


def _read_slowly(rows: _Rows, least: float) -> None:
    """Read the numbers that the kernel has left: long ones, and those with an exponent."""
    for k in np.flatnonzero(rows.places[:, kernel.TOLD] == kernel.SLOW).tolist():
        place = rows.places[k].tolist()
        price = _number(rows.body[place[kernel.PRICE_AT] : place[kernel.PRICE_END]])
        size = None
        if place[kernel.SIZE_AT] >= 0:
            size = _number(rows.body[place[kernel.SIZE_AT] : place[kernel.SIZE_END]])
            if size is not None:
                rows.sizes[k] = abs(size) * place[kernel.SIGN] if place[kernel.SIGN] else size
        rows.prices[k] = math.nan if price is None else price
        rows.places[k, kernel.TOLD] = _told(price, size, least, has_size=place[kernel.SIZE_AT] >= 0)


def _told(price: float | None, size: float | None, least: float, *, has_size: bool) -> int:
    if price is None:
        return kernel.NO_NUMBER
    if not least <= price <= MAX_PRICE:
        return kernel.BAD_PRICE
    if has_size and size is None:
        return kernel.NO_SIZE
    return kernel.BAD_SIZE if size is not None and math.isinf(size) else kernel.FINE


def _number(text: bytes) -> float | None:
    return float(text.rstrip(b"iu")) if _NUMBER.fullmatch(text) else None


def _parts(rows: _Rows) -> Iterator[Part]:
    """Yield the batch of each symbol; lines without sizes are a batch of their own."""
    found: dict[tuple[bytes, bool], list[NDArray[np.int64]]] = {}
    kept = np.flatnonzero(rows.places[:, kernel.TOLD] == kernel.FINE)
    keys = 2 * rows.places[kept, kernel.SERIES] + (rows.places[kept, kernel.SIZE_AT] < 0)
    order = np.argsort(keys, kind="stable")
    for part in np.split(kept[order], np.flatnonzero(np.diff(keys[order])) + 1):
        if len(part):
            is_bare = bool(rows.places[part[0], kernel.SIZE_AT] < 0)
            found.setdefault((_name(rows, int(part[0])), is_bare), []).append(part)
    for (_, is_bare), parts in found.items():
        these = np.sort(np.concatenate(parts)) if len(parts) > 1 else parts[0]
        first, times = int(these[0]), rows.times[these]
        if (times[1:] < times[:-1]).any():  # no difference: that of two times may take more than 64 bits
            order = np.argsort(times, kind="stable")
            these, times = these[order], times[order]
        yield _part(rows, first, Ticks(rows.prices[these], times, None if is_bare else rows.sizes[these]))


def _part(rows: _Rows, first: int, ticks: Ticks) -> Part:
    return Part(_name(rows, first).decode("utf-8", "surrogateescape"), ticks, int(rows.places[first, kernel.BEGIN]))


def _name(rows: _Rows, k: int) -> bytes:
    """Return the name in line `k`, without what escapes its characters."""
    name = rows.body[rows.places[k, kernel.NAME] : rows.places[k, kernel.NAME_END]]
    return _ESCAPED.sub(rb"\1", name) if b"\\" in name else name
