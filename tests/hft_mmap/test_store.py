"""A directory of series through the public door: symbols, limits, opening, health, life cycle."""

import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from hft_mmap import (
    Durability,
    InvalidSymbol,
    Limits,
    SeriesInfo,
    Store,
    StoreClosed,
    StoreUnusable,
    SymbolLimitReached,
    SymbolNotFound,
    WriteFailed,
)
from hft_mmap.files.names import directory_name
from hft_mmap.testing import SMALL_LIMITS
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import contents
from tests.hft_mmap.descriptors import open_files
from tests.hft_mmap.test_series import run_together
from tests.hft_mmap.test_symbols import SYMBOLS

TEN_PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]


def test_the_ten_prices_of_the_readme(open_store: OpenStore) -> None:
    """The published example: min 149.8, max 152.0, last 151.9, avg 150.93, var 0.5201."""
    store = open_store()
    assert store.append("ABC-USD", TEN_PRICES) == 10
    stats = store.stats("ABC-USD", 10)
    assert stats[:3] == (149.8, 152.0, 151.9)
    assert stats.avg == pytest.approx(150.93, rel=1e-12)
    assert stats.var == pytest.approx(0.5201, rel=1e-12)
    assert stats.points == 10


# -- symbols ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(symbol=SYMBOLS)
def test_any_symbol_is_found_again_after_a_restart(symbol: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A symbol keeps its points under its very name, whatever characters it has."""
    path = tmp_path_factory.mktemp("data")
    with Store(path, limits=SMALL_LIMITS, durability="process") as store:
        store.append(symbol, [1.0, 2.0])
    with Store(path, limits=SMALL_LIMITS, durability="process") as store:
        assert [info.symbol for info in store.symbols()] == [symbol]
        assert store.window(symbol, 2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("symbol", [".", "..", "../x", "/etc/passwd", ".lock", "EUR/USD", "日本円-USD", "a b", "%2E"])
def test_a_symbol_stays_inside_the_data_directory(tmp_path: Path, open_store: OpenStore, symbol: str) -> None:
    """Names that mean something to a file system are symbols like any other."""
    store = open_store()
    store.append(symbol, [1.0])
    assert sorted(os.listdir(tmp_path)) == ["data"]
    assert sorted(os.listdir(tmp_path / "data")) == sorted([".lock", directory_name(symbol)])
    assert store.stats(symbol, 1).last == 1.0


def test_an_unknown_symbol_is_not_found(open_store: OpenStore) -> None:
    """Every way to ask for it says exactly "Symbol not found: XYZ"."""
    store = open_store()
    for ask in (
        lambda: store.stats("XYZ", 10),
        lambda: store.windows("XYZ"),
        lambda: store.window("XYZ", 10),
        lambda: store.series("XYZ"),
        lambda: store.verify("XYZ"),
        lambda: store.on_durable("XYZ", 1, print),
    ):
        with pytest.raises(SymbolNotFound) as error:
            ask()
        assert str(error.value) == "Symbol not found: XYZ"


def test_what_is_no_symbol_is_refused_everywhere(open_store: OpenStore) -> None:
    """Asking for it and appending to it give InvalidSymbol, and nothing is made."""
    store = open_store()
    for symbol in ("", "x" * 65, "a\0b", "\ud800"):
        for ask in (lambda bad: store.append(bad, [1.0]), lambda bad: store.stats(bad, 1), store.series, store.verify):
            with pytest.raises(InvalidSymbol):
                ask(symbol)
    assert os.listdir(store.path) == [".lock"]


def test_symbols_tell_what_is_stored(open_store: OpenStore) -> None:
    """symbols() comes in the order of the names, with bounds, newest point and bytes on the disk."""
    store = open_store()
    store.append("B", [1.0, 2.0])
    store.append("A", np.arange(1000.0))
    store.append("A", [1000.0])
    a, b = store.symbols()
    assert a == SeriesInfo("A", 1001, 400, 601, 1000.0, a.bytes, a.appended_at)
    assert b == SeriesInfo("B", 2, 0, 2, 2.0, b.bytes, b.appended_at)
    files = list((store.path / "A").iterdir())
    assert a.bytes <= sum(file.stat().st_size for file in files)


# -- the symbol limit -------------------------------------------------------------------------------------------------


def test_one_symbol_too_many_is_refused(open_store: OpenStore) -> None:
    """At the limit a new symbol is refused with the numbers, the others go on, and nothing is left of it."""
    store = open_store()
    for symbol in "ABC":
        store.append(symbol, [1.0])
    with pytest.raises(SymbolLimitReached, match="holds 3 of at most 3 symbols, D was not added"):
        store.append("D", [1.0])
    assert store.append("A", [2.0]) == 2
    assert sorted(os.listdir(store.path)) == [".lock", "A", "B", "C"]


def test_a_lower_limit_keeps_what_exists(open_store: OpenStore) -> None:
    """Symbols above a limit that was lowered are served; only new ones are refused."""
    with open_store() as store:
        for symbol in "ABC":
            store.append(symbol, [1.0])
    store = open_store(limits=Limits(max_symbols=1, starting_capacity=0))
    assert [store.append(symbol, [2.0]) for symbol in "ABC"] == [2, 2, 2]
    with pytest.raises(SymbolLimitReached):
        store.append("D", [1.0])


def test_the_symbol_limit_holds_under_a_race(open_store: OpenStore) -> None:
    """Of 30 threads in two stores of one directory that each bring a symbol, as many get in as there are places."""
    stores = [open_store(), open_store()]
    outcomes: list[int | None] = []
    barrier = threading.Barrier(30)

    def bring(i: int) -> None:
        barrier.wait()
        try:
            outcomes.append(stores[i % 2].append(f"S{i}", [1.0]))
        except SymbolLimitReached:
            outcomes.append(None)

    run_together(*(lambda i=i: bring(i) for i in range(30)))
    assert sorted(outcomes, key=str) == [1] * 3 + [None] * 27
    assert len(stores[0].symbols()) == 3


def test_the_last_symbol_that_has_a_place_may_be_made_by_several_threads(open_store: OpenStore, tmp_path: Path) -> None:
    """Those that come second find it made, and no limit reached."""
    for number in range(30):
        with open_store(tmp_path / str(number), limits=Limits(max_symbols=1, starting_capacity=0)) as store:
            run_together(*[partial(store.append, "A", [1.0])] * 8)
            assert len(store.window("A", 100)) == 8


def test_a_symbol_made_by_several_threads_is_made_once(open_store: OpenStore) -> None:
    """Threads that bring the same new symbol append one after the other to one series."""
    events: list[str] = []
    stores = [open_store(on_event=lambda name, _: events.append(name)) for _ in range(2)]
    barrier = threading.Barrier(10)

    def bring(i: int) -> None:
        barrier.wait()
        stores[i % 2].append("A", [float(i)] * 10)

    run_together(*(lambda i=i: bring(i) for i in range(10)))
    assert events.count("series_created") == 1
    points = stores[0].window("A", 1000)
    assert sorted(points[::10].tolist()) == [float(i) for i in range(10)]
    assert np.array_equal(np.repeat(points[::10], 10), points)


# -- opening ----------------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_made(tmp_path: Path, open_store: OpenStore) -> None:
    """A store for appending makes its directory, with everything above it."""
    open_store(tmp_path / "a" / "b").append("A", [1.0])
    assert (tmp_path / "a" / "b" / "A").is_dir()


def test_a_store_cannot_be_read_where_there_is_none(tmp_path: Path) -> None:
    """Mode "r" makes nothing."""
    with pytest.raises(StoreUnusable, match="can't be used: No such file or directory"):
        Store(tmp_path / "missing", mode="r")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """A path that can't be a directory is refused with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="file can't be used"):
        Store(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mode": "w"}, 'mode must be "a" or "r", not \'w\''),
        ({"durability": "never"}, "'never' is not a valid Durability"),
        ({"sync_interval_ms": 0}, "sync_interval_ms must be from 1 to 60000, not 0"),
        ({"sync_interval_ms": 60_001}, "sync_interval_ms must be from 1 to 60000, not 60001"),
        ({"sync_interval_ms": True}, "sync_interval_ms must be from 1 to 60000, not True"),
    ],
)
def test_a_bad_option_is_refused_by_name(tmp_path: Path, options: dict[str, object], reason: str) -> None:
    """ValueError says the option, the value and what is allowed, before anything is made."""
    with pytest.raises(ValueError, match=reason):
        Store(tmp_path / "data", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()


def test_the_same_directory_may_be_open_twice_in_a_process(open_store: OpenStore) -> None:
    """Two stores of one process take turns as two processes do."""
    first, second = open_store(durability="process"), open_store(durability="process")
    for i in range(200):
        assert (first, second)[i % 2].append("A", [float(i)] * 7) == 7 * i + 7
    assert first.windows("A") == second.windows("A")


# -- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", Durability)
def test_a_closed_store_refuses_everything_that_needs_it(open_store: OpenStore, durability: Durability) -> None:
    """After close every call says so; a second close does nothing."""
    store = open_store(durability=durability)
    store.append("A", [1.0])
    store.close()
    store.close()
    for ask in (
        lambda: store.append("A", [1.0]),
        lambda: store.append("B", [1.0]),
        lambda: store.stats("A", 1),
        lambda: store.windows("A"),
        lambda: store.window("A", 1),
        lambda: store.series("A"),
        store.symbols,
        store.sync,
        lambda: store.on_durable("A", 1, print),
    ):
        with pytest.raises(StoreClosed, match="the store was closed"):
            ask()


def test_closing_gives_everything_back(tmp_path: Path) -> None:
    """A store that was closed keeps no thread, and, once nobody holds it, no file open or mapped."""
    before = set(threading.enumerate())
    store = Store(tmp_path, limits=SMALL_LIMITS)
    for symbol in "ABC":
        store.append(symbol, np.ones(300))
    assert len(open_files(tmp_path)) >= 3 * 2
    store.close()
    assert set(threading.enumerate()) <= before
    reader = Store(tmp_path, mode="r")
    assert reader.stats("A", 10).points == 10
    reader.close()
    del store, reader
    assert open_files(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_store_that_can_be_read_only_changes_nothing(open_store: OpenStore) -> None:
    """Opening, asking and closing with mode "r" leaves every byte, and needs no lock file."""
    with open_store() as store:
        store.append("A", np.arange(500.0))
    (store.path / ".lock").unlink()
    before = contents(store.path / "A")
    with open_store(mode="r") as reader:
        assert reader.stats("A", 500).points == 500
        assert reader.verify()[0].faults == ()
        assert reader.reasons() == []
        reader.sync()
    assert contents(store.path / "A") == before
    assert os.listdir(store.path) == ["A"]


# -- events and health ------------------------------------------------------------------------------------------------


def test_events_tell_what_happens(open_store: OpenStore) -> None:
    """Creation and cleanup are told once each, with the numbers."""
    events: list[tuple[str, dict[str, object]]] = []
    store = open_store(durability="process", on_event=lambda name, fields: events.append((name, dict(fields))))
    store.append("A", np.zeros(1000))
    store.append("A", [1.0])
    told = [event for event in events if event[0] in {"series_created", "cleanup"}]
    assert told == [
        ("series_created", {"symbol": "A", "chunk_points": 64}),
        ("cleanup", {"symbol": "A", "removed": 400, "start": 400, "total": 1000}),
    ]


def test_a_creation_that_fails_says_why_and_leaves_nothing(open_store: OpenStore) -> None:
    """A data directory that vanished refuses a new symbol as a failed write; symbols that are open go on."""
    store = open_store()
    store.append("A", [1.0])
    hidden = store.path.with_name("hidden")
    store.path.rename(hidden)
    with pytest.raises(WriteFailed, match=r"B could not be created: .*No such file or directory.*nothing was stored"):
        store.append("B", [1.0])
    hidden.rename(store.path)
    assert store.append("B", [1.0]) == 1
    assert store.append("A", [1.0]) == 2
