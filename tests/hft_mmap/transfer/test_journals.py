"""Journals of imports: what is finished stays known, what never began leaves none, and nobody loses the one in use."""

import json
import os
from pathlib import Path

import pytest

from hft_mmap import Store
from hft_mmap.transfer import BadRow, ImportConflict
from hft_mmap.transfer.journal import FINISHED_KEPT, Journal
from tests.hft_mmap.transfer.files import bring, text_file, write_f64


def journals(store: Store) -> list[Path]:
    """Return the journals of a store."""
    return sorted((store.path / ".imports").glob("*.jsonl"))


def finished_before(store: Store, count: int) -> None:
    """Leave the journals of `count` imports that were finished in 1970."""
    line = json.dumps({"totals": {"A": 1}, "stamps": [[8, 0]]})
    first = text_file(store.path / ".imports" / "first.jsonl", f'\n{{"bases": {{"A": 0}}}}\n\n{line}\n')
    os.utime(first, (1, 1))
    for number in range(count - 1):
        os.link(first, first.with_name(f"{number}.jsonl"))


def test_many_files_imported_in_a_loop_are_stored_once_however_often_it_runs(store: Store, tmp_path: Path) -> None:
    """`for file in …; do hft-mmap import A $file --resume; done`, again after its last file failed."""
    paths = [tmp_path / f"{number}.f64" for number in range(120)]
    for number, path in enumerate(paths):
        write_f64(path, [float(number)])
        bring(store, path, resume=True)
    assert all(bring(store, path, resume=True).already for path in paths)
    assert store.series("A").total == len(paths)


def test_the_oldest_finished_journals_make_room_and_those_cut_off_never(store: Store, tmp_path: Path) -> None:
    """So the folder does not grow for ever, and each import that was cut off can go on."""
    cut_off = text_file(tmp_path / "cut.csv", "price\n1\nx\n")
    write_f64(tmp_path / "first.f64", [1.0])
    with pytest.raises(BadRow):
        bring(store, tmp_path / "first.f64", cut_off)
    (kept,) = journals(store)
    finished_before(store, FINISHED_KEPT)
    write_f64(tmp_path / "a.f64", [2.0])
    bring(store, tmp_path / "a.f64")
    left = journals(store)
    assert (len(left), kept in left) == (FINISHED_KEPT, True)
    assert bring(store, tmp_path / "a.f64", resume=True).already
    with pytest.raises(ImportConflict, match="was cut off"):
        bring(store, tmp_path / "first.f64", cut_off)


def test_an_import_that_stored_nothing_leaves_no_journal(store: Store, tmp_path: Path) -> None:
    """Refused before its first point, it has nothing to go on with."""
    path = text_file(tmp_path / "a.csv", "price\nx\n2\n")
    with pytest.raises(BadRow):
        bring(store, path)
    assert journals(store) == []
    path.write_text("price\n1\n2\n")
    assert bring(store, path).totals == {"A": 2}


def test_a_journal_that_is_removed_while_it_is_opened_is_made_anew(tmp_path: Path) -> None:
    """Whoever has the lock of a file without a name would note in it what no later run finds."""
    first = Journal(tmp_path, {"files": ["a"]})
    second = Journal(tmp_path, {"files": ["b"]})
    first.close()  # it never began: removed
    with Journal(tmp_path, {"files": ["a"]}) as again:
        again.begin()
        again.note({"A": 5})
    second.close()
    with Journal(tmp_path, {"files": ["a"]}) as found:
        assert found.bases == {"A": 5}


def test_no_import_removes_the_journal_of_one_that_runs(store: Store, tmp_path: Path) -> None:
    """One of a finished import that is run again at this moment is in use, however old it is."""
    write_f64(tmp_path / "a.f64", [1.0])
    write_f64(tmp_path / "b.f64", [2.0])
    bring(store, tmp_path / "a.f64")
    (path,) = journals(store)
    finished_before(store, FINISHED_KEPT)
    identity = json.loads(path.read_text().splitlines()[1])["import"]
    os.utime(path, (0, 0))
    with Journal(store.path / ".imports", identity) as running:
        bring(store, tmp_path / "b.f64")
        assert (running.path, path.exists()) == (path, True)
        assert len(journals(store)) == FINISHED_KEPT
