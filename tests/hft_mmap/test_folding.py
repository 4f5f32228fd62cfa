"""One range is answered without arrays: to the bit as among many, alone, and among those of other series."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import STATISTICS, Columns, Store
from hft_mmap.files import proved
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.test_exact_answers import drawn_ranges
from tests.hft_mmap.test_trades import stored

MINUTE_NS = 60 * 10**9


def bits(value: float | None) -> bytes:
    """Return a statistic as its bits, the type of what is counted with it."""
    return b"" if value is None or math.isnan(value) else struct.pack("<d", value) + type(value).__name__.encode()


def row(columns: Columns, k: int) -> dict[str, bytes]:
    """Return the bits of row `k`."""
    return {name: bits(columns[name][k].item()) for name in STATISTICS}


@pytest.mark.parametrize("groups", [False, True], ids=["points", "groups"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_range_has_one_answer(groups: bool, data: st.DataObject) -> None:  # noqa: FBT001 - a parameter
    """Of every statistic, whatever prices, times and sizes are, and however many are asked for with it."""
    with pytest.MonkeyPatch.context() as patch, stored(data, 64) as (series, values, _, _, start):
        patch.setattr(proved, "FEW_POINTS", 1)
        patch.setattr(proved, "_LOOK_S", 0.0)
        if groups:
            with Store(series.directory.parent) as store:
                store.summarise("A")
        starts, ends = drawn_ranges(data, start, len(values), 3)
        many = series.stats_many(np.append(starts, starts), np.append(ends, ends), STATISTICS)
        with Store(series.directory.parent, mode="r") as store:
            for k, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
                alone = {
                    name: bits(value) for name, value in series.statistics(STATISTICS, start=begin, end=end).items()
                }
                assert row(many, k) == alone
                assert row(series.stats_many([begin], [end], STATISTICS), 0) == alone
                assert row(store.stats_across(("A",), STATISTICS, start=begin, end=end), 0) == alone


@settings(max_examples=40)
@given(data=st.data())
def test_a_window_by_time_has_the_points_that_came_within_it(data: st.DataObject) -> None:
    """As a search among all times finds them, ending now or then; `stats` has the same, in one call."""
    with stored(data, 64) as (series, _, times, _, start):
        lasting = data.draw(st.sampled_from([1, 7, 10**6, 10**9, MINUTE_NS, 10**16, 2**63 - 1, 2**63, 10**19]))
        kept = times[start:].tolist()
        begin = start + next(k for k, time in enumerate(kept) if time > kept[-1] - lasting)
        five = series.range(begin, len(times))
        assert series.stats(f"{lasting}ns") == five
        found = series.statistics(("min", "max", "last", "avg", "var", "count"), window=f"{lasting}ns")
        assert tuple(found.values()) == five
        at = data.draw(st.sampled_from(kept))
        end = start + sum(time <= at for time in kept)
        begin = start + next(k for k, time in enumerate(kept) if time > at - lasting)
        window = {"window": f"{lasting}ns", "at": f"{at}ns"}
        assert series.statistics(("first", "last", "count"), **window) == series.statistics(
            ("first", "last", "count"), start=begin, end=end
        )


def test_names_that_are_none_are_refused_each_time(open_store: OpenStore) -> None:
    """What was asked for before is remembered, what was refused is refused again; what can't be hashed is no name."""
    store = open_store()
    store.append("A", [1.0, 2.0])
    for _ in range(2):
        assert store.statistics("A", ["avg", "avg", "min"]) == {"avg": 1.5, "min": 1.0}
        for wrong in (["mean"], [["avg"]], [None], []):
            with pytest.raises(ValueError, match="statistic"):
                store.statistics("A", wrong)  # type: ignore[arg-type]
