"""Opening after everything that may have happened: each step of recovery, through the public door."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from hft_mmap import Limits, Reason, SeriesSetAside, Store
from hft_mmap.files.blocks import encode_commit
from hft_mmap.files.head import HEAD_NAME, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_CLEAN, FLAG_SYNC_FAILED
from hft_mmap.files.names import chunk_name, list_chunks
from hft_mmap.testing import StoreProcess, lose_power, restart_machine
from hft_mmap.tree.words import FLAGS
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.hft_mmap.damage import (
    contents,
    flip,
    rewrite_with_crc,
    set_flags,
    set_start,
    set_total,
    slots,
    tear_slots,
    turn_the_clock_back,
    write_at,
)
from tests.hft_mmap.test_chunk import IDENTITY_BYTES as CHUNK_IDENTITY_BYTES
from tests.hft_mmap.test_head import IDENTITY_BYTES as HEAD_IDENTITY_BYTES
from tests.service import wait_until

FOOTER = Layout.of(64).footer
SYNCED = np.arange(200.0)
UNSYNCED = np.arange(200.0, 300.0)
EVERYTHING = np.arange(300.0)


@pytest.fixture
def series_directory(tmp_path: Path) -> Path:
    """Return where the series A is."""
    return tmp_path / "data" / "A"


@pytest.fixture
def killed(start_store: StartStore, series_directory: Path) -> Path:
    """Leave what a killed process leaves: 200 points on the disk for certain, 100 more in memory only; the path."""
    store = start_store(durability="process")
    store.append("A", SYNCED)
    store.sync()
    kill_after_appending(store, UNSYNCED)
    return series_directory


def kill_after_appending(store: StoreProcess, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Append without a commit, as far as rolling to a new chunk does not ask for one, and kill the process."""
    store.append("A", values)
    store.kill()


def forget_commits_above(directory: Path, total: int) -> None:
    """Tear the newest slot if the flusher got round to committing more than `total`."""
    if slots(directory)[0][1] > total:
        tear_slots(directory, 0)


@pytest.fixture
def rolled_back(killed: Path) -> Path:
    """Leave what a power loss leaves of it."""
    forget_commits_above(killed, 200)
    lose_power(killed.parent)
    return killed


@contextmanager
def opened(directory: Path, *origins: str) -> Iterator[Store]:
    """Open the store of a series, and assert what was said about a recovery; nothing after an orderly stop."""
    events = []

    def note(name: str, fields: Mapping[str, object]) -> None:
        if name == "recovery":
            events.append(fields["origin"])

    limits = Limits(chunk_points=64, starting_capacity=0)
    with Store(directory.parent, limits=limits, durability="process", on_event=note) as store:
        assert events == list(origins)
        yield store


def assert_set_aside(directory: Path, reason: str) -> None:
    """Assert that the store serves without the series A, says why, and changes none of its files."""
    before = contents(directory)
    modes: tuple[Literal["a", "r"], ...] = ("a", "r")
    for mode in modes:
        with Store(directory.parent, mode=mode) as store:
            (found,) = store.reasons()
            assert found.symbol == "A"
            assert found.code == "set_aside"
            assert reason in found.detail
            with pytest.raises(SeriesSetAside, match=r"A is set aside: .*its files are left as they are"):
                store.stats("A", 10)
            if mode == "a":
                with pytest.raises(SeriesSetAside):
                    store.append("A", [1.0])
                assert store.append("B", [1.0]) >= 1
            assert [info.symbol for info in store.symbols()] == ["B"]
            assert store.verify("A")[0].faults
    assert contents(directory) == before


# -- what is trusted --------------------------------------------------------------------------------------------------


def test_a_killed_process_loses_nothing(killed: Path) -> None:
    """The machine ran on: the live words count, and every point that was acknowledged is there."""
    with opened(killed, "live") as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)
        assert store.append("A", [300.0]) == 301
        assert store.verify()[0].faults == ()


def test_an_orderly_stop_is_trusted_after_a_restart_of_the_machine(killed: Path) -> None:
    """The clean flag in the newest slot says that everything is on the disk."""
    with opened(killed, "live"):
        pass
    restart_machine(killed.parent)
    with opened(killed) as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)


