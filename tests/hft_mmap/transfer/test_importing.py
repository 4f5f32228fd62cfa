"""Importing: what is in a file is in the series, bit for bit, once, and a bad row is named."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hft_mmap import InvalidSymbol, Limits, Store, SymbolLimitReached
from hft_mmap.transfer import (
    BadRow,
    ImportConflict,
    Plan,
    Progress,
    StoreSink,
    UnreadableFile,
    arrays,
    import_files,
    lines,
    tables,
)
from tests.hft_mmap.transfer.files import (
    LIMITS,
    PRICES,
    WRITERS,
    bits,
    bring,
    rows_as_csv,
    scratch,
    text_file,
    write_csv,
    write_f64,
)

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", WRITERS)
@few
@given(values=st.lists(PRICES, min_size=1, max_size=30))
def test_what_is_in_a_file_is_in_the_series_bit_for_bit(name: str, values: list[float]) -> None:
    """In order, however the file is cut into pieces; and the nodes above it are right."""
    with scratch() as directory, Store(f"{directory}/data", limits=LIMITS) as store:
        path = Path(directory, name)
        WRITERS[name](path, values)
        report = bring(store, path)
        assert (report.complete, report.totals) == (True, {"A": len(values)})
        assert (report.progress.rows, report.progress.stored) == (len(values), len(values))
        assert bits(store.window("A", 100)) == bits(values)
        assert not store.verify()[0].faults


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_rows_stores_nothing(store: Store, tmp_path: Path, name: str) -> None:
    """It is no fault, and makes no series."""
    WRITERS[name](tmp_path / name, [])
    report = bring(store, tmp_path / name)
    assert (report.complete, report.progress.rows, store.symbols()) == (True, 0, [])


def test_several_files_follow_each_other(store: Store, tmp_path: Path) -> None:
    """In the order in which they are named, whatever their formats, behind what the series has."""
    store.append("A", [0.5])
    write_f64(tmp_path / "b.f64", [3.0])
    write_csv(tmp_path / "a.csv", [1.0, 2.0])
    report = bring(store, tmp_path / "b.f64", tmp_path / "a.csv")
    assert report.totals == {"A": 4}
    assert store.window("A", 10).tolist() == [0.5, 3.0, 1.0, 2.0]


@pytest.mark.usefixtures("small_pieces")
@given(rows=st.lists(st.tuples(st.sampled_from(["A", "日本/円", "C d", "B,2", 'q"']), PRICES), max_size=60))
@few
def test_a_file_with_a_symbol_column_fans_out(rows: list[tuple[str, float]]) -> None:
    """Each row goes to the series that it names, in the order of the file."""
    with scratch() as directory, Store(f"{directory}/data", limits=LIMITS) as store:
        path = text_file(Path(directory, "a.csv"), rows_as_csv([("price", "ticker"), *((p, s) for s, p in rows)]))
        report = bring(store, path, symbol=None, symbol_column="ticker")
        symbols = {symbol for symbol, _ in rows}
        assert report.totals.keys() == symbols
        for symbol in symbols:
            assert bits(store.window(symbol, 100)) == bits([price for name, price in rows if name == symbol])


def test_only_the_rows_of_one_symbol_are_taken(store: Store, tmp_path: Path) -> None:
    """A bad row of another symbol is nobody's business."""
    path = text_file(tmp_path / "a.csv", "ticker,price\nX,1\nY,bad\nX,2\nY,3\n")
    report = bring(store, path, symbol="X", symbol_column="ticker")
    assert store.window("X", 10).tolist() == [1.0, 2.0]
    assert (report.progress.rows, report.progress.others, report.totals) == (4, 2, {"X": 2})


@pytest.mark.usefixtures("small_pieces")
def test_a_bad_row_stops_the_import_in_front_of_its_batch(store: Store, tmp_path: Path) -> None:
    """What precedes stays, in whole batches; the error has file, row and value."""
    path = text_file(tmp_path / "a.csv", "price\n" + "1.5\n" * 50 + "-2.5\n" + "1.5\n" * 50)
    with pytest.raises(BadRow, match=r"a\.csv: row 51: -2\.5: a price must be finite, at least 0") as error:
        bring(store, path)
    assert (error.value.row, error.value.file) == (51, str(path))
    assert 0 < store.series("A").total <= 50


@pytest.mark.usefixtures("small_pieces")
def test_bad_rows_are_counted_and_skipped_when_that_is_asked_for(store: Store, tmp_path: Path) -> None:
    """The others are stored; the first bad one is told."""
    path = text_file(tmp_path / "a.csv", "price\n1\nx\n2\n-1\nnan\n3\n\n1e141\n4\n")
    report = bring(store, path, skip_bad=True)
    assert store.window("A", 10).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert (report.progress.rows, report.progress.skipped, report.progress.stored) == (8, 4, 4)
    assert report.progress.first_skipped == f"{path}: row 2: 'x' is no number"


