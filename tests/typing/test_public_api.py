"""The file that mypy checks does what it says when it runs."""

from pathlib import Path

from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import assert_close
from tests.typing.public_api import read_only, use_a_store


def test_the_typed_use_works(tmp_path: Path) -> None:
    """What type-checks also runs, and gives the right statistics."""
    points = [1, 2.5, 1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 2.0]
    assert_close(use_a_store(tmp_path), exact_window_stats([float(x) for x in points], 10))
    read_only(tmp_path)
