"""The disk space of a series is taken when its symbol is created, and kept."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Limits, Store
from hft_mmap.files.chunk import BASE_OFFSET
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import flip

POINTS = 100_000


def test_the_starting_capacity_stays_allocated_when_the_first_batch_comes(tmp_path: Path) -> None:
    """The first append does not give back what the creation of the symbol has allocated."""
    with Store(tmp_path, limits=Limits(starting_capacity=POINTS)) as store:
        store.append("ABC-USD", [150.1])
        assert store.symbols()[0].bytes >= 8 * POINTS


def test_the_chunk_that_was_made_with_a_symbol_takes_its_first_batch(tmp_path: Path) -> None:
    """A file that was made and synced for it is not made a second time."""
    with Store(tmp_path, limits=Limits(starting_capacity=POINTS)) as store:
        store.create("A")
        made = (tmp_path / "A" / chunk_name(0)).stat().st_ino
        store.append("A", [150.1])
        assert (tmp_path / "A" / chunk_name(0)).stat().st_ino == made
        assert store.verify("A")[0].faults == ()


def test_without_a_capacity_the_first_batch_alone_takes_space(tmp_path: Path) -> None:
    """A symbol that was made without a batch has no chunk; one that was made by a batch has space for it."""
    with Store(tmp_path, limits=Limits(starting_capacity=0)) as store:
        store.create("A")
        store.append("B", np.ones(10_000))
        assert not (tmp_path / "A" / chunk_name(0)).exists()
        assert 80_000 <= (tmp_path / "B" / chunk_name(0)).stat().st_blocks * 512 <= 120_000


def test_another_process_may_bring_the_first_batch(tmp_path: Path, open_store: OpenStore) -> None:
    """The one that has made the symbol goes on behind it."""
    limits = Limits(starting_capacity=64, chunk_points=64)
    store, other = open_store(tmp_path / "data", limits=limits), open_store(tmp_path / "data", limits=limits)
    store.create("A")
    assert other.append("A", np.arange(50.0)) == 50
    assert store.append("A", np.arange(50.0, 100.0)) == 100
    assert np.array_equal(other.window("A", 100), np.arange(100.0))
    assert store.verify("A")[0].faults == ()


@pytest.mark.parametrize("place", [0, BASE_OFFSET])
def test_a_first_chunk_that_is_not_as_it_was_made_is_made_anew(tmp_path: Path, place: int) -> None:
    """Its identity, or what it says of the points before it: nothing is in it yet that could be lost."""
    with Store(tmp_path, limits=Limits(starting_capacity=64, chunk_points=64)) as store:
        store.create("A")
        flip(tmp_path / "A" / chunk_name(0), Layout.of(64).footer + place)
        assert store.append("A", np.arange(50.0)) == 50
        assert store.verify("A")[0].faults == ()
