"""What the tests of imports share."""

from collections.abc import Iterator

import pytest

from hft_mmap import Store
from hft_mmap.transfer import arrays, lines, tables
from tests.hft_mmap.transfer.files import LIMITS, scratch


@pytest.fixture
def store() -> Iterator[Store]:
    """Yield a new store with room for many symbols."""
    with scratch() as directory, Store(f"{directory}/data", limits=LIMITS, durability="process") as store:
        yield store


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have readers cut what they read into pieces of a few rows, so that small files have many."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", 40)
    monkeypatch.setattr(tables, "BATCH_ROWS", 4)
    monkeypatch.setattr(arrays, "BATCH_ROWS", 4)
