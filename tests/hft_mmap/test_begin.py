"""A series that begins at an index above 0, as one does that comes from elsewhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import (
    InvalidValues,
    Limits,
    Store,
    StoreReadOnly,
    SymbolExists,
    SymbolLimitReached,
    Ticks,
    as_ticks,
)

C = 4096
SMALL = Limits(chunk_points=C, starting_capacity=0)


def rows(n: int, *, timed: bool) -> Ticks:
    """Return rows."""
    prices = np.round(np.random.default_rng(n).uniform(1, 2, n), 3)
    times, sizes = (np.arange(n) * 7 - 10**6, np.cos(np.arange(n))) if timed else (None, None)
    return Ticks(prices, times, sizes)


@pytest.mark.parametrize("at", [0, 1, 63, 64, C - 1, C, C + 1, 5 * C - 1, 10**9 + 7, 2**61])
@pytest.mark.parametrize("timed", [False, True])
def test_a_series_goes_on_from_the_index_that_it_begins_at(tmp_path: Path, at: int, *, timed: bool) -> None:
    """Every window is that of its own points, before and after it is opened again; nothing is kept before it."""
    n = 2 * C + 100
    whole = rows(n, timed=timed)
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.begin("A", whole.cut(0, 1), at=at)
        series = store.series("A")
        assert (series.bounds(), store.stats("A", 1).last) == ((at, at + 1), whole.prices[0])
        rest = whole.cut(1, n)
        total = store.append("A", rest.prices, times=rest.times, sizes=rest.sizes, offset=at + 1)
        assert total == at + n
        assert len(store.window("A", 2 * n)) == n
    for place in ("data", "copy"):
        with Store(tmp_path / place, limits=SMALL) as store:
            series = store.series("A")
            assert series.bounds() == (at, at + n)
            kept = store.ticks("A", n)
            for got, sent in ((kept.prices, whole.prices), (kept.times, whole.times), (kept.sizes, whole.sizes)):
                assert (got is None) == (sent is None)
                assert got is None or got.tolist() == sent.tolist()  # type: ignore[union-attr]
            for window in (1, 2, 63, 64, 65, C - 1, C, C + 1, n - 1, n):
                found, values = store.stats("A", window), whole.prices[-window:]
                assert (found.min, found.max, found.last) == (values.min(), values.max(), values[-1])
                assert found.avg == pytest.approx(values.mean(), rel=1e-14)
                assert found.var == pytest.approx(values.var(), rel=1e-9, abs=1e-18)
            assert not [fault for report in store.verify() for fault in report.faults]
            store.summarise("A")
            assert not [fault for report in store.verify() for fault in report.faults]
            if place == "data":
                store.snapshot(tmp_path / "copy")


def test_a_series_that_begins_is_on_the_disk_as_it_is_named(tmp_path: Path) -> None:
    """Nothing of a former try is left; a cleanup lets go of its first points as of any others."""
    with Store(tmp_path, limits=Limits(chunk_points=64, max_data_retention=100, cleanup_keep_count=50)) as store:
        store.begin("A", as_ticks([1.0], None, None), at=1000)
        for k in range(20):
            store.append_nowait("A", np.full(10, k + 1.0), offset=1001 + 10 * k)
        start, total = store.series("A").bounds()
        assert (total, 50 <= total - start <= 100) == (1201, True)
        store.sync()
        assert min(int(path.stem) for path in (tmp_path / "A").glob("*.chunk")) == start // 64 * 64
        assert not [fault for report in store.verify() for fault in report.faults]


@pytest.mark.parametrize("at", [-1, True, 1.5, 2**63])
def test_an_index_that_is_none_is_refused(tmp_path: Path, at: int) -> None:
    """ValueError, and so is more than one point."""
    with Store(tmp_path, limits=SMALL) as store:
        with pytest.raises(ValueError, match="begins with one point"):
            store.begin("A", as_ticks([1.0], None, None), at=at)
        with pytest.raises(ValueError, match="begins with one point"):
            store.begin("A", as_ticks([1.0, 2.0], None, None), at=5)
        with pytest.raises(InvalidValues):
            store.begin("A", as_ticks([-1.0], None, None), at=5)
        assert list((tmp_path).glob("*A*")) == []


def test_a_series_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """SymbolExists; and no more symbols than there may be, and none by who only reads."""
    point = as_ticks([1.0], None, None)
    with Store(tmp_path, limits=Limits(max_symbols=1)) as store:
        store.append("A", [5.0, 6.0])
        with pytest.raises(SymbolExists):
            store.begin("A", point, at=7)
        assert store.window("A", 9).tolist() == [5.0, 6.0]
        with pytest.raises(SymbolLimitReached):
            store.begin("B", point, at=7)
    with Store(tmp_path, mode="r") as store, pytest.raises(StoreReadOnly):
        store.begin("B", point, at=7)


def test_a_series_of_negative_prices_begins_where_they_are_taken(tmp_path: Path) -> None:
    """A spread that comes from elsewhere: verified, appended to, and refused where the setting is off."""
    with Store(tmp_path / "data", limits=SMALL) as store, pytest.raises(InvalidValues, match="negative_prices"):
        store.begin("A", Ticks(np.array([-1.5])), at=70)
    with Store(tmp_path / "data", limits=replace(SMALL, negative_prices=True)) as store:
        store.begin("A", Ticks(np.array([-1.5])), at=70)
        assert store.append("A", [-2.5, 0.5], offset=71) == 73
        assert store.stats("A", 3).min == -2.5
    with Store(tmp_path / "data", limits=SMALL) as store:
        assert store.window("A", 3).tolist() == [-1.5, -2.5, 0.5]
        assert not [fault for report in store.verify() for fault in report.faults]
