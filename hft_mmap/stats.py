"""What a query answers, and the plain-Python references that tests compare it with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

STANDARD_WINDOWS = tuple(10**k for k in range(1, 9))
"""The windows answered together: the newest 10, 100, … 100,000,000 points."""
STANDARD_TIMES = ("1s", "5s", "10s", "1m", "5m", "15m", "1h", "1d")
"""The windows by time that are answered beside them, where a series has times."""


class WindowStats(NamedTuple):
    """Statistics of the newest points of a series.

    min, max and last are values that were appended, bit for bit; avg is their mean; var is the population variance
    (divided by n). points is the number of points covered: the window, or all that are kept if those are fewer.
    """

    min: float
    max: float
    last: float
    avg: float
    var: float
    points: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A node as exact rationals: count, min, max, mean, m2 (sum of squared deviations from the mean)."""

    count: int
    min: Fraction
    max: Fraction
    mean: Fraction
    m2: Fraction


def summarise_exactly(values: Iterable[float]) -> Summary:
    """Return the exact summary of `values` (at least one), by definition and with no rounding; O(n)."""
    ratios = [float(value).as_integer_ratio() for value in values]
    # Denominators are powers of two: over the largest of them every value is a whole number. Sums of whole numbers
    # are a hundred times faster than sums of fractions, and as exact.
    scale = max(denominator for _, denominator in ratios)
    whole = [numerator * (scale // denominator) for numerator, denominator in ratios]
    count, total = len(whole), sum(whole)
    squares = sum(x * x for x in whole)
    return Summary(
        count,
        Fraction(min(whole), scale),
        Fraction(max(whole), scale),
        Fraction(total, scale * count),
        Fraction(squares * count - total * total, scale * scale * count),
    )


def merge_exactly(a: Summary, b: Summary) -> Summary:
    """Return the exact summary of both (Chan, Golub, LeVeque 1983, eq. 2.1)."""
    count = a.count + b.count
    distance = b.mean - a.mean
    mean = a.mean + distance * b.count / count
    m2 = a.m2 + b.m2 + distance**2 * a.count * b.count / count
    return Summary(count, min(a.min, b.min), max(a.max, b.max), mean, m2)


def exact_window_stats(values: Sequence[float], window: int) -> WindowStats:
    """Return the statistics of the newest `window` of `values`, each correctly rounded from exact rationals; O(n)."""
    newest = values[-window:]
    exact = summarise_exactly(newest)
    return WindowStats(
        float(exact.min), float(exact.max), newest[-1], float(exact.mean), float(exact.m2 / exact.count), exact.count
    )
