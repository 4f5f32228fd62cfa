"""Several processes on one data directory: writers take turns, readers never wait and never see half a batch."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability, Limits, SeriesReadOnly, SeriesSetAside, Store
from hft_mmap.durable.trust import trust
from hft_mmap.files.boot import current_boot
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import chunk_name, list_chunks
from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import MEMORY, PATIENCE_S, PROCESSES, assert_close, restart_machine
from hft_mmap.tree.words import RING_PLACES, TOTAL
from tests.hft_mmap import actors
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.hft_mmap.damage import set_flags, slots
from tests.hft_mmap.test_series import MovingWords, run_together


def test_a_reader_opened_before_the_first_append_sees_the_symbol(
    open_store: OpenStore, start_store: StartStore
) -> None:
    """A store opened for reading finds a symbol that another process made since, with all of its points."""
    open_store().close()
    reader = open_store(mode="r")
    writer = start_store()
    writer.append("A", [1.0, 2.0])
    assert reader.series("A").total == 2
    writer.append("A", [3.0])
    assert reader.stats("A", 3).last == 3.0


def test_a_writer_opened_before_another_process_made_the_symbol_goes_on_behind_it(
    open_store: OpenStore, start_store: StartStore
) -> None:
    """A store opened earlier does not take the other process's head for one of another run of the machine."""
    early = open_store()
    late = start_store()
    late.append("A", [1.0, 2.0])
    assert early.append("A", [3.0]) == 3
    assert late.window("A", 10).tolist() == [1.0, 2.0, 3.0]


def test_a_reader_follows_a_writer_that_opened_the_series_later(
    open_store: OpenStore, start_store: StartStore, tmp_path: Path
) -> None:
    """A series opened for reading after a restart of the machine follows the first writer that comes up."""
    with open_store() as store:
        store.append("A", [1.0])
    restart_machine(tmp_path / "data")
    reader = open_store(mode="r")
    assert reader.series("A").total == 1
    writer = start_store()
    writer.append("A", [2.0])
    assert reader.window("A", 10).tolist() == [1.0, 2.0]


def test_a_writer_that_idled_through_a_cleanup_goes_on_behind_it(
    open_store: OpenStore, start_store: StartStore, tmp_path: Path
) -> None:
    """A writer whose chunks another process has unlinked meanwhile appends, repeats, syncs and closes as ever."""
    idle = open_store(durability="process")
    idle.append("A", [1.0, 2.0])
    with_nothing_new = open_store(durability="process")
    busy = start_store(durability="process")
    for i in range(60):
        busy.append("A", np.full(100, float(i)))
    busy.sync()
    assert 0 not in list_chunks(tmp_path / "data" / "A")
    with_nothing_new.sync()
    with_nothing_new.close()
    assert idle.append("A", np.full(100, 59.0), offset=5902) == 6002
    assert idle.append("A", [60.0]) == 6003
    idle.sync()
    assert idle.reasons() == busy.reasons() == []
    assert idle.stats("A", 102) == busy.stats("A", 102)
    assert busy.append("A", [61.0]) == 6004


@pytest.mark.parametrize("keep", [0, 10])
def test_a_writer_that_idled_through_a_cleanup_may_clean_up_next(
    open_store: OpenStore, start_store: StartStore, keep: int
) -> None:
    """A batch that needs a cleanup is taken although another process has unlinked every chunk this one knew."""
    limits = Limits(max_data_retention=200, cleanup_keep_count=keep, starting_capacity=0, chunk_points=64)
    idle = open_store(limits=limits, durability="process")
    idle.append("A", np.zeros(64))
    idle.sync()
    busy = start_store(limits=limits, durability="process")
    total = 64
    while total < 64 * 30:
        total = busy.append("A", np.full(64, float(total)))
    busy.sync()
    assert list_chunks(idle.path / "A")[0] > 64
    assert idle.append("A", np.ones(190)) == total + 190
    idle.sync()
    assert busy.append("A", np.ones(190)) == total + 380
    assert idle.reasons() == busy.reasons() == []
    assert idle.stats("A", 10**9) == busy.stats("A", 10**9)


