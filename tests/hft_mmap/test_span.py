"""A span: points as they stood at one moment, read piece by piece."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import InvalidWindow, Limits, OutOfRange, Store, SymbolNotFound

LIMITS = Limits(max_data_retention=1000, cleanup_keep_count=100, starting_capacity=0, chunk_points=64)


def test_pieces_are_the_points_in_order(tmp_path: Path) -> None:
    """Cut where a piece is full and where a chunk ends; read-only, without a copy."""
    with Store(tmp_path, limits=LIMITS) as store:
        store.append("A", np.arange(200.0))
        span = store.span("A", first=10, end=190)
        pieces = list(span.pieces(50))
        assert [len(piece) for piece in pieces] == [50, 4, 50, 14, 50, 12]
        assert [end - begin for begin, end in span.cuts(50)] == [50, 4, 50, 14, 50, 12]
        assert np.array_equal(np.concatenate(pieces), np.arange(10.0, 190.0))
        assert not any(piece.flags.writeable or piece.flags.owndata for piece in pieces)
        assert (len(span), span.first, span.end, span.start, span.total) == (180, 10, 190, 0, 200)


def test_last_and_end_are_cut_to_what_there_is(tmp_path: Path) -> None:
    """Asking for more than there is gives all there is; a span may be empty."""
    with Store(tmp_path, limits=LIMITS) as store:
        store.append("A", np.arange(10.0))
        bounds = {
            (span.first, span.end) for span in (store.span("A"), store.span("A", last=99), store.span("A", end=99))
        }
        assert bounds == {(0, 10)}
        assert len(store.span("A", first=10)) == 0
        assert list(store.span("A", first=4, end=4).pieces()) == []


def test_a_span_outlives_cleanup_and_store(tmp_path: Path) -> None:
    """It gives the points that it was taken of, though their files are gone."""
    with Store(tmp_path, limits=LIMITS) as store:
        store.append("A", np.arange(1000.0))
        span = store.span("A")
        store.append("A", np.ones(500))
        store.sync()
        assert store.series("A").start == 900
        with pytest.raises(OutOfRange, match="no longer kept") as error:
            store.span("A", first=899)
        assert (error.value.start, error.value.total) == (900, 1500)
    assert np.array_equal(np.concatenate(list(span.pieces())), np.arange(1000.0))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """Indexes beyond the bounds, an end before its beginning, no window, no symbol."""
    with Store(tmp_path, limits=LIMITS) as store:
        store.append("A", np.arange(10.0))
        for first in (-1, 11):
            with pytest.raises(OutOfRange, match="do not exist"):
                store.span("A", first=first)
        with pytest.raises(ValueError, match="end 3 lies before first 5"):
            store.span("A", first=5, end=3)
        with pytest.raises(ValueError, match="not both"):
            store.span("A", last=5, end=3)
        with pytest.raises(InvalidWindow):
            store.span("A", last=0)
        with pytest.raises(SymbolNotFound):
            store.span("B")