def test_an_import_that_stopped_at_a_bad_row_goes_on_with_the_mended_file(store: Store, tmp_path: Path) -> None:
    """What was stored is compared, not stored again."""
    path = text_file(tmp_path / "a.csv", "price\n1\n2\n")
    second = text_file(tmp_path / "b.csv", "price\n3\nx\n")
    with pytest.raises(BadRow):
        bring(store, path, second)
    text_file(second, "price\n3\n4\n")
    with pytest.raises(ImportConflict, match="cut off: --resume goes on"):
        bring(store, path, second)
    report = bring(store, path, second, resume=True)
    assert store.window("A", 10).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert (report.progress.found, report.progress.stored) == (2, 2)


def stop_after(pieces: int) -> tuple[Callable[[], bool], Callable[[Progress], None]]:
    """Return the functions that stop an import after so many pieces."""
    told = 0

    def tell(_progress: Progress) -> None:
        nonlocal told
        told += 1

    return (lambda: told >= pieces), tell


@pytest.mark.parametrize("name", WRITERS)
@given(
    values=st.lists(PRICES, min_size=1, max_size=40), before=st.integers(0, 5),
    pieces=st.lists(st.integers(0, 3), max_size=3), sizes=st.lists(st.sampled_from([1, 3, 16]), min_size=4, max_size=4),
)  # fmt: skip
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stopped_import_goes_on_where_it_was(
    name: str, values: list[float], before: int, pieces: list[int], sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped again and again, its batches cut differently each time: each point is there once."""
    with scratch() as directory, Store(f"{directory}/data", limits=LIMITS) as store:
        path = Path(directory, name)
        WRITERS[name](path, values)
        old = [7.0] * before
        if old:
            store.append("A", old)
        for count, size in zip([*pieces, None], sizes, strict=False):
            monkeypatch.setattr(lines, "BLOCK_BYTES", 20 * size)
            monkeypatch.setattr(tables, "BATCH_ROWS", size)
            monkeypatch.setattr(arrays, "BATCH_ROWS", size)
            plan = Plan([str(path)], "A")
            if count is not None:
                stop, tell = stop_after(count)
                import_files(plan, StoreSink(store), resume=True, stop=stop, tell=tell)
            else:
                assert import_files(plan, StoreSink(store), resume=True).complete
        assert bits(store.window("A", 100)) == bits(old + values)


def test_a_finished_import_is_not_repeated_by_resume(store: Store, tmp_path: Path) -> None:
    """A loop that resumes until it succeeds may run once more than needed. Without --resume it is a new import."""
    write_f64(tmp_path / "a.f64", [1.0, 2.0])
    bring(store, tmp_path / "a.f64", resume=True)
    report = bring(store, tmp_path / "a.f64", resume=True)
    assert (report.complete, report.already, report.totals, report.progress.rows) == (True, True, {"A": 2}, 0)
    assert bring(store, tmp_path / "a.f64").totals == {"A": 4}


def test_a_file_that_changed_since_its_import_is_not_taken_for_it(store: Store, tmp_path: Path) -> None:
    """By its size or its time; the points in it are new ones, and --resume would drop them without a word."""
    path = tmp_path / "a.f64"
    write_f64(path, [1.0, 2.0])
    bring(store, path)
    write_f64(path, [1.0, 2.0, 3.0])
    with pytest.raises(ImportConflict, match=r"a\.f64 is still what was imported: it has changed since"):
        bring(store, path, resume=True)
    write_f64(path, [5.0, 6.0])
    os.utime(path, ns=(0, 0))
    with pytest.raises(ImportConflict, match="it has changed since"):
        bring(store, path, resume=True)
    assert bits(store.window("A", 10)) == bits([1.0, 2.0])
    assert bring(store, path).totals == {"A": 4}


def test_points_of_others_in_between_are_a_conflict(store: Store, tmp_path: Path) -> None:
    """Nobody knows then which points are whose; nothing is appended."""
    path = text_file(tmp_path / "a.csv", "price\n1\n2\nx\n")
    good = tmp_path / "first.f64"
    write_f64(good, [1.0, 2.0])
    with pytest.raises(BadRow):
        bring(store, good, path)
    store.append("A", [9.0])
    text_file(path, "price\n3\n4\n")
    with pytest.raises(ImportConflict, match="something else was appended"):
        bring(store, good, path, resume=True)
    assert store.window("A", 10).tolist() == [1.0, 2.0, 9.0]


def test_points_that_a_cleanup_took_are_passed_over(tmp_path: Path) -> None:
    """An import larger than the retention, cut off: what is kept is compared, what is missing appended."""
    values = np.arange(1.0, 1001.0)
    first, second = tmp_path / "a.f64", tmp_path / "b.csv"
    write_f64(first, values[:700].tolist())
    text_file(second, "price\nx\n")
    limits = Limits(max_data_retention=400, cleanup_keep_count=200, starting_capacity=0, chunk_points=64)
    plan = Plan([str(first), str(second)], "A")
    with Store(tmp_path / "data", limits=limits) as store:
        store.append("A", values[:300] * 0.5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arrays, "BATCH_ROWS", 100)
            with pytest.raises(BadRow):
                import_files(plan, StoreSink(store))
            assert store.series("A").start > 300
            write_csv(second, values[700:].tolist())
            patch.setattr(arrays, "BATCH_ROWS", 170)
            report = import_files(plan, StoreSink(store), resume=True)
        assert report.totals == {"A": 1300}
        kept = store.window("A", 400)
        assert bits(kept) == bits(values[-len(kept) :])


def test_a_series_that_lost_points_below_the_start_of_the_import_is_a_conflict(store: Store, tmp_path: Path) -> None:
    """Removed, or rolled back: what follows would belong elsewhere."""
    path = text_file(tmp_path / "a.csv", "price\nx\n")
    good = tmp_path / "a.f64"
    write_f64(good, [1.0])
    store.append("A", [5.0, 6.0])
    with pytest.raises(BadRow):
        bring(store, good, path)
    text_file(path, "price\n2\n")
    with Store(tmp_path / "other", limits=LIMITS) as other:
        other.append("A", [5.0])

        class Moved(StoreSink):
            """Another store that calls itself the first one."""

            def __init__(self) -> None:
                super().__init__(other)
                first = StoreSink(store)
                self.name, self.journals = first.name, first.journals

        with pytest.raises(ImportConflict, match="has 1 points, but had 2 when the import began"):
            import_files(Plan([str(good), str(path)], "A"), Moved(), resume=True)


def test_two_imports_of_the_same_files_at_once_are_refused(store: Store, tmp_path: Path) -> None:
    """The second one says so."""
    write_f64(tmp_path / "a.f64", [1.0])

    def again(_progress: Progress) -> None:
        with pytest.raises(ImportConflict, match="another process is importing"):
            bring(store, tmp_path / "a.f64", resume=True)

    import_files(Plan([str(tmp_path / "a.f64")], "A"), StoreSink(store), tell=again)
    assert store.series("A").total == 1


def test_a_dry_run_reads_and_checks_everything_and_stores_nothing(tmp_path: Path) -> None:
    """It needs no store."""
    path = text_file(tmp_path / "a.csv", "ticker,price\nX,1\nY,2\nX,3\n")
    report = import_files(Plan([str(path)], None, symbol_column="ticker"), None)
    assert (report.totals, report.progress.stored) == ({"X": 2, "Y": 1}, 3)
    text_file(path, "ticker,price\nX,1\nY,bad\n")
    with pytest.raises(BadRow, match="row 2"):
        import_files(Plan([str(path)], None, symbol_column="ticker"), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("missing", ["no.csv", "no.parquet", "no.npy"])
def test_every_file_is_looked_at_before_anything_is_stored(store: Store, tmp_path: Path, missing: str) -> None:
    """A typing error in the last name costs nothing."""
    write_f64(tmp_path / "a.f64", [1.0])
    with pytest.raises(UnreadableFile, match=f"{missing}: No such file"):
        bring(store, tmp_path / "a.f64", tmp_path / missing)
    with pytest.raises(UnreadableFile, match="the name tells no format"):
        bring(store, tmp_path / "a.f64", tmp_path / "a.doc")
    assert store.symbols() == []


def test_a_symbol_that_is_none_is_refused_before_anything_is_read(store: Store, tmp_path: Path) -> None:
    """As everywhere; in a column it makes the row a bad one."""
    with pytest.raises(InvalidSymbol):
        bring(store, tmp_path / "missing.csv", symbol="")
    path = text_file(tmp_path / "a.csv", "ticker,price\nX,1\n,2\n")
    with pytest.raises(BadRow, match="row 2: symbol is empty"):
        bring(store, path, symbol=None, symbol_column="ticker")
    assert bring(store, path, symbol=None, symbol_column="ticker", skip_bad=True, resume=True).totals == {"X": 1}


def test_the_limit_of_symbols_holds(tmp_path: Path) -> None:
    """The error is the store's own."""
    path = text_file(tmp_path / "a.csv", "ticker,price\nX,1\nY,2\nZ,3\n")
    limits = Limits(max_symbols=2, starting_capacity=0, chunk_points=64)
    with Store(tmp_path / "data", limits=limits) as store, pytest.raises(SymbolLimitReached):
        bring(store, path, symbol=None, symbol_column="ticker")


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", WRITERS)
def test_no_thread_outlives_an_import_that_was_stopped(store: Store, tmp_path: Path, name: str) -> None:
    """By a bad row in front of many others: a thread that is inside of Arrow while Python ends aborts the process."""
    WRITERS[name](tmp_path / name, [1.0, -1.0, *[1.0] * 2000])
    with pytest.raises(BadRow):
        bring(store, tmp_path / name)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("hft-mmap-read")] == []


def test_no_thread_outlives_an_import_that_waits_for_a_pipe(store: Store, tmp_path: Path) -> None:
    """It is stopped while the other end of the pipe says nothing more."""
    os.mkfifo(tmp_path / "pipe")
    fd = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        os.write(fd, b"price\n1.5\n")
        plan = Plan([str(tmp_path / "pipe")], "A", format="csv")
        told = threading.Event()
        report = import_files(plan, StoreSink(store), stop=told.is_set, tell=lambda _: told.set())
    finally:
        os.close(fd)
    assert not report.complete
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("hft-mmap-read")] == []
