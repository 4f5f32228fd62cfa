"""The compiled write path leaves to Python whatever is not plain, and does nothing else than Python would."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hft_mmap import Limits
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.series import Series
from hft_mmap.tree.words import FLAGS
from hft_mmap.tree.writer import NOT_SHORT, append_short
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import contents

LIMITS = Limits(max_data_retention=1000, cleanup_keep_count=500, starting_capacity=0, chunk_points=4096)


@pytest.fixture
def series(open_store: OpenStore) -> Series:
    """Return a series of ten points."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", np.arange(10.0))
    store.sync()
    return store.series("A")


def plan_of(series: Series) -> NDArray[np.int64]:
    """Return the plan of the series' last chunk."""
    assert series._plan is not None
    return series._plan


def test_a_plain_batch_is_taken(series: Series) -> None:
    """A batch that fits is stored, with its nodes, and the new total returned."""
    assert append_short(plan_of(series), np.arange(100.0), -1) == 110
    assert append_short(plan_of(series), np.arange(5.0), 110) == 115
    assert series.window(105).tolist() == [*np.arange(100.0), *np.arange(5.0)]
    assert series.stats(115).points == 115


@pytest.mark.parametrize(
    ("values", "offset"),
    [
        (np.empty(0), -1),
        (np.array([1.0, math.nan]), -1),
        (np.array([-1.0]), -1),
        (np.array([-0.0]), -1),
        (np.ones(991), -1),
        (np.ones(4087), -1),
        (np.ones(1), 0),
        (np.ones(1), 11),
    ],
    ids=["empty", "nan", "negative", "-0.0", "retention", "roll", "behind", "ahead"],
)
def test_what_is_not_plain_is_left_untouched(series: Series, values: NDArray[np.float64], offset: int) -> None:
    """Anything that is to be refused, changed, cleaned up or rolled changes no byte and keeps no lock."""
    before = contents(series.directory)
    assert append_short(plan_of(series), values, offset) == NOT_SHORT
    assert contents(series.directory) == before
    assert series.append_nowait([10.0]) == 11


def test_a_series_whose_sync_failed_is_left_untouched(series: Series) -> None:
    """A failed sync in any process ends short appends."""
    series._head.store(FLAGS, FLAG_SYNC_FAILED)
    assert append_short(plan_of(series), np.ones(1), -1) == NOT_SHORT
    series._head.store(FLAGS, 0)


def test_a_write_that_fails_publishes_nothing(series: Series, tmp_path: Path) -> None:
    """Where the system refuses the write, the total stays, and the lock is given back."""
    plan = plan_of(series).copy()
    plan[0] = read_only = os.open(tmp_path / "data" / "A" / "head", os.O_RDONLY)
    assert append_short(plan, np.ones(1), -1) == NOT_SHORT
    os.close(read_only)
    assert series.total == 10
    assert series.append_nowait([10.0]) == 11
