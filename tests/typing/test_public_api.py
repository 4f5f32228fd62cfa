"""The files that mypy checks do what they say when they run."""

import asyncio
from pathlib import Path

import numpy as np

from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import assert_close
from tests.service import Service
from tests.typing.client_api import use_a_client, use_an_async_client, use_the_import
from tests.typing.public_api import read_only, use_a_store


def test_the_typed_use_works(tmp_path: Path) -> None:
    """What type-checks also runs, and gives the right statistics."""
    points = [1, 2.5, 1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 2.0]
    assert_close(use_a_store(tmp_path), exact_window_stats([float(x) for x in points], 10))
    read_only(tmp_path)


def test_the_typed_use_of_the_clients_works(shared_service: Service) -> None:
    """Two points, two by a producer; one, and one by a producer."""
    assert use_a_client(shared_service.url) == 4
    assert asyncio.run(use_an_async_client(shared_service.url)) == 6


def test_the_typed_use_of_the_import_works(tmp_path: Path) -> None:
    """What came in goes out."""
    assert use_the_import(tmp_path).totals == {"T": 2}
    assert np.load(tmp_path / "prices.npy").tolist() == [1.5, 2.5]
