"""Series that an earlier release has left, whose checksums had keys in even steps: opened, gone on with, never lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hft_mmap import Durability, Store
from hft_mmap.durable.commits import Commits
from hft_mmap.files.blocks import Commit, encode_commit
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import SLOT_OFFSETS, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.marks import Mark, wrapped
from hft_mmap.testing import SMALL_LIMITS, StoreProcess
from hft_mmap.testing.stepped import SteppedStore
from hft_mmap.tree.checksum import former_checksum
from hft_mmap.tree.words import EPOCH, MIXED_KEYS, RING, RING_PLACES, SALT, TAG_BITS
from hft_mmap.tree.writer import PLAN_SEED

POINTS = 2 * SMALL_LIMITS.chunk_points + 37
COMMITTED = SMALL_LIMITS.chunk_points + 5
VALUES = [float(1 + point) for point in range(POINTS)]


def _former(series: Path) -> None:
    """Give the series the checksums that an earlier release would have given it."""
    head = Head(series, writable=True)
    layout = Layout.of(head.identity.chunk_points)
    epoch = head.words[EPOCH] & ~MIXED_KEYS

    def mark(total: int) -> Mark:
        found = 0
        for first in range(0, total, layout.points):
            chunk = Chunk(series, head.identity.series_id, first, layout)
            n = min(total - first, layout.points)
            found += int(former_checksum(chunk.address, n, first, int(chunk.plan[PLAN_SEED])))
        return Mark(epoch, wrapped(found))

    for place in range(RING, RING + 2 * RING_PLACES, 2):
        total = head.words[place] & ((1 << TAG_BITS) - 1)
        if total <= POINTS:
            head.store(place + 1, wrapped(mark(total).checksum + head.words[SALT]))
    head.store(EPOCH, epoch)
    head.settle_words()
    head.close()
    _set_slots(series, mark)


def _set_slots(series: Path, mark_of: Callable[[int], Mark]) -> None:
    head = Head(series, writable=True)
    for commit in head.commits():
        with head.path.open("r+b") as file:
            file.seek(SLOT_OFFSETS[commit.sequence % 2])
            file.write(encode_commit(commit._replace(mark=mark_of(commit.total))))
    head.close()


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return a directory with one series of an earlier release, killed with points that were not committed."""
    data = tmp_path / "data"
    store = SteppedStore(data, limits=SMALL_LIMITS, durability=Durability.PROCESS)
    store.append_nowait("A", VALUES[:COMMITTED])
    store.series("A").ask()
    store.step()
    for begin in range(COMMITTED, POINTS, 20):
        store.append_nowait("A", VALUES[begin : begin + 20])
    store.abandon()
    _former(data / "A")
    return data


def _slot(data: Path) -> Commit:
    head = Head(data / "A", writable=False)
    try:
        return head.commits()[0]
    finally:
        head.close()


def test_what_it_published_is_proved_and_goes_on(left: Path) -> None:
    """By its own checksums; those of this release begin with the first append, when all is on the disk."""
    assert _slot(left).total == COMMITTED
    with Store(left, mode="r", limits=SMALL_LIMITS) as reader:
        assert reader.window("A", 10**6).tolist() == VALUES
    with Store(left, limits=SMALL_LIMITS) as store:
        assert store.losses() == []
        assert store.append("A", [7.0]) == POINTS + 1
        assert store.window("A", 10**6).tolist() == [*VALUES, 7.0]
        assert store.verify()[0].faults == ()
    newest = _slot(left)
    assert newest.mark is not None
    assert newest.mark.has_mixed_keys


@pytest.mark.parametrize("batches", [1, 3])
def test_a_kill_behind_the_first_append_loses_nothing(left: Path, batches: int) -> None:
    """The slot has the mark that the new checksums begin with, before anything is published under them."""
    process = StoreProcess(left, limits=SMALL_LIMITS, durability=Durability.PROCESS)
    for batch in range(batches):
        process.append("A", [float(batch)] * 3)
    process.kill()
    with Store(left, limits=SMALL_LIMITS) as store:
        assert store.losses() == []
        assert store.window("A", 10**6).tolist() == VALUES + [
            float(batch) for batch in range(batches) for _ in range(3)
        ]


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize(("owner", "name"), [(Commits, "put"), (Head, "begin_ring")])
def test_an_end_in_the_midst_of_the_change_loses_nothing(
    left: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, goes_on: bool
) -> None:
    """Behind the commit, and behind the new ring; of the process, or of the call alone, after which others follow."""
    original = getattr(owner, name)

    def ended(self: object, *args: object) -> None:
        original(self, *args)
        raise KeyboardInterrupt

    store = SteppedStore(left, limits=SMALL_LIMITS, durability=Durability.PROCESS)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, ended)
        with pytest.raises(KeyboardInterrupt):
            store.append_nowait("A", [7.0])
    expected = [*VALUES, 8.0] if goes_on else VALUES
    if goes_on:
        assert store.append_nowait("A", [8.0]) == POINTS + 1
    store.abandon()
    with Store(left, limits=SMALL_LIMITS) as again:
        assert again.losses() == []
        assert again.window("A", 10**6).tolist() == expected
        assert again.append("A", [9.0]) == len(expected) + 1


def test_a_commit_that_was_under_way_does_not_bring_the_former_checksums_back(left: Path) -> None:
    """Of the process that publishes, or of another: begun before, written after."""
    with Store(left, limits=SMALL_LIMITS, durability=Durability.PROCESS) as store:
        former = _slot(left)
        store.append("A", [7.0])
        head = Head(left / "A", writable=True)
        newest = head.commits()[0]
        written = head.write_commit(former._replace(total=newest.total))
        head.close()
        assert written.mark == newest.mark


def test_what_the_disk_has_lost_of_it_is_told(left: Path) -> None:
    """A page that comes back empty gives another sum, as it did."""
    last = left / "A" / f"{2 * SMALL_LIMITS.chunk_points:020d}.chunk"
    with last.open("r+b") as file:
        file.write(bytes(8 * 37))
    with Store(left, limits=SMALL_LIMITS) as store:
        (loss,) = store.losses()
        assert loss.total == COMMITTED + 40  # the last batch that ends before that page
        assert store.window("A", 10**6).tolist() == VALUES[: loss.total]