# -- whole batches ----------------------------------------------------------------------------------------------------


def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a process that does one of the actors' jobs."""
    process = PROCESSES.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def finish(processes: Iterable[BaseProcess]) -> None:
    """Wait for processes that have to end well."""
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0


def test_marks_are_right_while_others_publish(tmp_path: Path) -> None:
    """Also those of the oldest places, which the newest publications are written over: else sound points are lost."""
    actors.append_singles(tmp_path, 1)
    wrong, seen = 0, dict[int, Mark]()
    head = Head(tmp_path / "A", writable=False)
    writer = start(actors.append_singles, tmp_path, 50_000)
    while writer.is_alive():
        total = head.words[TOTAL]
        marks = head.marks()
        wrong += sum(seen.setdefault(point, mark) != mark for point, mark in marks.items() if point <= total)
    head.close()
    finish([writer])
    assert wrong == 0
    assert len(seen) > RING_PLACES


def test_batches_of_many_writers_stay_whole_for_every_reader(tmp_path: Path) -> None:
    """Two writing processes and two threads append to one symbol; two reading processes see whole batches only."""
    answers, outcome = PROCESSES.Pipe(duplex=False)
    readers = [start(actors.read_until, tmp_path, 800, outcome) for _ in range(2)]
    with Store(tmp_path, limits=actors.LIMITS, durability="process") as store:
        writers = [start(actors.append_batches, tmp_path, seed, 200) for seed in range(2)]

        def append(seed: int) -> None:
            for batch in actors.run_of_batches(seed, 200):
                store.append("A", batch)

        run_together(lambda: append(2), lambda: append(3))
        finish(writers)
        for _ in readers:
            assert answers.poll(PATIENCE_S)
            reads = answers.recv()
            assert isinstance(reads, int), reads
            assert reads >= 1
        finish(readers)
        expected = np.sort(np.concatenate([batch for seed in range(4) for batch in actors.run_of_batches(seed, 200)]))
        points = store.window("A", 10**9)
        assert actors.assert_whole_batches(points) == 800
        assert np.array_equal(np.sort(points), expected)
        assert_close(store.stats("A", 10**9), exact_window_stats(points.tolist(), len(points)))
        assert store.verify()[0].faults == ()


def test_reading_and_verifying_go_on_beside_cleanups(tmp_path: Path) -> None:
    """While another process appends and cleans up, every answer is of one moment, and verify finds nothing wrong."""
    answers, outcome = PROCESSES.Pipe(duplex=False)
    stop = PROCESSES.Event()
    with Store(tmp_path, limits=actors.CLEANING_LIMITS) as store:
        store.append("A", np.arange(500.0))
    writer = start(actors.append_with_cleanups, tmp_path, stop, outcome)
    with Store(tmp_path, mode="r") as reader:
        series = reader.series("A")
        first_start = series.start
        rounds = 0
        while rounds < 20 or series.start == first_start:
            points = series.window(10**9)
            # Batches are 0 to 499, so two neighbours differ by 1, or by -499 where a batch ends.
            assert set(np.diff(points).tolist()) <= {1.0, -499.0}
            assert points[-1] == 499.0
            stats = series.stats(10**9)
            assert 100 <= stats.points <= 100_000
            assert (stats.last, stats.max) == (499.0, 499.0)
            assert reader.verify("A")[0].faults == ()
            with Store(tmp_path, mode="r") as late:
                assert late.reasons() == []
                assert late.stats("A", 100).avg == 449.5
            rounds += 1
    stop.set()
    assert answers.poll(PATIENCE_S)
    assert answers.recv() % 500 == 0
    finish([writer])


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in memory, where there is one: syncs cost nothing there, so races come often."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as path:
        yield Path(path)