def test_a_power_loss_goes_back_to_the_newest_commit(rolled_back: Path) -> None:
    """What was committed is there to the bit, what was not is gone, and the series goes on behind it."""
    with opened(rolled_back, "rolled_back") as store:
        assert np.array_equal(store.window("A", 1000), SYNCED)
        assert list_chunks(rolled_back) == [0, 64, 128, 192]
        assert store.append("A", UNSYNCED + 0.5) == 300
        assert np.array_equal(store.window("A", 1000), np.concatenate([SYNCED, UNSYNCED + 0.5]))
        store.sync()  # over the slot that the power loss has spoilt
        assert store.verify()[0].faults == ()
    with opened(rolled_back) as store:
        assert store.series("A").total == 300


def test_a_clock_that_went_back_takes_nothing_from_what_proves_itself(killed: Path) -> None:
    """A process in a time namespace has another boot clock: it must not roll back what a running writer published."""
    forget_commits_above(killed, 200)
    turn_the_clock_back(killed)
    with opened(killed, "live") as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)


def test_opening_twice_gives_the_same(rolled_back: Path) -> None:
    """The first opening after a power loss decides; the next one finds the same points as its live words."""
    with opened(rolled_back, "rolled_back") as store:
        first = store.windows("A")
        with opened(rolled_back, "live") as second:
            assert second.windows("A") == first


def test_a_power_loss_during_recovery_changes_nothing(rolled_back: Path) -> None:
    """Live words that were stored without the boot id that makes them valid are ignored by the next opening."""
    set_total(rolled_back, 200)
    set_start(rolled_back, 0)
    with opened(rolled_back, "rolled_back") as store:
        assert np.array_equal(store.window("A", 1000), SYNCED)


def test_a_reader_sees_the_newest_commit_and_changes_nothing(rolled_back: Path) -> None:
    """Before a writer has recovered the series, a reader answers from the newest commit and leaves every byte."""
    before = contents(rolled_back)
    with Store(rolled_back.parent, mode="r") as reader:
        assert np.array_equal(reader.window("A", 1000), SYNCED)
        assert reader.stats("A", 10).last == 199.0
        assert contents(rolled_back) == before
        with opened(rolled_back, "rolled_back") as store:
            store.append("A", [7.0])
            assert reader.stats("A", 10).last == 7.0


# -- commit slots -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["process", "interval", "sync"])
def stopped(request: pytest.FixtureRequest, series_directory: Path, open_store: OpenStore) -> Path:
    """Leave a series of 300 points after an orderly stop in any tier, the slot before saying 250."""
    store = open_store(durability=request.param)
    store.append("A", EVERYTHING[:250])
    store.sync()
    store.append("A", EVERYTHING[250:])
    store.sync()
    assert [total for _, total in slots(series_directory)] == [300, 250]
    store.close()
    write_at(series_directory / HEAD_NAME, slots(series_directory)[1][0], before_the_last_but_one(series_directory))
    assert [total for _, total in slots(series_directory)] == [300, 250]
    return series_directory


def before_the_last_but_one(directory: Path) -> bytes:
    """Return the bytes of a slot that says 250 points, older than the newest."""
    head = Head(directory, writable=False)
    newest, older = head.commits()
    head.close()
    return encode_commit(older._replace(total=250, sequence=newest.sequence - 1, mark=None))


@pytest.mark.parametrize(("torn", "total"), [((), 300), ((0,), 250), ((1,), 300)])
def test_one_torn_slot_leaves_the_other(stopped: Path, torn: tuple[int, ...], total: int) -> None:
    """After a restart of the machine the newest slot that is whole counts."""
    tear_slots(stopped, *torn)
    restart_machine(stopped.parent)
    with opened(stopped, *([] if total == 300 else ["rolled_back"])) as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING[:total])
        assert [fault for fault in store.verify()[0].faults if "slot" not in fault] == []
        assert len(store.verify()[0].faults) == len(torn)
        store.append("A", [1.0])
        store.sync()
        assert store.verify()[0].faults == ()


def test_points_after_a_torn_slot_are_sealed_anew(stopped: Path) -> None:
    """A chunk that was full and sealed, and is filled with other points after going back, has a seal that fits."""
    tear_slots(stopped, 0)
    restart_machine(stopped.parent)
    with opened(stopped, "rolled_back") as store:
        store.append("A", np.full(100, 5.0))
        store.sync()
        assert store.verify()[0].faults == ()


def test_both_slots_torn_are_no_harm_while_the_machine_runs(stopped: Path) -> None:
    """In the same boot the live words count, and the next commit writes a slot again."""
    tear_slots(stopped, 0, 1)
    with opened(stopped, "live") as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)
        store.sync()
        assert [total for _, total in slots(stopped)] == [300]


