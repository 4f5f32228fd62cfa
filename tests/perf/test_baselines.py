"""perf.baselines and the experiments' own arithmetic: a comparison with something wrong is worth nothing."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hft_mmap.stats import exact_window_stats
from perf.baselines.rescan import rescan
from perf.baselines.tree import SegmentTree
from perf.experiments.accuracy import exact_avg_and_var, prices_at_level, relative_error
from perf.experiments.space import cached_bytes, disk_bytes
from perf.prices import price_blocks, random_walk

WINDOWS = (1, 2, 3, 63, 64, 65, 500, 1000, 5000)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_tree_answers_as_the_definition_does(window: int) -> None:
    """For any window, one larger than what is stored included."""
    values = random_walk(1000).tolist()
    tree = SegmentTree()
    tree.append(values)
    assert tree.stats(window) == pytest.approx(exact_window_stats(values, window), rel=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_rescan_answers_as_the_definition_does(window: int) -> None:
    """The same."""
    values = random_walk(1000)
    assert rescan(values, window) == pytest.approx(exact_window_stats(values.tolist(), window), rel=1e-9)


def test_the_exact_statistics_are_exact() -> None:
    """By definition, on a part that is small enough for it."""
    values = prices_at_level()[:200]
    avg, var = exact_avg_and_var(values)
    exact = [Fraction(value) for value in values.tolist()]
    mean = sum(exact, Fraction(0)) / len(exact)
    assert avg == mean
    assert var == sum(((one - mean) ** 2 for one in exact), Fraction(0)) / len(exact)


def test_the_relative_error_is_relative() -> None:
    """Half of a hundred is a half."""
    assert relative_error(150.0, Fraction(100)) == 0.5


def test_the_prices_are_the_same_in_every_run() -> None:
    """Or results of two days would not compare."""
    assert np.array_equal(random_walk(1000), random_walk(1000))
    assert not np.array_equal(random_walk(1000), random_walk(1000, seed=2))
    one, two = (next(price_blocks()) for _ in range(2))
    assert np.array_equal(one, two)


def test_space_counts_what_is_there_and_not_the_length_of_files(tmp_path: Path) -> None:
    """Chunk files are sparse."""
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"x" * 8192)
        file.truncate(1 << 30)
    assert 8192 <= disk_bytes(tmp_path) < 1 << 20
    cached = cached_bytes(tmp_path)
    assert cached is None or 8192 <= cached < 1 << 20
