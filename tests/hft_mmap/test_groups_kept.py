"""Groups that are kept up, verified, repaired, copied and removed with the chunks that they belong to."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hft_mmap import Limits, Store, StoreReadOnly, SymbolNotFound
from hft_mmap.files import proved
from hft_mmap.files.layout import FOOTER_BYTES, GROUPS, Group, Layout
from hft_mmap.files.locks import attempts
from hft_mmap.files.names import chunk_name
from hft_mmap.series import Series
from hft_mmap.store import ALL_GROUPS
from hft_mmap.testing import PATIENCE_S, lose_power
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.hft_mmap.damage import flip
from tests.hft_mmap.test_groups import (
    ALL,
    OF_PRICES,
    SUFFIXES,
    append,
    assert_alike,
    scan_of,
    ticks_from,
)
from tests.hft_mmap.test_groups import covered as covered_by
from tests.hft_mmap.test_kernels import prices

POINTS = 4096
LIMITS = Limits(max_data_retention=40_000, cleanup_keep_count=10_000, starting_capacity=0, chunk_points=POINTS)
KEEPING = dataclasses.replace(LIMITS, groups=ALL_GROUPS)


@pytest.fixture(autouse=True, scope="module")
def groups_are_looked_for_at_once() -> Iterator[None]:
    """Have a question look for groups whenever it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proved, "FEW_POINTS", 1)
        patch.setattr(proved, "_LOOK_S", 0.0)
        yield


def covered(series: Series) -> set[int]:
    """Return up to which point each group has been found to cover the series."""
    return covered_by(series, ALL)


def group_files(directory: Path) -> dict[str, set[int]]:
    """Return the first points of the chunks that have a file, by suffix."""
    found: dict[str, set[int]] = {suffix: set() for suffix in (".chunk", *SUFFIXES)}
    for path in directory.iterdir():
        if path.suffix in found:
            found[path.suffix].add(int(path.stem))
    return found


def assert_right(store: Store, symbol: str = "A") -> None:
    """Assert that the answers about a series are those that its points give without groups."""
    rows = store.ticks(symbol, 10**6)
    if "WITHOUT" in {info.symbol for info in store.symbols()}:
        store.remove("WITHOUT")
    scanned = scan_of(store, rows)
    assert_alike(store.statistics(symbol, ALL, window=10**6), scanned)
    store.remove("WITHOUT")


def make(path: Path, points: int = 2 * POINTS + 1000, limits: Limits = LIMITS) -> None:
    """Make a series A with groups, in order."""
    with Store(path, limits=limits) as store:
        append(store, prices("ticks", points, seed=1))
        store.sync()
        store.summarise()


# -- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["interval", "sync"])
def test_groups_follow_what_is_appended(open_store: OpenStore, durability: str) -> None:
    """With the setting they are brought up behind the commits, over the borders of chunks, and at the close."""
    store = open_store(limits=KEEPING, durability=durability)
    values = prices("ticks", 3 * POINTS + 500, seed=1)
    for begin in range(0, len(values), 1500):
        append(store, values[begin : begin + 1500])
    series = store.series("A")
    for _ in attempts(PATIENCE_S):
        store.sync()
        if min(covered(series)) >= len(values) - 1024:
            break
    assert min(covered(series)) >= len(values) - 1024
    assert_right(store)
    assert store.verify("A")[0].faults == ()
    again = open_store(store.path, mode="r").series("A")
    assert min(covered(again)) >= len(values) - 1024


def test_a_series_that_has_points_gets_groups_for_those_that_come(open_store: OpenStore) -> None:
    """From the chunk on that was the newest; `summarise` makes the others."""
    append(open_store(limits=LIMITS), prices("ticks", 2 * POINTS + 100, seed=1))
    store = open_store(limits=KEEPING)
    append(store, prices("ticks", 3000, seed=2))
    for _ in attempts(PATIENCE_S):
        store.sync()
        files = group_files(store.path / "A")
        if all(files[suffix] for suffix in SUFFIXES):
            break
    assert [files[suffix] for suffix in SUFFIXES] == [{2 * POINTS}] * len(SUFFIXES)
    assert_right(store)
    assert store.summarise("A")[0].points == (2 * POINTS + 3100) // 64 * 64
    assert_right(store)


def test_without_the_setting_no_file_is_made(open_store: OpenStore) -> None:
    """A series of prices has the files that it always had."""
    store = open_store(limits=LIMITS)
    store.append("A", prices("ticks", 2 * POINTS, seed=1))
    store.sync()
    assert {path.suffix for path in (store.path / "A").iterdir()} == {"", ".chunk"}


def test_prices_alone_have_the_groups_of_prices(open_store: OpenStore) -> None:
    """With every group in the setting, and made by name, there is none of columns; and that is told."""
    store = open_store(limits=KEEPING)
    store.append("A", prices("ticks", 2 * POINTS, seed=1))
    for _ in attempts(PATIENCE_S):
        store.sync()
        if len(group_files(store.path / "A")[".moments"]) > 1:
            break
    assert [report[1:] for report in store.summarise()] == [(OF_PRICES, 2 * POINTS, (), ("trades",))]
    assert store.summarise("A", groups=["trades"])[0][1:] == ((), 0, (), ("trades",))
    assert {path.suffix for path in (store.path / "A").iterdir()} == {"", ".chunk", ".returns", ".extremes", ".moments"}
    assert store.verify("A")[0].faults == ()