def test_both_slots_torn_after_a_restart_set_the_series_aside(stopped: Path) -> None:
    """With no commit to go back to, nothing says which points are on the disk."""
    tear_slots(stopped, 0, 1)
    restart_machine(stopped.parent)
    assert_set_aside(stopped, "neither commit slot is valid")


# -- what can't be trusted --------------------------------------------------------------------------------------------


def head_of(directory: Path) -> Path:
    """Return the head file."""
    return directory / HEAD_NAME


def chunk_of(directory: Path, first: int = 64) -> Path:
    """Return a chunk file."""
    return directory / chunk_name(first)


def copy_chunk_of_another_series(directory: Path) -> None:
    """Replace a chunk by one of the same place in another series."""
    with Store(directory.parent, limits=Limits(chunk_points=64, starting_capacity=0)) as store:
        store.append("B", EVERYTHING)
    shutil.copy(directory.parent / "B" / chunk_name(64), chunk_of(directory))


def rewrite_head(directory: Path, at: int, data: bytes) -> None:
    """Change the identity of the series and make its checksum fit."""
    rewrite_with_crc(directory / HEAD_NAME, 0, HEAD_IDENTITY_BYTES, at, data)


def rewrite_chunk(directory: Path, at: int, data: bytes) -> None:
    """Change the identity of a chunk and make its checksum fit."""
    rewrite_with_crc(chunk_of(directory), FOOTER, CHUNK_IDENTITY_BYTES, at, data)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "head torn": (lambda path: flip(head_of(path), 20), "head file has a wrong identity checksum"),
    "head magic": (lambda path: flip(head_of(path), 0), "does not start with the magic"),
    "head short": (lambda path: os.truncate(head_of(path), 2000), "head file has 2000 bytes instead of 4096"),
    "head version": (lambda path: rewrite_head(path, 8, b"\3"), "head file has format version 3"),
    "head fan-out": (lambda path: rewrite_head(path, 12, b"\7"), "nodes of 7 children"),
    "head chunk size": (lambda path: rewrite_head(path, 16, b"\7"), "multiple of 64 from 64 to 1099511627776, not 7"),
    "head of another symbol": (lambda path: rewrite_head(path, 50, b"C"), "belongs to the symbol 'C'"),
    "chunk missing": (lambda path: chunk_of(path).unlink(), "64.chunk is missing: it held the points 64 to 127"),
    "last chunk missing": (lambda path: chunk_of(path, 256).unlink(), "it held the points 256 to 299"),
    "chunk short": (lambda path: os.truncate(chunk_of(path), 512), "64.chunk has 512 bytes instead of 8192"),
    "chunk torn": (lambda path: flip(chunk_of(path), FOOTER + 1), "64.chunk is damaged: its identity is not sound"),
    "chunk version": (lambda path: rewrite_chunk(path, 8, b"\2"), "64.chunk has format version 2"),
    "chunk of another series": (copy_chunk_of_another_series, "64.chunk belongs to another series"),
}
LIVE_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "start behind total": (lambda path: set_start(path, 301), "live words are not in order: start 301, total 300"),
    "start negative": (lambda path: set_start(path, -1), "live words are not in order: start -1, total 300"),
}


@pytest.mark.parametrize("damage", DAMAGES | LIVE_DAMAGES)
def test_a_series_that_cannot_be_trusted_is_set_aside(stopped: Path, damage: str) -> None:
    """It is not served, the reason says what is wrong, no file changes, and the other symbols serve."""
    do, reason = (DAMAGES | LIVE_DAMAGES)[damage]
    do(stopped)
    assert_set_aside(stopped, reason)


