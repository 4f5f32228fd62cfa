"""What the torture tests share: one process that forks children, and the counts of a test."""

import pytest

from tests.torture.counts import Counts
from tests.torture.nursery import Nursery, shared_nursery


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    """Return the process that forks children; it imports everything once."""
    return shared_nursery()


@pytest.fixture
def counts() -> Counts:
    """Return counts that stand at zero."""
    return Counts()
