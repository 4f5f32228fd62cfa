"""What the tests of the store share: small limits, and stores that are closed when the test ends."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from hft_mmap import Limits, Store
from hft_mmap.testing import MEMORY, SMALL_LIMITS, StoreProcess

# Tests make no claim about time, and the first call into a kernel may load it from the disk.
settings.register_profile("hft_mmap", deadline=None)
settings.load_profile("hft_mmap")


class OpenStore(Protocol):
    """What the fixture `open_store` gives to a test."""

    def __call__(self, path: Path | None = None, **options: Any) -> Store:
        """Open a store at `path` (the test's own directory by default) with small limits, closed after the test."""


class StartStore(Protocol):
    """What the fixture `start_store` gives to a test."""

    def __call__(self, path: Path | None = None, **options: Any) -> StoreProcess:
        """Open a store in a process of its own, which is killed after the test if it still runs."""


@pytest.fixture
def limits() -> Limits:
    """Return limits at which a few hundred points fill several chunks and trigger cleanup."""
    return SMALL_LIMITS


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """Yield a directory in memory, for tests that would wait for the disk most of their time and ask nothing of it."""
    with tempfile.TemporaryDirectory(prefix="hft-mmap-", dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Return a function that opens stores in this process."""
    with ExitStack() as stack:

        def open_(path: Path | None = None, **options: Any) -> Store:
            if options.get("mode") != "r":
                options = {"limits": SMALL_LIMITS} | options
            return stack.enter_context(Store(path or tmp_path / "data", **options))

        yield open_


@pytest.fixture
def start_store(tmp_path: Path) -> Iterator[StartStore]:
    """Return a function that opens stores in processes of their own."""
    with ExitStack() as stack:

        def start(path: Path | None = None, **options: Any) -> StoreProcess:
            process = StoreProcess(path or tmp_path / "data", **{"limits": SMALL_LIMITS} | options)
            stack.callback(process.kill)
            return process

        yield start