def test_a_total_that_nothing_proves_is_told_and_not_believed(stopped: Path) -> None:
    """What the newest commit vouches for is served; how many points the total has promised beyond it is named."""
    set_total(stopped, 10**15)
    with Store(stopped.parent) as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)
        assert [(loss.total, loss.points) for loss in store.losses()] == [(300, 10**15 - 300)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_nor_is_it_trusted_after_a_restart_of_the_machine(stopped: Path, damage: str) -> None:
    """The same in another boot: the decision to go by a commit slot writes nothing before all chunks are sound."""
    do, reason = DAMAGES[damage]
    do(stopped)
    restart_machine(stopped.parent)
    assert_set_aside(stopped, reason)


@pytest.mark.parametrize("damage", LIVE_DAMAGES)
def test_live_words_do_not_count_after_a_restart_of_the_machine(stopped: Path, damage: str) -> None:
    """Whatever the live words say, the commit slot has every point."""
    LIVE_DAMAGES[damage][0](stopped)
    restart_machine(stopped.parent)
    with opened(stopped) as store:
        assert np.array_equal(store.window("A", 1000), EVERYTHING)


def test_a_series_is_served_again_when_its_files_are(stopped: Path) -> None:
    """Setting aside loses nothing: with the chunk back in its place, the next start serves every point."""
    hidden = stopped.parent.parent / "hidden"
    chunk_of(stopped).rename(hidden)
    assert_set_aside(stopped, "is missing")
    hidden.rename(chunk_of(stopped))
    with Store(stopped.parent) as store:
        assert store.reasons() == []
        assert np.array_equal(store.window("A", 1000), EVERYTHING)


def test_a_series_that_is_set_aside_counts_as_a_symbol(stopped: Path, open_store: OpenStore) -> None:
    """The symbol limit counts what is on the disk, whether it serves or not, and says so at the start."""
    flip(head_of(stopped), 20)
    events = []
    store = open_store(on_event=lambda name, fields: events.append((name, dict(fields))))
    store.append("B", [1.0])
    store.append("C", [1.0])
    with pytest.raises(Exception, match="symbol limit reached: the store holds 3 of at most 3"):
        store.append("D", [1.0])
    assert ("set_aside", {"symbol": "A", "reason": "head file has a wrong identity checksum"}) in events
    assert store.reasons() == [Reason("A", "set_aside", "head file has a wrong identity checksum")]


def test_a_series_stays_set_aside_whatever_else_comes_into_its_directory(stopped: Path, open_store: OpenStore) -> None:
    """/ready goes on to name it, with what is wrong now; it goes as soon as the files are sound, with no request."""
    hidden = stopped.parent.parent / "hidden"
    chunk_of(stopped).rename(hidden)
    store = open_store()
    assert [(reason.symbol, "is missing" in reason.detail) for reason in store.reasons()] == [("A", True)]
    (stopped / "notes.txt").touch()
    assert [(reason.symbol, "is missing" in reason.detail) for reason in store.reasons()] == [("A", True)]
    hidden.rename(chunk_of(stopped))
    assert store.reasons() == []
    assert np.array_equal(store.window("A", 1000), EVERYTHING)


def test_a_directory_without_a_head_that_has_chunks_is_set_aside(stopped: Path) -> None:
    """Points without a head are a damaged series, not a new one."""
    head_of(stopped).unlink()
    assert_set_aside(stopped, "No such file")


def test_what_has_neither_head_nor_chunks_is_no_symbol(tmp_path: Path, open_store: OpenStore) -> None:
    """Nothing lists it, counts it against the limit or finds a fault in it, and it is left as it is."""
    data = tmp_path / "data"
    (data / "backup").mkdir(parents=True)
    (data / "backup" / "notes").write_text("mine")
    (data / "README").write_text("mine")
    store = open_store()
    for symbol in "ABC":  # as many as there may be
        store.append(symbol, [1.0])
    assert (list(store), len(store), "A" in store, "backup" in store) == (["A", "B", "C"], 3, True, False)
    assert (store.reasons(), [report.symbol for report in store.verify()]) == ([], ["A", "B", "C"])
    assert (data / "backup" / "notes").read_text() == (data / "README").read_text() == "mine"


def test_a_copy_of_a_series_beside_it_is_no_series(open_store: OpenStore) -> None:
    """A backup by hand in the data directory is ignored and left as it is, until it is all that is left."""
    store = open_store()
    store.append("A", [1.0, 2.0])
    store.close()
    shutil.copytree(store.path / "A", store.path / "A.bak")
    store = open_store()
    assert (list(store), store.reasons(), store.symbols()[1:]) == (["A"], [], [])
    assert [report.symbol for report in store.verify()] == ["A"]
    assert store.counters().set_aside == ()
    with pytest.raises(SeriesSetAside, match=r"A\.bak is set aside: it is a copy of the files of 'A', and ignored"):
        store.append("A.bak", [1.0])
    assert store.reasons() == []
    store.close()
    shutil.rmtree(store.path / "A")
    store = open_store()
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A.bak", "set_aside")]
    assert list(store) == ["A.bak"]
    store.append("A", [3.0])
    store.close()
    store = open_store()
    assert [reason.symbol for reason in store.reasons()] == ["A.bak"], "it is another series by now"


def test_other_files_in_the_data_directory_are_left_alone(tmp_path: Path, open_store: OpenStore) -> None:
    """Files and directories that no symbol has are neither served nor touched."""
    data = tmp_path / "data"
    (data / ".hidden").mkdir(parents=True)
    (data / "100%").mkdir()
    (data / "notes.txt").write_text("mine")
    store = open_store()
    store.append("A", [1.0])
    assert [info.symbol for info in store.symbols()] == ["A"]
    assert store.reasons() == []
    assert (data / "notes.txt").read_text() == "mine"


# -- leftovers --------------------------------------------------------------------------------------------------------


def test_chunks_that_were_never_committed_are_removed_after_a_power_loss(rolled_back: Path) -> None:
    """Chunks above the recovered total go; they may hold anything."""
    (rolled_back / chunk_name(64 * 100)).write_bytes(b"half a chunk")
    with opened(rolled_back, "rolled_back"):
        assert list_chunks(rolled_back) == [0, 64, 128, 192]


def test_chunks_above_the_total_stay_while_the_machine_runs(stopped: Path) -> None:
    """They may belong to an append under way in another process; the append that needs their place replaces them."""
    (stopped / chunk_name(320)).write_bytes(b"half a chunk")
    with opened(stopped) as store:
        assert 320 in list_chunks(stopped)
        store.append("A", EVERYTHING[:100])
        assert np.array_equal(store.window("A", 100), EVERYTHING[:100])


def test_chunks_of_a_cleanup_that_a_crash_cut_short_are_removed(open_store: OpenStore, series_directory: Path) -> None:
    """Chunks wholly below the committed start are unlinked by the next opening."""
    with open_store() as store:
        for i in range(30):
            store.append("A", np.full(100, float(i)))
        start = store.series("A").start
    left = list_chunks(series_directory)
    assert left[0] <= start < left[0] + 64
    shutil.copy(series_directory / chunk_name(left[0]), series_directory / chunk_name(64))
    with opened(series_directory):
        assert list_chunks(series_directory) == left


def test_a_cleanup_cut_short_before_its_commit_is_ended_by_the_next_opening(killed: Path) -> None:
    """Killed after `start` was moved and before a slot said so: the chunks go without an orderly stop."""
    set_start(killed, 250)
    with opened(killed, "live"):
        wait_until(lambda: list_chunks(killed) == [192, 256], "the chunks below the start to go")


def test_a_failure_that_passes_does_not_set_a_series_aside_for_good(stopped: Path, open_store: OpenStore) -> None:
    """Without a descriptor a series can't be opened: /ready says so and tries again, with no request for the series."""
    hidden = stopped.rename(stopped.parent.parent / "hidden")
    store = open_store()
    hidden.rename(stopped)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(SeriesSetAside, match=r"A can't be opened: .*Too many open files.*the next request tries"):
            store.stats("A", 1)
        for _ in range(2):
            assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "set_aside")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.reasons() == []
    assert store.stats("A", 1).last == 299.0


