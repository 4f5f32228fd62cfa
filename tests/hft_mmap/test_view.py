"""Views: consecutive mapped chunks, one replaced by another, never changed."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap.files.chunk import Chunk
from hft_mmap.files.layout import Layout
from hft_mmap.files.view import View
from hft_mmap.stats import WindowStats, exact_window_stats
from hft_mmap.testing import assert_close
from hft_mmap.tree.fold import fold_window
from hft_mmap.tree.kernels import NODE_FIELDS

SERIES = bytes(16)
LAYOUT = Layout.of(64)
PRICES = np.random.default_rng(0).uniform(100, 200, 64 * 5)


@pytest.fixture
def view(tmp_path: Path) -> View:
    """Return a view of five full chunks."""
    view = View.empty(LAYOUT, 0)
    for first in range(0, 320, 64):
        Chunk.create(tmp_path, SERIES, first, LAYOUT)
        chunk = Chunk(tmp_path, SERIES, first, LAYOUT)
        chunk.write(0, PRICES[first : first + 64])
        view = view.extended(chunk)
    return view


def test_an_empty_view_ends_where_it_begins() -> None:
    """A view of no chunk covers nothing and reads nothing."""
    view = View.empty(LAYOUT, 128)
    assert (view.first, view.end, view.chunks) == (128, 128, ())
    assert view.read(128, 128).size == 0
    assert view.without_before(10_000) is view


def test_a_view_has_a_root_for_each_chunk_but_the_last(view: View) -> None:
    """Roots are those of chunks that can't change any more; the last one may still grow."""
    assert (view.first, view.end) == (0, 320)
    assert view.roots.size == 4 * NODE_FIELDS
    assert view.roots[-NODE_FIELDS:].tolist() == view.chunks[3].root().tolist()


@pytest.mark.parametrize(
    ("start", "first"),
    [(0, 0), (63, 0), (64, 64), (65, 64), (200, 192), (256, 256), (319, 256), (320, 256), (9999, 256)],
)
def test_a_cleanup_leaves_the_chunk_of_start_and_those_behind_it(view: View, start: int, first: int) -> None:
    """Chunks wholly below `start` go, one always remains, and the answers stay the same; the old view still works."""
    rest = view.without_before(start)
    assert (rest.first, rest.end) == (first, 320)
    assert rest.roots.size == (len(rest.chunks) - 1) * NODE_FIELDS
    assert fold_window(rest.table, rest.roots, first, 320) == fold_window(view.table, view.roots, first, 320)
    assert np.array_equal(view.read(0, 320), PRICES)


@pytest.mark.parametrize(("lo", "hi"), [(0, 320), (0, 1), (63, 65), (64, 128), (10, 300), (319, 320)])
def test_reading_gives_the_points_in_order(view: View, lo: int, hi: int) -> None:
    """Points come as they were written, across the borders of chunks too, and can't be written to."""
    points = view.read(lo, hi)
    assert np.array_equal(points, PRICES[lo:hi])
    assert not points.flags.writeable


def test_reading_inside_one_chunk_copies_nothing(view: View) -> None:
    """What lies in one chunk is a view of its mapping, which nobody can write to."""
    points = view.read(70, 120)
    assert np.shares_memory(points, view.chunks[1].values)
    with pytest.raises(ValueError, match="WRITEABLE"):
        points.flags.writeable = True


def test_a_view_answers_for_any_range(view: View) -> None:
    """The table of a view is what the fold kernel needs, before and after a cleanup."""
    for part in (view, view.without_before(130)):
        for lo in range(part.first, 320, 13):
            low, high, last, avg, var = fold_window(part.table, part.roots, lo, 320)
            stats = WindowStats(low, high, last, avg, var, 320 - lo)
            assert_close(stats, exact_window_stats(PRICES[lo:].tolist(), 320 - lo))
