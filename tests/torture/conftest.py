"""What the torture tests share: one process that forks children, and the counts of a test."""

from collections.abc import Iterator

import pytest

from tests.torture.counts import Counts
from tests.torture.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Yield the process that forks children; it imports everything once."""
    with Nursery() as started:
        yield started


@pytest.fixture
def counts() -> Counts:
    """Return counts that stand at zero."""
    return Counts()
