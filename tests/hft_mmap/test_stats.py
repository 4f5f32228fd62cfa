"""The exact references: they are what everything else is compared with, so they are held against definitions."""

import statistics
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hft_mmap.stats import (
    STANDARD_WINDOWS,
    WindowStats,
    exact_window_stats,
    merge_exactly,
    summarise_exactly,
)
from hft_mmap.testing import PRICES

PRICE_LISTS = st.lists(PRICES.map(abs), min_size=1, max_size=30)

TEN_PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]


@given(PRICE_LISTS)
def test_the_exact_summary_is_that_of_the_standard_library(values: list[float]) -> None:
    """Count, min, max, mean and m2 are what `statistics` computes from fractions."""
    exact = [Fraction(value) for value in values]
    summary = summarise_exactly(values)
    assert (summary.count, summary.min, summary.max) == (len(values), min(exact), max(exact))
    assert summary.mean == statistics.mean(exact)
    assert summary.m2 == sum((x - statistics.mean(exact)) ** 2 for x in exact)


@given(PRICE_LISTS, PRICE_LISTS)
def test_merged_summaries_are_the_summary_of_both(a: list[float], b: list[float]) -> None:
    """Merging two summaries gives exactly the summary of the two batches together."""
    assert merge_exactly(summarise_exactly(a), summarise_exactly(b)) == summarise_exactly(a + b)


def test_ten_prices_have_the_published_statistics() -> None:
    """The ten prices of the README have avg 150.93 and the population variance 0.5201."""
    stats = exact_window_stats(TEN_PRICES, 10)
    rounded = stats._replace(avg=round(stats.avg, 9), var=round(stats.var, 9))
    assert rounded == WindowStats(min=149.8, max=152.0, last=151.9, avg=150.93, var=0.5201, points=10)


def test_a_window_covers_the_newest_points_and_no_more_than_there_are() -> None:
    """A window of 3 ignores what is older; a window of 100 over ten points covers ten."""
    assert exact_window_stats([1e9, 1.0, 2.0, 3.0], 3).max == 3.0
    assert exact_window_stats(TEN_PRICES, 100).points == 10


def test_the_standard_windows_are_the_powers_of_ten() -> None:
    """The eight standard windows are 10 to 100,000,000 points."""
    assert STANDARD_WINDOWS == (10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
