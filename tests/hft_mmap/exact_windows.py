"""Every statistic of any window of a series in exact arithmetic, from running sums of whole numbers.

Prices and sizes are whole numbers of a power of two, however small it is, so a difference of two running sums has no
error, and a window of 100,000 points costs what one of ten does. What is no sum of them (minima, the deepest fall, the
longest gap) is searched through all points of the window.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, getcontext
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.named import STATISTICS

Floats = NDArray[np.float64]
Found = Mapping[str, float | None]

DIGITS = 80
LOG_UNIT = 2**240
"""Of squared log returns, whose 80 digits are kept as whole numbers of it."""
POSITIVE, SIGNED, ROUNDING, OF_TIME = Decimal("1e-14"), Decimal("1e-13"), Decimal("4.5e-16"), Decimal("1e-15")
UNDERFLOW = Decimal("1e-320")
OF_BOUND = Decimal("1.000001")
"""What bounds are made of that are sums of absolute terms is added up in float64."""


def whole(values: Floats) -> tuple[list[int], int]:
    """Return float64 numbers as whole numbers of 1 / D, and D, a power of two."""
    ratios = [value.as_integer_ratio() for value in values.tolist()]
    unit = max((below for _, below in ratios), default=1)
    return [above * (unit // below) for above, below in ratios], unit


def sums(terms: Sequence[int]) -> list[int]:
    """Return the running sums of whole numbers, from 0 on."""
    return [0, *accumulate(terms)]


def squared_returns(prices: list[int]) -> list[int]:
    """Return ln(price / price before)^2 of each point in 1 / LOG_UNIT, 0 of the first and beside one that has none."""
    known: dict[tuple[int, int], int] = {}
    found = [0]
    for pair in pairwise(prices):
        if pair not in known:
            before, price = map(Decimal, pair)
            known[pair] = int((price / before).ln() ** 2 * LOG_UNIT) if min(pair) > 0 else 0
        found.append(known[pair])
    return found


class ExactSeries:
    """The points of a series, and what their statistics are, with 80 digits: decimal numbers have to have those."""

    def __init__(self, prices: Floats, times: NDArray[np.int64], sizes: Floats) -> None:
        """Add everything up."""
        getcontext().prec = DIGITS
        self.prices, self.times, self.sizes = prices, times, sizes
        p, self.unit = whole(prices)
        s, self.size_unit = whole(sizes)
        held = [*np.diff(times).tolist(), 0]
        self.powers = [sums([x**k for x in p]) for k in (1, 2, 3, 4)]
        self.by_index = sums([i * x for i, x in enumerate(p)])
        self.changes = sums([0, *(abs(b - a) for a, b in pairwise(p))])
        self.squares = sums(squared_returns(p))
        self.volume, self.signed = sums(list(map(abs, s))), sums(s)
        self.worth = sums([x * abs(size) for x, size in zip(p, s, strict=True)])
        self.held = sums([x * wait for x, wait in zip(p, held, strict=True)])

    def check(self, begin: int, end: int, found: Found) -> None:
        """Assert that all statistics of the points [begin, end) are right, or undefined where they have to be."""
        assert set(found) == set(STATISTICS)
        part = self.prices[begin:end]
        for of in (self._plain, self._spread, self._path, self._shape, self._traded):
            of(begin, end, part, found)

    def _powers(self, begin: int, end: int) -> list[int]:
        return [power[end] - power[begin] for power in self.powers]

    def _plain(self, begin: int, end: int, part: Floats, found: Found) -> None:
        n, first, last = end - begin, float(part[0]), float(part[-1])
        low, high = float(part.min()), float(part.max())
        expected: dict[str, float] = {
            "count": n, "first": first, "last": last, "min": low, "max": high, "range": high - low,
            "change": last - first, "argmin": begin + int(part.argmin()), "argmax": begin + int(part.argmax()),
        }  # fmt: skip
        for name, value in expected.items():
            assert found[name] == value, (name, found[name], value)
        change = (Decimal(last) - Decimal(first)) / Decimal(first) if first > 0 and last >= 0 else None
        near(found, "return", change, ROUNDING * abs(change or Decimal(0)))

    def _spread(self, begin: int, end: int, part: Floats, found: Found) -> None:
        n, (s1, s2, *_) = end - begin, self._powers(begin, end)
        mean = Decimal(s1) / (n * self.unit)
        n2 = Decimal(n * s2 - s1 * s1)  # n times the sum of squared deviations
        var = n2 / (n * n * self.unit**2)
        sample = n2 / (n * (n - 1) * self.unit**2) if n > 1 else None
        size = above_least(mean, part)
        near(found, "avg", mean, POSITIVE * size)
        near(found, "var", var, POSITIVE * var)
        near(found, "var_sample", sample, POSITIVE * (sample or 0))
        std, std_sample = var.sqrt(), None if sample is None else sample.sqrt()
        near(found, "std", std, POSITIVE * std)
        near(found, "std_sample", std_sample, POSITIVE * (std_sample or 0))
        near(found, "bollinger_lower", mean - 2 * std, POSITIVE * (size + 2 * std))
        near(found, "bollinger_upper", mean + 2 * std, POSITIVE * (size + 2 * std))
        last = Decimal(float(part[-1]))
        score = (last - mean) / std if std else None
        near(found, "zscore", score, POSITIVE * (abs(last) + size) / std + POSITIVE if std else Decimal(0))
        assert part.min() <= (found["avg"] or 0) <= part.max()

    def _path(self, begin: int, end: int, part: Floats, found: Found) -> None:
        # A return belongs to the point at which it ends, so the first point of a window has none.
        path = Decimal(self.changes[end] - self.changes[begin + 1]) / self.unit
        near(found, "path", path, POSITIVE * path)
        fall = float((part / np.maximum.accumulate(part)).min()) - 1 if part[0] > 0 and part.min() >= 0 else None
        assert found["drawdown"] == fall, ("drawdown", found["drawdown"], fall)
        if part.min() <= 0:
            assert (found["rv"], found["volatility"], found["runup"]) == (None, None, None)
            return
        rv = Decimal(self.squares[end] - self.squares[begin + 1]) / LOG_UNIT
        near(found, "rv", rv, POSITIVE * rv)
        near(found, "volatility", rv.sqrt(), POSITIVE * rv.sqrt())
        rise = float((part / np.minimum.accumulate(part)).max()) - 1
        assert found["runup"] == rise, ("runup", found["runup"], rise)

    def _shape(self, begin: int, end: int, part: Floats, found: Found) -> None:
        n, (s1, s2, s3, s4) = end - begin, self._powers(begin, end)
        cross = Decimal(2 * (self.by_index[end] - self.by_index[begin]) - (begin + end - 1) * s1) / 2
        squares = Decimal(n * (n * n - 1)) / 12
        # The mean from the least price, so that no digit of the deviations is lost.
        above = part - part.min()
        deviations = np.abs(above - float(Decimal(s1) / (n * self.unit) - Decimal(float(part.min()))))
        terms = OF_BOUND * Decimal(float(np.abs(np.arange(n) - (n - 1) / 2) @ deviations))
        if n > 1:
            near(found, "slope", cross / (squares * self.unit), SIGNED * terms / squares)
        else:
            assert found["slope"] is None
        n2 = n * s2 - s1 * s1
        if not n2:
            assert (found["skew"], found["kurtosis"], found["r2"]) == (None, None, None)
            return
        # With Mk the sum of (p - mean)^k these are n M2, n^2 M3 and n^3 M4.
        n3 = n * n * s3 - 3 * n * s1 * s2 + 2 * s1**3
        n4 = n**3 * s4 - 4 * n * n * s1 * s3 + 6 * n * s1 * s1 * s2 - 3 * s1**4
        n2_, fourth = Decimal(n2), Decimal(n4) / Decimal(n2 * n2)
        std = float((n2_ / (n * n * self.unit**2)).sqrt())
        thirds = OF_BOUND * Decimal(float(((deviations / std) ** 3).mean()))
        near(found, "skew", Decimal(n3) / (n2_ * n2_.sqrt()), SIGNED * thirds)
        near(found, "kurtosis", fourth - 3, SIGNED * fourth)
        near(found, "r2", cross * cross * n / (squares * n2_), 2 * SIGNED)

    def _traded(self, begin: int, end: int, part: Floats, found: Found) -> None:
        n, times = end - begin, self.times[begin:end]
        volume = self.volume[end] - self.volume[begin]
        amount = Decimal(volume) / self.size_unit
        near(found, "volume", amount, POSITIVE * amount)
        near(found, "signed_volume", Decimal(self.signed[end] - self.signed[begin]) / self.size_unit, POSITIVE * amount)
        worth = self.worth[end] - self.worth[begin]
        vwap = Decimal(worth) / (volume * self.unit) if volume else None
        near(found, "vwap", vwap, POSITIVE * above_least(vwap or Decimal(0), part))
        span = int(times[-1]) - int(times[0])
        twap = Decimal(self.held[end - 1] - self.held[begin]) / (span * self.unit) if span else None
        near(found, "twap", twap, POSITIVE * above_least(twap or Decimal(0), part))
        gap = Decimal(int(np.diff(times).max())) / 10**9 if n > 1 else None
        near(found, "gap", gap, OF_TIME * (gap or 0))
        rate = Decimal((n - 1) * 10**9) / span if span else None
        near(found, "rate", rate, OF_TIME * (rate or 0))
        for name in ("vwap", "twap"):
            value = found[name]
            assert value is None or part.min() <= value <= part.max(), (name, value)


def above_least(mean: Decimal, part: Floats) -> Decimal:
    """Return what the error of a mean is measured by: itself where no price is negative."""
    low = Decimal(float(part.min()))
    return abs(low) + (mean - low)


def near(found: Found, name: str, exact: Decimal | None, error: Decimal) -> None:
    """Assert that a statistic is undefined where it has to be, and off by no more than `error` elsewhere."""
    value = found[name]
    assert (value is None) == (exact is None), (name, value, exact)
    if value is not None and exact is not None:
        assert abs(Decimal(value) - exact) <= error + UNDERFLOW, (name, value, float(exact), float(error))


def check_empty(found: Found) -> None:
    """Assert that nothing is known of no point but that there is none."""
    for name, value in found.items():
        assert value == (0 if name in {"count", "volume", "signed_volume"} else None), (name, value)


Prices = Callable[[np.random.Generator, int], Any]
KINDS: Mapping[str, Prices] = {
    "walk": lambda rng, n: np.round(150 + np.cumsum(rng.integers(-1, 2, n)) / 100, 2).clip(1),
    "far": lambda rng, n: rng.uniform(1e9 - 1, 1e9 + 1, n),
    "outlier": lambda rng, n: np.where(rng.random(n) < 3 / n, 1e15, rng.uniform(1, 2, n)),
    "zeros": lambda rng, n: np.where(rng.random(n) < 20 / n, 0.0, rng.uniform(100, 200, n)),
    "signed": lambda rng, n: np.round(np.cumsum(rng.integers(-1, 2, n)) / 100, 2) + 0.0,
    "jumps": lambda rng, n: np.exp(rng.uniform(-30, 30, n)),
}
"""Prices that wander, that lie far from 0, of which few dwarf the others, that are 0 at times, that cross it, that
jump."""
