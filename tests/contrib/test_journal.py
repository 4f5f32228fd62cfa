"""The journal of a program says which trade each point is, whatever was written of points that were never stored."""

from pathlib import Path

import pytest

from contrib import journal as module
from contrib.journal import Journal


def test_a_line_stands_where_numbers_skip(tmp_path: Path) -> None:
    """The points behind it have the next numbers; the total of the series says how far they are stored."""
    path = tmp_path / "journal"
    with Journal(path) as journal:
        assert journal.begin("A", 0) is None
        journal.note("A", 0, 10)
        journal.note("A", 5, 100)
        journal.note("B C", 0, 7)
        journal.write({})
    for total, last in ((3, 12), (5, 14), (6, 100), (8, 102)):
        path.write_text("0 10 A\n5 100 A\n0 7 B C\n", encoding="utf-8")
        with Journal(path) as journal:
            assert journal.begin("A", total) == last
            assert journal.begin("B C", 2) == 8
            assert journal.begin("NEW", 5) is None


def test_what_was_not_stored_is_forgotten(tmp_path: Path) -> None:
    """Also by whoever reads the file after the next kill."""
    path = tmp_path / "journal"
    path.write_text("0 10 A\n5 100 A\n9 200 A\n", encoding="utf-8")
    with Journal(path) as journal:
        assert journal.begin("A", 4) == 13
        journal.note("A", 4, 20)
        journal.write({})
    with Journal(path) as journal:
        assert journal.begin("A", 20) == 35


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    """What is no line for any other reason is an error."""
    path = tmp_path / "journal"
    path.write_text("0 10 A\n7 1", encoding="utf-8")
    with Journal(path) as journal:
        assert journal.begin("A", 9) == 18
    path.write_text("0 10 A\nx 1 A\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"journal:2: not INDEX NUMBER SYMBOL: 'x 1 A'"):
        Journal(path)


def test_one_program_at_a_time_has_it(tmp_path: Path) -> None:
    """The other one is told."""
    with Journal(tmp_path / "journal"), pytest.raises(ValueError, match="is used by another program"):
        Journal(tmp_path / "journal")
    with Journal(tmp_path / "journal"):
        pass


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies before points that were stored long ago is left out; the rest says the same as before."""
    monkeypatch.setattr(module, "_MOST_LINES", 10)
    path = tmp_path / "journal"
    with Journal(path) as journal:
        for k in range(100):
            journal.note("A", k, 2 * k)
            journal.reached("source", k)
            journal.write({"A": k})
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    with Journal(path) as journal:
        assert journal.position("source") == 99
        assert journal.begin("A", 95) == 2 * 94