def test_two_writers_that_clean_up_all_the_time_harm_nobody(quick_disk: Path) -> None:
    """Chunks that one process unlinks under the other's commit, verify or opening are no fault of the disk."""
    answers, outcome = PROCESSES.Pipe(duplex=False)
    stop = PROCESSES.Event()
    with Store(quick_disk, limits=actors.LIMITS) as store:
        store.append("A", np.arange(95.0))
    writers = [start(actors.append_with_a_cleanup_each, quick_disk, stop, outcome) for _ in range(2)]
    first = 0
    for i in range(300):
        with Store(quick_disk, mode="r") as reader:
            assert reader.reasons() == []
            series = reader.series("A")
            while i == 0 and series.start == first:
                assert series.stats(5).max == 94.0
            assert series.stats(5).avg == 92.0
            assert reader.verify("A")[0].faults == ()
    stop.set()
    for _ in writers:
        assert answers.poll(PATIENCE_S)
        assert answers.recv() == []
    finish(writers)


def test_live_words_are_in_order_however_fast_they_change(open_store: OpenStore, tmp_path: Path) -> None:
    """Looking at a head while another process appends and cleans up never finds start behind total."""
    with open_store() as store:
        store.append("A", [1.0])
    stop = PROCESSES.Event()
    mover = start(actors.advance_live_words, tmp_path / "data", stop)
    head = Head(tmp_path / "data" / "A", writable=False)
    layout = Layout.of(head.identity.chunk_points)
    while head.words[TOTAL] < 1000:
        assert mover.is_alive()
    for _ in range(500):
        recovered = trust(head, current_boot(), head.path.parent, layout)
        assert 0 <= recovered.start <= recovered.total
    head.close()
    stop.set()
    finish([mover])


# -- limits and locks -------------------------------------------------------------------------------------------------


def test_the_symbol_limit_holds_across_processes(tmp_path: Path) -> None:
    """Of four processes that each bring three symbols, five are taken where there are five places."""
    limits = Limits(max_symbols=5, starting_capacity=0, chunk_points=64)
    answers, outcome = PROCESSES.Pipe(duplex=False)
    processes = [start(actors.bring_symbols, tmp_path, name, limits, outcome) for name in "ABCD"]
    finish(processes)
    assert sum(answers.recv() for _ in processes) == 5
    with Store(tmp_path, mode="r") as store:
        assert len(store.symbols()) == 5


def test_a_killed_holder_of_a_lock_blocks_nobody(tmp_path: Path) -> None:
    """A process killed in the middle of a write leaves its lock free and the series as it was published."""
    with Store(tmp_path, limits=actors.LIMITS, durability="process") as store:
        store.append("A", [1.0])
        answers, outcome = PROCESSES.Pipe(duplex=False)
        holder = start(actors.hold_the_lock, tmp_path, outcome)
        assert answers.poll(PATIENCE_S)
        assert answers.recv() == "held"
        assert store.stats("A", 1).last == 1.0
        holder.kill()
        holder.join(PATIENCE_S)
        assert store.append("A", [2.0]) == 2


def test_a_killed_process_keeps_what_it_appended(start_store: StartStore) -> None:
    """Every append that was answered is there after kill -9, again and again, in each tier."""
    expected: list[float] = []
    for i, durability in enumerate([*Durability] * 2):
        store = start_store(durability=durability)
        for j in range(5):
            batch = [float(10 * i + j)] * 20
            assert store.append("A", batch) == len(expected) + 20
            expected += batch
        store.kill()
    store = start_store()
    assert store.window("A", 10**6).tolist() == expected
    assert [report.faults for report in store.verify()] == [()]


