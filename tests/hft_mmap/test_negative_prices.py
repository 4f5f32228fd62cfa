"""Prices below 0: taken where the limits say so, refused by name elsewhere, and never lost once they are stored."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hft_mmap import STATISTICS, InvalidValues, Limits, Store
from hft_mmap.files.blocks import decode_identity
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import SMALL_LIMITS
from tests.hft_mmap.conftest import OpenStore, StartStore

SIGNED = replace(SMALL_LIMITS, negative_prices=True)
OIL = [18.27, 10.01, -2.5, -37.63, -5e-324, 0.0, -1e140, 10.0]
NAMED = r"values\[1\] is -2.5: a price must be finite, at least 0 .* store\.negative_prices .* Limits"


def head_of(store: Store, symbol: str = "A") -> bytes:
    """Return the bytes of a head."""
    return (store.path / symbol / "head").read_bytes()


@pytest.mark.parametrize("columns", [{}, {"times": [1, 2]}, {"times": [1, 2], "sizes": [1, -1]}, {"sizes": [1, 2]}])
def test_without_the_setting_a_batch_is_refused_as_a_whole(open_store: OpenStore, columns: dict[str, Any]) -> None:
    """With a text that names it, for a symbol that is new and for one that is there."""
    store = open_store()
    with pytest.raises(InvalidValues, match=NAMED):
        store.append("A", [1.0, -2.5], **columns)
    assert list(store) == []
    store.append("A", [1.0, 2.5], **columns)
    with pytest.raises(InvalidValues, match=NAMED):
        store.append("A", [1.0, -2.5], **columns)
    assert store.window("A", 9).tolist() == [1.0, 2.5]
    assert not decode_identity(head_of(store)).is_signed


@pytest.mark.parametrize("cut", range(1, len(OIL)))
@pytest.mark.parametrize("columns", [(), ("times",), ("times", "sizes")])
def test_with_it_they_are_stored_bit_for_bit(open_store: OpenStore, columns: tuple[str, ...], cut: int) -> None:
    """In whichever batch the first of them comes, the short way and the long one; -0.0 is 0.0."""
    store = open_store(limits=SIGNED)
    prices = np.array([*OIL, -0.0])
    for part in (slice(0, cut), slice(cut, 9)):
        beside: dict[str, Any] = {name: np.arange(9)[part] for name in columns}
        newest: dict[str, Any] = {name: [9] for name in columns}
        store.append("A", prices[part], **beside)
        store.append("A", [-1.5], **newest)
    expected = [*OIL[:cut], -1.5, *OIL[cut:], 0.0, -1.5]
    assert store.window("A", 20).tobytes() == np.array(expected).tobytes()
    assert [report.faults for report in store.verify()] == [()]
    assert (store.stats("A", 20).min, store.stats("A", 20).max) == (-1e140, 18.27)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0000001e140, 1.0000001e140])
def test_what_is_no_price_is_refused_with_the_setting_too(open_store: OpenStore, bad: float) -> None:
    """Beside negative ones."""
    store = open_store(limits=SIGNED)
    store.append("A", [-1.0])
    with pytest.raises(InvalidValues, match=r"values\[2\] is .*a price must be finite, and from -1e\+140 to 1e\+140"):
        store.append("A", [-1.0, -0.0, bad])
    assert store.series("A").total == 1


def test_only_a_series_that_had_one_says_so(open_store: OpenStore) -> None:
    """The head of another is of version 1 and what it was, byte for byte, whatever the setting."""
    store = open_store(limits=SIGNED)
    store.append("A", [1.0, 2.0])
    store.append("B", [1.0, -2.0], times=[1, 2])
    before = head_of(store)
    assert struct.unpack_from("<I", before, 8) == (1,)
    assert struct.unpack_from("<I", head_of(store, "B"), 8) == (2,)
    assert struct.unpack_from("<Q", head_of(store, "B"), 120) == (2**32 + 1,)
    store.append("A", [-1.0])
    after = head_of(store)
    assert struct.unpack_from("<IQ", after, 8)[0] == 2
    assert struct.unpack_from("<Q", after, 120) == (2**32,)
    assert [after[12:114], after[24:40]] == [before[12:114], before[24:40]]


def test_without_the_setting_what_is_stored_stays(open_store: OpenStore) -> None:
    """It is opened, read, verified, repaired, copied, and goes on to take other prices."""
    with open_store(limits=SIGNED) as store:
        store.append("A", np.resize(OIL, 300))
        store.summarise("A")
    store = open_store()
    store.append("A", [1.0])
    with pytest.raises(InvalidValues, match=r"store\.negative_prices"):
        store.append("A", [1.0, -1.0])
    expected = np.append(np.resize(OIL, 300), 1.0)
    assert store.window("A", 301).tobytes() == expected.tobytes()
    assert store.stats("A", 301).min == -1e140
    assert [report.faults for report in store.verify()] == [()]
    assert [(report.repaired, report.remaining) for report in store.repair()] == [((), ())]
    copy = store.path.parent / "copy"
    assert store.snapshot(copy) == {"A": 301}
    with Store(copy, limits=SIGNED) as other:
        other.append("A", [-7.0])
        assert other.window("A", 302).tobytes() == np.append(expected, -7.0).tobytes()
        assert [report.faults for report in other.verify()] == [()]
        other.rename("A", "B")
        other.append("B", [-8.0])
        assert [report.faults for report in other.verify()] == [()]


def test_they_are_kept_over_a_kill(start_store: StartStore, tmp_path: Path) -> None:
    """What was appended to chunk after chunk proves itself, in a process without the setting."""
    process = start_store(limits=SIGNED)
    process.append("A", np.resize(OIL, 150))
    process.append("A", [-1.0])
    process.kill()
    with Store(tmp_path / "data", limits=SMALL_LIMITS) as store:
        assert store.window("A", 151).tobytes() == np.append(np.resize(OIL, 150), -1.0).tobytes()
        assert [report.faults for report in store.verify()] == [()]


def test_processes_with_and_without_the_setting_share_a_series(open_store: OpenStore) -> None:
    """One that opened it before the first negative price takes them the same way afterwards."""
    first, second, other = open_store(limits=SIGNED), open_store(limits=SIGNED), open_store()
    for store in (first, second, other):
        store.append("A", [1.0])
    for store in (first, second, first, second):
        store.append("A", [-1.0, 2.0])
    other.append("A", [3.0])
    with pytest.raises(InvalidValues):
        other.append("A", [-3.0])
    assert second.window("A", 99).tolist() == [1.0] * 3 + [-1.0, 2.0] * 4 + [3.0]
    assert first.append("A", [-1.0, 2.0], offset=3) == 5


@pytest.mark.parametrize("signed", [False, True])
def test_verify_holds_values_against_what_the_head_says(open_store: OpenStore, signed: bool) -> None:  # noqa: FBT001
    """A sign that was flipped is named in a series without negative prices, and does not prove itself in another."""
    with open_store(limits=SIGNED) as store:
        store.append("A", np.arange(1.0, 41.0) * (-1.0 if signed else 1.0))
        store.sync()
        with (store.path / "A" / chunk_name(0)).open("r+b") as file:
            file.seek(8 * 7)
            file.write(struct.pack("<d", 8.0 if signed else -8.0))
        ((*_, faults),) = store.verify()
        point = "point 7 is np.float64(-8.0), which is no price"
        assert any(point in fault for fault in faults) == (not signed)
        assert any("are not those that were appended" in fault for fault in faults) == signed


def test_what_needs_a_logarithm_or_a_ratio_is_undefined(open_store: OpenStore) -> None:
    """Where a price is negative, with groups and without; the rest is what it is of any numbers."""
    store = open_store(limits=replace(SIGNED, max_data_retention=9000, cleanup_keep_count=9000))
    prices = np.resize([3.0, 1.0, -2.0, 2.0], 4096)
    store.append("A", prices, times=np.arange(4096), sizes=np.resize([1, -1], 4096))
    for _ in range(2):
        found = store.statistics("A", STATISTICS)
        ratios = ("rv", "volatility", "drawdown", "runup", "return")
        assert [found[name] for name in ratios] == [None, None, None, None, pytest.approx(-1 / 3)]
        assert (found["path"], found["avg"], found["min"], found["vwap"]) == (1024 * 10 - 1, 1.0, -2.0, 1.0)
        assert store.statistics("A", ("return",), start=0, end=3) == {"return": None}
        assert store.statistics("A", ("return",), start=2, end=4) == {"return": None}
        assert store.statistics("A", ("drawdown", "rv"), start=0, end=2)["drawdown"] == pytest.approx(-2 / 3)
        store.summarise("A")


def test_barriers_ranks_quantiles_and_bars_have_signs(open_store: OpenStore) -> None:
    """A barrier below 0 is met, ranks and quantiles are those of a sort, bars by value add up absolute prices."""
    store = open_store(limits=SIGNED)
    prices = [2.0, -1.0, -3.0, 4.0, -3.0]
    store.append("A", prices, sizes=[1, -2, 3, 1, 1])
    series = store.series("A")
    passage = series.first(0, below=-2.5)
    assert passage is not None
    assert (passage.index, passage.value) == (2, -3.0)
    assert series.first(1, above=-1.5, below=-4.0) is not None
    assert series.rank(-1.0) == (2, 1, 2)
    assert series.quantile((0, 0.5, 1)) == (-3.0, -1.0, 4.0)
    assert series.statistics(("argmin", "argmax", "range")) == {"argmin": 2, "argmax": 3, "range": 7.0}
    assert series.value_bars(4.0)["end"].tolist() == [2, 3, 4, 5]
    assert series.buckets(0, 5, 1).min.tolist() == [-3.0]


def test_a_quantile_is_found_among_many_of_both_signs(open_store: OpenStore) -> None:
    """Where the search halves what lies between a negative and a positive number."""
    limits = Limits(negative_prices=True, starting_capacity=0)
    store = open_store(limits=limits, durability="process")
    rng = np.random.default_rng(7)
    prices = rng.choice([-1.0, 1.0], 100_000) * np.exp(rng.uniform(-300, 300, 100_000))
    store.append("A", prices)
    ordered = np.sort(prices)
    shares = (0.0, 0.01, 0.3, 0.4999, 0.5, 0.5001, 0.77, 1.0)
    expected = [float(ordered[max(int(np.ceil(share * 100_000 - 1e-9)) - 1, 0)]) for share in shares]
    assert list(store.quantile("A", shares)) == expected


def test_a_limit_that_is_no_truth_is_refused() -> None:
    """As every other one."""
    with pytest.raises(ValueError, match="negative_prices must be True or False, not 1"):
        Limits(negative_prices=1)  # type: ignore[arg-type]
