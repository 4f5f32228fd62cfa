"""Buckets and bars against exact sums and plain numpy, over chunks so small that every border is met."""

import math
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import Buckets, InvalidRange, Limits, Series, Store
from hft_mmap.testing import RELATIVE_ERROR, UNDERFLOW
from hft_mmap.tree.buckets import FIRST, LAST, MAX, MEAN, MIN, fold_buckets
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.test_kernels import CHUNK_POINTS, KINDS, Tree, prices

Floats = NDArray[np.float64]

LIMITS = Limits(max_data_retention=1000, cleanup_keep_count=600, starting_capacity=0, chunk_points=64)


def assert_exact(found: Buckets, values: Floats, first_point: int = 0) -> None:
    """Assert that the buckets are those of `values`, the first of which is point number `first_point`."""
    edges = [*found.index.tolist(), found.end]
    for i, (lo, hi) in enumerate(pairwise(edges)):
        part = values[lo - first_point : hi - first_point]
        extremes = (found.first[i], found.last[i], found.min[i], found.max[i])
        assert extremes == (part[0], part[-1], part.min(), part.max())
        exact = math.fsum(part) / len(part)  # fsum rounds once, whatever the number of terms
        assert math.isclose(found.mean[i], exact, rel_tol=RELATIVE_ERROR, abs_tol=UNDERFLOW)
        assert part.min() <= found.mean[i] <= part.max()


@pytest.fixture
def series(open_store: OpenStore) -> Series:
    """Return a series of 1,000 points in chunks of 64, of which a cleanup has left those from 400 on."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", VALUES[:1000])
    store.append("A", VALUES[1000:])
    assert store.series("A").bounds() == (400, 1001)
    return store.series("A")


VALUES = prices("uniform", 1001, seed=7)


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_any_buckets_are_exact(points: int, data: st.DataObject) -> None:
    """First, last, min and max to the bit, the mean within 1e-12 of the exact one, wherever the borders lie."""
    n = data.draw(st.integers(1, 3 * points + 70), label="n")
    borders = st.one_of(st.integers(0, n), st.integers(0, n // 64).map(lambda node: node * 64))
    edges = sorted(data.draw(st.sets(borders, min_size=2, max_size=8), label="edges"))
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    values = prices(kind, n, data.draw(st.integers(0, 2**32 - 1), label="seed"))
    tree = Tree(values, points)
    out = np.empty((5, len(edges) - 1))
    fold_buckets(tree.table, tree.roots, np.array(edges), out)
    found = Buckets(np.array(edges[:-1]), out[FIRST], out[LAST], out[MIN], out[MAX], out[MEAN], edges[-1])
    assert_exact(found, values)


@settings(max_examples=40)
@given(data=st.data())
def test_any_range_in_any_number_of_buckets(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every point of the range is in one bucket, and the sizes differ by one at most, down to single points."""
    values = prices("ticks", 700, seed=1)
    start = data.draw(st.integers(0, 700))
    end = data.draw(st.integers(start, 900))
    n = data.draw(st.integers(1, 800))
    path = tmp_path_factory.getbasetemp() / "ticks"
    with Store(path, limits=LIMITS, durability="process") as store:
        store.append("A", values, offset=0)
        found = store.series("A").buckets(start, end, n)
    points = min(end, 700) - start
    sizes = np.diff([*found.index, found.end])
    assert len(sizes) == min(n, points)
    assert sizes.sum() == points
    assert not points or (found.index[0] == start and sizes.max() - sizes.min() <= 1)
    assert_exact(found, values)


@pytest.mark.parametrize("size", [1, 7, 64, 100, 5000, 10**30])
def test_bars_begin_at_multiples_of_their_size(series: Series, size: int) -> None:
    """So the bars of two ranges that overlap are the same, but for the first and the last."""
    found = series.bars(450, 990, size)
    inner = [point for point in range(451, 990) if point % size == 0]
    assert [*found.index.tolist(), found.end] == [450, *inner, 990]
    assert_exact(found, VALUES)


def test_what_is_not_kept_is_left_out(series: Series) -> None:
    """A range may begin before the oldest point and end after the newest one."""
    for found in (series.buckets(0, 10**30, 10), series.bars(0, 10**30, 60)):
        assert (found.index[0], found.end) == (400, 1001)
        assert_exact(found, VALUES)


@pytest.mark.parametrize("asked", [(0, 0), (0, 400), (500, 500), (1001, 2000), (10**30, 10**30)])
def test_a_range_without_a_point_has_no_bucket(series: Series, asked: tuple[int, int]) -> None:
    """It is empty, and where it would be is told."""
    for found in (series.buckets(*asked, 5), series.bars(*asked, 5)):
        assert len(found.index) == len(found.mean) == 0
        assert found.end in {400, 500, 1001}


def test_more_buckets_than_points_are_the_points(series: Series) -> None:
    """Then all columns are the points themselves."""
    found = series.buckets(450, 650, 1000)
    assert found.index.tolist() == list(range(450, 650))
    for column in (found.first, found.last, found.min, found.max, found.mean):
        assert np.array_equal(column, VALUES[450:650])


@pytest.mark.parametrize("bad", [(-1, 5, 1), (6, 5, 1), (0, 5, 0), (0, 5, -1), (0.0, 5, 1), (0, "5", 1), (0, 5, None)])
def test_what_is_no_range_is_refused(series: Series, bad: tuple[int, int, int]) -> None:
    """The text names the values."""
    for ask in (series.buckets, series.bars):
        with pytest.raises(InvalidRange, match=r"start|size|n must"):
            ask(*bad)


def test_the_arrays_are_the_readers_own_and_read_only(series: Series) -> None:
    """Nobody changes what another one holds."""
    found = series.buckets(450, 650, 3)
    with pytest.raises(ValueError, match="read-only"):
        found.mean[0] = 1.0


def test_buckets_beside_a_writer_are_those_of_one_moment(open_store: OpenStore) -> None:
    """While points are appended and cleaned up, each answer fits together: value i is always i."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", [0.0])
    series = store.series("A")
    done = threading.Event()

    def write() -> None:
        for total in range(1, 40_001, 50):
            store.append("A", np.arange(float(total), total + 50))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    for how, number in ((series.buckets, 7), (series.bars, 90)):
        while True:
            last_round = done.is_set()
            found = how(0, 10**9, number)
            assert np.array_equal(found.first, found.index)
            assert np.array_equal(found.last, np.append(found.index[1:], found.end) - 1)
            assert np.array_equal(found.mean, (found.first + found.last) / 2)
            if last_round or len(found.index) > 7:
                break
    writer.join()


def test_a_spike_is_never_hidden(open_store: OpenStore) -> None:
    """One point among 100,000 shows in its bucket, and in no other."""
    store = open_store(limits=Limits(starting_capacity=0), durability="process")
    values = np.full(100_000, 5.0)
    values[77_777] = 9.0
    store.append("A", values)
    found = store.series("A").buckets(0, 100_000, 1000)
    assert np.flatnonzero(found.max == 9.0).tolist() == [777]
    assert found.index[777] == 77_700