def test_groups_that_cannot_be_made_hold_up_nothing(open_store: OpenStore) -> None:
    """It is told once for as long as it lasts, points are taken and committed, and every answer is right."""
    events: list[str] = []
    store = open_store(limits=KEEPING, on_event=lambda name, _: events.append(name))
    append(store, prices("ticks", 10, seed=1))
    (store.path / "A" / chunk_name(0, ".extremes") / "in the way").mkdir(parents=True)
    for seed in range(3):
        append(store, prices("ticks", 1200, seed=seed))
        store.sync()
    for _ in attempts(PATIENCE_S):
        if "groups_failed" in events:
            break
        store.sync()
    assert_right(store)
    assert store.series("A").committed_total == 3610
    assert events.count("groups_failed") == 1
    (report,) = store.summarise("A")
    assert [reason.split(":")[0] for reason in report.left] == [chunk_name(0, ".extremes")]


def test_another_process_appends_while_its_groups_are_used(open_store: OpenStore, start_store: StartStore) -> None:
    """Whoever reads finds what the other has made, and never an answer that the points do not give."""
    writer = start_store(limits=KEEPING)
    values = prices("ticks", 2 * POINTS + 900, seed=1)
    rows = ticks_from(0, values)
    first = rows.cut(0, 500)
    writer.append("A", first.prices, times=first.times, sizes=first.sizes)
    reader = open_store(mode="r").series("A")
    scanned = open_store(reader.directory.parent.parent / "other", limits=LIMITS, durability="process")
    for begin in range(500, len(values), 700):
        part = rows.cut(begin, begin + 700)
        writer.append("A", part.prices, times=part.times, sizes=part.sizes)
        append(scanned, values[scanned.series("A").total if begin > 500 else 0 : begin + 700])
        assert_alike(reader.statistics(ALL), scanned.statistics("A", ALL))
    for _ in attempts(PATIENCE_S):
        writer.sync()
        if min(covered(reader)) >= 2 * POINTS:
            break
    assert_alike(reader.statistics(ALL), scanned.statistics("A", ALL))
    writer.close()
    assert min(covered(reader)) >= 2 * POINTS


def test_two_processes_make_the_same_groups(open_store: OpenStore, start_store: StartStore) -> None:
    """Each takes turns at a file, and what is there already is left as it is."""
    store = open_store(limits=LIMITS)
    append(store, prices("ticks", 2 * POINTS + 900, seed=1))
    other = start_store(limits=LIMITS)
    assert other.summarise("A") == store.summarise("A")
    append(store, prices("ticks", 900, seed=2))
    assert other.summarise("A")[0].points == store.summarise("A")[0].points == 2 * POINTS + 1792
    assert store.verify("A")[0].faults == ()


def test_whoever_only_reads_makes_none(open_store: OpenStore) -> None:
    """And a symbol that there is not has none."""
    store = open_store(limits=LIMITS)
    store.append("A", [1.0])
    with pytest.raises(StoreReadOnly):
        open_store(mode="r").summarise()
    with pytest.raises(SymbolNotFound):
        store.summarise("B")


# -- with their chunks ------------------------------------------------------------------------------------------------


def test_groups_go_with_their_chunks(open_store: OpenStore) -> None:
    """A cleanup unlinks them, and what is cut off; and they count among the bytes on the disk."""
    store = open_store(limits=KEEPING)
    for seed in range(12):
        append(store, prices("ticks", POINTS, seed=seed))
    store.sync()
    store.summarise()
    files = group_files(store.path / "A")
    assert min(files[".chunk"]) > 0
    assert all(firsts == files[".chunk"] for firsts in files.values())
    used = sum(path.stat().st_blocks for path in (store.path / "A").iterdir()) * 512
    assert store.symbols()[0].bytes == used
    store.truncate("A", keep=100)
    files = group_files(store.path / "A")
    assert all(len(firsts) == 1 for firsts in files.values())
    assert_right(store)


def test_groups_go_with_their_series(open_store: OpenStore) -> None:
    """Under another name they are believed as before, and a series that is removed leaves nothing."""
    store = open_store(limits=LIMITS)
    append(store, prices("ticks", 6000, seed=1))
    store.summarise()
    store.rename("A", "B")
    assert covered(store.series("B")) == {5952}
    assert_right(store, "B")
    store.remove("B")
    assert not (store.path / "B").exists()