def test_a_creation_that_a_crash_cut_short_leaves_nothing(tmp_path: Path, open_store: OpenStore) -> None:
    """What was being made of a new symbol is removed, and the symbol can be made."""
    making = tmp_path / "data" / ".making-0123"
    making.mkdir(parents=True)
    (making / HEAD_NAME).write_bytes(b"half a head")
    store = open_store()
    assert not making.exists()
    assert store.append("A", [1.0]) == 1


# -- a sync that failed -----------------------------------------------------------------------------------------------


def test_a_failed_sync_is_made_good_by_the_next_start(killed: Path) -> None:
    """Points that may be in memory only are written again, and the series takes points again."""
    forget_commits_above(killed, 200)
    set_flags(killed, FLAG_SYNC_FAILED)
    with opened(killed, "live") as store:
        assert store.reasons() == []
        assert slots(killed)[0][1] == 300
        assert store.append("A", [300.0]) == 301
        assert store.verify()[0].faults == ()
    head = Head(killed, writable=False)
    assert head.words[FLAGS] == FLAG_CLEAN
    head.close()


def test_a_failed_sync_does_not_matter_after_a_restart_of_the_machine(rolled_back: Path) -> None:
    """What the disk really holds is what a commit says; the flag of another boot is forgotten."""
    set_flags(rolled_back, FLAG_SYNC_FAILED)
    with opened(rolled_back, "rolled_back") as store:
        assert np.array_equal(store.window("A", 1000), SYNCED)
        assert store.append("A", [1.0]) == 201
