"""A perfect store made of lists, and how far an answer may be from its own."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from hft_mmap.errors import InvalidValues, OffsetConflict, SymbolLimitReached, SymbolNotFound
from hft_mmap.files.names import validate_symbol
from hft_mmap.limits import Limits
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats, exact_window_stats
from hft_mmap.tree.kernels import MAX_PRICE

RELATIVE_ERROR = 1e-12
"""Largest relative error of avg and var: 4,500 units in the last place, a thousandth of what a float64 sum may lose."""

UNDERFLOW = 2.0**-1064
"""Largest absolute error of avg and var: squares of deviations below 1e-154 fall below the normal float64 numbers."""

SMALL_LIMITS = Limits(
    max_data_retention=1000, cleanup_keep_count=600, max_symbols=3, starting_capacity=0, chunk_points=64
)
"""Limits at which a few hundred points fill several chunks and trigger cleanup."""


def assert_close(actual: WindowStats, exact: WindowStats) -> None:
    """Assert that `actual` is what a store may answer where `exact` is the truth.

    min, max, last and points are equal (bit for bit, where the prices are); avg and var differ by RELATIVE_ERROR at
    most; avg lies within [min, max] and var is not negative.

    No absolute tolerance is needed for the variance but UNDERFLOW: var >= (max - min)^2 / (2 points), so even errors
    that are relative to the spread of the prices stay small beside it. That of avg is relative to (avg - min) + |min|,
    which is avg where no price is negative.
    """
    assert actual.points == exact.points, f"points: {actual} instead of {exact}"
    for name in ("min", "max", "last"):
        a, b = getattr(actual, name), getattr(exact, name)
        assert struct.pack("<d", a) == struct.pack("<d", b), f"{name}: {actual} instead of {exact}"
    for name, size in (("avg", (exact.avg - exact.min) + abs(exact.min)), ("var", exact.var)):
        error = RELATIVE_ERROR * size + UNDERFLOW
        assert abs(getattr(actual, name) - getattr(exact, name)) <= error, f"{name}: {actual} instead of {exact}"
    assert actual.min <= actual.avg <= actual.max, f"avg outside of [min, max]: {actual}"
    assert actual.var >= 0, f"var below 0: {actual}"


@dataclass
class ModelSeries:
    """A series as a list: every value ever appended, and the index of the oldest one still kept."""

    values: list[float] = field(default_factory=list)
    start: int = 0

    @property
    def total(self) -> int:
        """Points ever appended."""
        return len(self.values)

    @property
    def kept(self) -> list[float]:
        """Return the points that are kept, oldest first."""
        return self.values[self.start :]


class ModelStore:
    """What a store has to answer, by definition: lists and exact rationals, no files, no speed, no threads."""

    def __init__(self, limits: Limits) -> None:
        """Start empty; of `limits` those count that a caller can notice."""
        self.limits = limits
        self.series: dict[str, ModelSeries] = {}

    def _prices(self, values: Iterable[float]) -> list[float]:
        """Return the batch as it is stored, or refuse it as a whole."""
        prices = [float(value) + 0.0 for value in values]
        least = -MAX_PRICE if self.limits.negative_prices else 0.0
        if not prices or not all(least <= price <= MAX_PRICE for price in prices):
            raise InvalidValues("not a batch of prices")
        return prices

    def append(self, symbol: str, values: Iterable[float], *, offset: int | None = None) -> int:
        """Append a batch whole or refuse it untouched; return the new total. Errors and rules as `Store.append`."""
        validate_symbol(symbol)
        prices = self._prices(values)
        series = self.series.get(symbol, ModelSeries())
        total, n = series.total, len(prices)
        if offset is not None and offset != total:
            if series.start <= offset and series.values[offset : offset + n] == prices:
                return offset + n
            raise OffsetConflict(f"offset {offset} does not fit", total)
        most = self.limits.max_data_retention
        if n > most:
            raise InvalidValues("batch larger than max_data_retention")
        if symbol not in self.series and len(self.series) >= self.limits.max_symbols:
            raise SymbolLimitReached("symbol limit reached")
        if total - series.start + n > most:
            series.start = max(series.start, total - min(self.limits.cleanup_keep_count, most - n))
        series.values += prices
        self.series[symbol] = series
        return series.total

    def window(self, symbol: str, n: int) -> list[float]:
        """Return the newest `n` points, oldest first."""
        if symbol not in self.series:
            raise SymbolNotFound(symbol)
        return self.series[symbol].kept[-n:]

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return the statistics of the newest `window` points, correctly rounded; O(window)."""
        return exact_window_stats(self.window(symbol, window), window)

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows."""
        return tuple(self.stats(symbol, window) for window in STANDARD_WINDOWS)

    def roll_back(self, symbol: str, total: int, start: int) -> None:
        """Forget the points from `total` on, as a power loss may, and keep those from `start`."""
        series = self.series[symbol]
        del series.values[total:]
        series.start = start