def test_a_snapshot_has_the_groups_of_full_chunks(open_store: OpenStore, tmp_path: Path) -> None:
    """Shared like the chunks; of the newest chunk they are made anew where they are wanted. So is what is restored."""
    make(tmp_path / "data")
    store = open_store(limits=LIMITS)
    store.snapshot(tmp_path / "copy")
    copy = open_store(tmp_path / "copy", limits=LIMITS)
    files = group_files(copy.path / "A")
    assert files == {".chunk": {0, POINTS, 2 * POINTS}, **{suffix: {0, POINTS} for suffix in SUFFIXES}}
    assert covered(copy.series("A")) == {2 * POINTS}
    assert_right(copy)
    assert copy.verify("A")[0].faults == ()
    store.remove("A")
    store.restore(tmp_path / "copy", "A")
    assert covered(store.series("A")) == {2 * POINTS}
    assert_right(store)


def test_groups_of_points_that_a_power_loss_took_are_removed(open_store: OpenStore, tmp_path: Path) -> None:
    """What the others cover stays, and points that come in their place get groups of their own."""
    data = tmp_path / "data"
    make(data)
    shutil.copytree(data, tmp_path / "before")
    with Store(data, limits=LIMITS) as store:
        append(store, prices("uniform", 3000, seed=9))
        store.summarise()
    for path in (data / "A").iterdir():
        if path.suffix in SUFFIXES:
            shutil.copyfile(path, tmp_path / "before" / "A" / path.name)
    lose_power(tmp_path / "before")
    store = open_store(tmp_path / "before", limits=LIMITS)
    files = group_files(store.path / "A")
    assert files == {".chunk": {0, POINTS, 2 * POINTS}, **{suffix: {0, POINTS} for suffix in SUFFIXES}}
    append(store, prices("wide", 3000, seed=10))
    assert_right(store)
    assert store.verify("A")[0].faults == ()
    store.summarise()
    assert covered(store.series("A")) == {(2 * POINTS + 4000) // 64 * 64}
    assert_right(store)


# -- verify and repair ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", GROUPS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("level 1", "level 1 node 2 differs from what it summarises"),
        ("level 2", "level 2 node 0 differs from what it summarises"),
        ("identity", "its identity is not that of"),
        ("record", "the record of what it covers is damaged"),
        ("footer", "unused bytes of the footer are not 0"),
        ("cut", "has 100 bytes instead of"),
    ],
)
def test_a_damaged_group_is_found_and_made_anew(tmp_path: Path, one: Group, place: str, fault: str) -> None:
    """Each of its bytes that means something is held against the points, and the answers were right before."""
    data = tmp_path / "data"
    make(data)
    path = data / "A" / chunk_name(POINTS, one.suffix)
    layout = Layout.of(POINTS)
    if place == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        footer = layout.group_footer(one)
        places = {
            "level 1": 8 * one.fields * 2 + 4, "level 2": layout.group_offset(one, 2) + 4, "identity": footer + 2,
            "record": footer + 514, "footer": footer + FOOTER_BYTES - 1,
        }  # fmt: skip
        flip(path, places[place])
    with Store(data, limits=LIMITS) as store:
        assert_right(store)
        (report,) = store.verify("A")
        assert any(one_fault.startswith(path.name) and fault in one_fault for one_fault in report.faults)
        assert store.repair("A")[0].remaining == ()
        assert store.verify("A")[0].faults == ()
    with Store(data, limits=LIMITS) as store:
        assert covered(store.series("A")) == {2 * POINTS + 960}
        assert_right(store)


def test_a_changed_value_is_told_by_its_groups_and_they_are_left(tmp_path: Path) -> None:
    """Groups of a value that was damaged would make it look right: neither is touched."""
    data = tmp_path / "data"
    make(data)
    flip(data / "A" / chunk_name(0), 8 * 777)
    before = {path: path.read_bytes() for path in (data / "A").iterdir() if path.suffix in SUFFIXES}
    with Store(data, limits=LIMITS) as store:
        faults = store.verify("A")[0].faults
        assert sum("it was made of other" in fault for fault in faults) == len(GROUPS)
        assert store.repair("A")[0].remaining == faults
    assert {path: path.read_bytes() for path in before} == before


def test_a_group_that_was_just_created_when_the_power_went_is_no_fault(tmp_path: Path) -> None:
    """Its file may be empty, or of zeros; it is made anew where it is wanted."""
    data = tmp_path / "data"
    make(data)
    for one, content in zip(GROUPS, (b"", bytes(100), None, b""), strict=True):
        path = data / "A" / chunk_name(0, one.suffix)
        path.write_bytes(bytes(path.stat().st_size) if content is None else content)
    with Store(data, limits=LIMITS) as store:
        assert store.verify("A")[0].faults == ()
        assert_right(store)
        store.summarise()
        assert covered(store.series("A")) == {2 * POINTS + 960}


@pytest.mark.parametrize("groups", [("trade",), "returns", (1,)])
def test_groups_that_there_are_not_are_refused(groups: object) -> None:
    """A limit names what there is."""
    with pytest.raises(ValueError, match="there are returns, extremes, moments, trades"):
        Limits(groups=groups)  # type: ignore[arg-type]


def test_groups_have_the_order_of_their_numbers() -> None:
    """However they are named."""
    assert Limits(groups=("moments", "returns", "moments")).groups == ("returns", "moments")
    assert [one.fields for one in GROUPS] == [2, 2, 4, 5]
