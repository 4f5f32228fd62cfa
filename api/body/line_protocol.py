"""InfluxDB's line protocol: lines of ticks, of many symbols, from text to one batch for each symbol.

    trades,symbol=ABC-USD side="buy",price=150.25,amount=3 1700000000000000000

The symbol is what the tag says that the settings name, or the measurement without one. Of the fields, the first of each
list of names that a line has is taken, and others are passed over. A line without a time gets that of its request.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.operation.settings import LineProtocolSettings
from hft_mmap import Ticks, as_ticks
from hft_mmap.batch import NEGATIVE
from hft_mmap.ticks import MOST_NS, UNITS_NS
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
        self._no_price = f"has a price that is not from {self._least:g} to {MAX_PRICE:g}"
        if not signed:
            self._no_price += f"; {NEGATIVE}"
        self._reasons = {
            kernel.NO_FIELDS: "is no line protocol, measurement,tag=value field=value time",
            kernel.NO_PRICE: f"has none of the fields {settings.price_fields} (line_protocol.price_fields)",
            kernel.NO_NUMBER: "has a price that is no number",
            kernel.NO_SIZE: "has a size that is no number",
            kernel.NO_SIDE: f"has a side that is none of {', '.join((*_BOUGHT, *_SOLD))}",
            kernel.NO_TIME: "has a time that is no whole number of 64 bits",
        }

    def read(self, body: bytes, unit_ns: int, now_ns: int) -> Read:
        """Return what stands in `body`, whose times are in units of `unit_ns`; O(bytes), 0.3 us a line."""
        text = np.frombuffer(body, np.uint8)
        most = int(np.count_nonzero(text == _NEWLINE)) + 1
        places = np.empty((most, kernel.PLACES), np.int64)
        numbers, times = np.empty((most, kernel.NUMBERS)), np.empty(most, np.int64)
        found_at = np.full(1 << (2 * most).bit_length(), -1, np.int64)
        n = kernel.read_lines(text, self._words, self._table, _SEED, found_at, places, numbers, times)
        places, numbers, times = places[:n], numbers[:n], times[:n]
        _read_slowly(body, places, numbers)
        fine = places[:, kernel.TOLD] == kernel.FINE
        faults: list[Fault] = []

        def refuse(found: NDArray[np.int64], reason: str) -> None:
            if len(found):
                faults.append(Fault(len(found), int(places[found[0], kernel.BEGIN]), reason))

        if not fine.all():
            for told, reason in self._reasons.items():
                refuse(np.flatnonzero(places[:, kernel.TOLD] == told), reason)
        prices, sizes = numbers[:, kernel.PRICE_IS], _signed(numbers[:, kernel.SIZE_IS], places[:, kernel.SIGN])
        for good, reason in (
            ((prices >= self._least) & (prices <= MAX_PRICE), self._no_price),
            (~np.isinf(sizes), "has a size that is not finite"),
            (np.abs(times) <= MOST_NS // unit_ns, "has a time that lies beyond 64 bits of nanoseconds (1677 to 2262)"),
        ):
            refuse(np.flatnonzero(fine & ~good), reason)
            fine &= good
        times = np.where(places[:, kernel.TIME_AT] < 0, now_ns, times * unit_ns)
        return Read(list(_parts(body, places, fine, prices, times, sizes)), faults)


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


def _read_slowly(body: bytes, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> None:
    """Read the numbers that the kernel has left: long ones, and those with an exponent."""
    for k in np.flatnonzero(places[:, kernel.TOLD] == kernel.SLOW).tolist():
        told = kernel.FINE
        for begin, end, column, fault in (
            (kernel.PRICE_AT, kernel.PRICE_END, kernel.PRICE_IS, kernel.NO_NUMBER),
            (kernel.SIZE_AT, kernel.SIZE_END, kernel.SIZE_IS, kernel.NO_SIZE),
        ):
            if places[k, begin] < 0:
                continue
            text = body[places[k, begin] : places[k, end]]
            if _NUMBER.fullmatch(text):
                numbers[k, column] = float(text.rstrip(b"iu"))
            else:
                told = fault
        places[k, kernel.TOLD] = told


def _signed(sizes: NDArray[np.float64], signs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return sizes with the sign of their side, those without a side as they are."""
    return np.where(signs == 0, sizes, np.abs(sizes) * signs)


def _parts(
    body: bytes, places: NDArray[np.int64], fine: NDArray[np.bool_], prices: NDArray[np.float64],
    times: NDArray[np.int64], sizes: NDArray[np.float64],
) -> Iterator[Part]:  # fmt: skip
    """Yield the batch of each symbol; lines without sizes are a batch of their own."""
    rows: dict[tuple[bytes, bool], list[NDArray[np.int64]]] = {}
    kept = np.flatnonzero(fine)
    keys = 2 * places[kept, kernel.SERIES] + np.isnan(sizes[kept])
    order = np.argsort(keys, kind="stable")
    for part in np.split(kept[order], np.flatnonzero(np.diff(keys[order])) + 1):
        if len(part):
            name = body[places[part[0], kernel.NAME] : places[part[0], kernel.NAME_END]]
            if b"\\" in name:
                name = _ESCAPED.sub(rb"\1", name)
            rows.setdefault((name, bool(np.isnan(sizes[part[0]]))), []).append(part)
    for (name, is_bare), parts in rows.items():
        found = np.sort(np.concatenate(parts)) if len(parts) > 1 else parts[0]
        of_these = times[found]
        if (of_these[1:] < of_these[:-1]).any():  # no difference: that of two times may take more than 64 bits
            found = found[np.argsort(of_these, kind="stable")]
        batch = as_ticks(prices[found], times[found], None if is_bare else sizes[found])
        yield Part(name.decode("utf-8", "surrogateescape"), batch, int(places[found.min(), kernel.BEGIN]))