def test_a_chunk_that_another_process_unlinked_under_a_commit_is_no_fault(open_store: OpenStore) -> None:
    """Between its look at the bounds and its syncs a commit may lose chunks to a cleanup elsewhere; it goes on."""
    busy = open_store(durability="process")
    busy.append("A", np.zeros(300))
    idle_store = open_store(durability="process")
    idle_store.sync()
    idle = idle_store.series("A")
    view, total = idle._view, idle.total
    busy.append("A", np.zeros(700))
    busy.append("A", np.zeros(300))
    busy.sync()
    assert list_chunks(busy.path / "A")[0] > 64
    idle._commits.total = 0
    idle._commits._sync_chunks(view, total)
    for chunk in view.chunks:
        chunk.sealed = False
    idle._commits.seal(view, total)


def test_a_kept_chunk_that_vanished_is_a_fault(open_store: OpenStore) -> None:
    """A chunk file that somebody removed ends writing before a commit can claim that its points are on the disk."""
    store = open_store(durability="process")
    store.append("A", np.zeros(100))
    store.sync()
    late = open_store(durability="process")
    series = late.series("A")
    with series._lock:  # or the commit that its opening asked for finds the chunk before it goes
        store.append("A", np.zeros(100))
        (store.path / "A" / chunk_name(128)).unlink()
    with pytest.raises(SeriesReadOnly, match="No such file or directory"):
        late.sync()
    assert series.committed_total == 100


def test_points_are_not_committed_after_a_sync_failed_elsewhere(open_store: OpenStore, tmp_path: Path) -> None:
    """The kernel tells one process of a failed sync; the others learn it from the head and commit no more."""
    store = open_store(durability="process")
    store.append("A", [1.0])
    store.sync()
    store.append("A", [2.0])
    set_flags(tmp_path / "data" / "A", FLAG_SYNC_FAILED)
    with pytest.raises(SeriesReadOnly, match="a sync of this series failed in another process"):
        store.sync()
    assert slots(tmp_path / "data" / "A")[0][1] == 1


@pytest.mark.parametrize("fault", ["missing", "short", "foreign"])
def test_a_reader_that_meets_a_kept_chunk_removed_by_hand_says_which(open_store: OpenStore, fault: str) -> None:
    """SeriesSetAside names the chunk and leaves everything as it is; where the file comes back, reading goes on."""
    writer = open_store(durability="process")
    writer.append("A", np.zeros(60))
    writer.append("B", np.zeros(100))
    reader = open_store(mode="r")
    series = reader.series("A")
    writer.append("A", np.ones(100))
    chunk = writer.path / "A" / chunk_name(64)
    hidden = chunk.with_suffix(".hidden")
    chunk.rename(hidden)
    if fault == "short":
        chunk.write_bytes(hidden.read_bytes()[:-1])
    elif fault == "foreign":
        chunk.write_bytes((writer.path / "B" / chunk_name(64)).read_bytes())
    told = {"missing": "is missing", "short": "has 8191 bytes instead of 8192", "foreign": "belongs to another series"}
    for ask in (lambda: series.stats(10), lambda: reader.windows("A"), lambda: reader.window("A", 5)):
        with pytest.raises(SeriesSetAside, match=f"A can't be read: chunk {chunk.name} {told[fault]}"):
            ask()
    assert chunk.name in reader.verify("A")[0].faults[0]
    hidden.rename(chunk)
    assert reader.stats("A", 1000).points == 160


def test_a_reader_looks_again_where_a_cleanup_came_between(open_store: OpenStore) -> None:
    """Chunks that are unlinked after the bounds were read, and before they could be mapped, are no fault."""
    writer = open_store(durability="process")
    writer.append("A", np.zeros(60))
    reader = open_store(mode="r")
    series = reader.series("A")
    writer.append("A", np.zeros(900))

    def clean_up() -> None:
        for _ in range(3):
            writer.append("A", np.ones(900))
        writer.sync()

    # The reader's four loads: start and total, which its view does not cover; then both again, to map what is missing.
    series._words = MovingWords(series._words, clean_up, after=4)  # type: ignore[assignment]
    assert series.stats(10).avg == 1.0
