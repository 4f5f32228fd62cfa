"""Power cuts keep what the tier promises, whatever the disk did with writes that were not synced."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability
from tests.torture import power
from tests.torture.counts import Counts, Kind
from tests.torture.disk import Disk
from tests.torture.nursery import Child, Nursery
from tests.torture.power import power_life
from tests.torture.tracing import Call, Moment, needs_strace, parse, record

SEEDS = {Durability.PROCESS: 1, Durability.INTERVAL: 3, Durability.SYNC: 4}


@needs_strace
@pytest.mark.parametrize("durability", Durability)
def test_a_power_cut_keeps_what_the_tier_promises(nursery: Nursery, counts: Counts, durability: Durability) -> None:
    """All that was called durable is there, as whole batches, with the right statistics; tier sync: all answered."""
    power_life(nursery, SEEDS[durability], durability, 2, 6, counts)
    assert counts.of(Kind.POWER_CUTS, durability) >= 10
    assert counts.texts == []


@needs_strace
@pytest.mark.parametrize("forgotten", ["fdatasync", "fsync"])
def test_the_power_cuts_notice_a_sync_that_never_happened(
    nursery: Nursery, counts: Counts, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that ignores a kind of sync does lose points here: the checks above are able to fail."""

    def record_without(child: Child, log: Path) -> list[Moment]:
        return [moment for moment in record(child, log) if moment[1].name != forgotten]

    monkeypatch.setattr(power, "record", record_without)
    power_life(nursery, 1, Durability.SYNC, 1, 10, counts)
    assert counts.broken["lost"] or counts.broken["unopenable"]


def crashes(disk: Disk, directory: Path, name: str) -> set[bytes | None]:
    """Return what the file `name` held after each of many power cuts (None: there was no such file)."""
    found: set[bytes | None] = set()
    for seed in range(200):
        target = directory / str(seed)
        disk.crash(np.random.default_rng(seed), target)
        path = target / name
        found.add(path.read_bytes() if path.exists() else None)
    return found


def play(disk: Disk, *calls: Call) -> None:
    """Let the calls happen one after the other."""
    for call in calls:
        disk.begin(call)
        disk.end(call)


def written(root: Path) -> list[Call]:
    """Return the calls that make a file of two sectors."""
    data = b"a" * 512 + b"b" * 512
    return [
        Call("openat", [str(root / "file").encode()], ["AT_FDCWD", "", "O_CREAT"], 5),
        Call("pwrite64", [data], ["5", "", "1024", "0"], 1024),
    ]


def test_a_simulated_disk_may_lose_tear_or_keep_what_was_not_synced(tmp_path: Path) -> None:
    """Without any sync a new file is missing, empty, whole, or holds either of its sectors."""
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    play(disk, *written(root))
    a, b, zeros = b"a" * 512, b"b" * 512, bytes(512)
    assert {None, b"", a + b, a + zeros, zeros + b} <= crashes(disk, tmp_path, "file")


def test_a_simulated_disk_keeps_what_was_synced_and_only_that(tmp_path: Path) -> None:
    """After fdatasync the data is there, and after the fsync of the directory the name."""
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    play(disk, *written(root), Call("fdatasync", [], ["5"], 0))
    whole = b"a" * 512 + b"b" * 512
    (tmp_path / "before").mkdir()
    assert crashes(disk, tmp_path / "before", "file") == {None, whole}
    play(disk, Call("openat", [str(root).encode()], ["AT_FDCWD", "", "O_DIRECTORY"], 6), Call("fsync", [], ["6"], 0))
    assert crashes(disk, tmp_path, "file") == {whole}


def test_a_write_during_a_sync_is_not_covered_by_it(tmp_path: Path) -> None:
    """A sync covers what had been written when it began."""
    root = tmp_path / "disk"
    root.mkdir()
    (root / "file").write_bytes(b"a" * 512)
    disk = Disk(root)
    sync, write = Call("fdatasync", [], ["5"], 0), Call("pwrite64", [b"c" * 512], ["5", "", "512", "0"], 512)
    play(disk, Call("openat", [str(root / "file").encode()], ["AT_FDCWD", "", "O_WRONLY"], 5))
    disk.begin(sync)
    play(disk, write)
    disk.end(sync)
    assert crashes(disk, tmp_path, "file") == {b"a" * 512, b"c" * 512}


def test_calls_of_two_threads_overlap_in_a_trace() -> None:
    """A call that strace shows in two pieces begins at the first and ends at the second."""
    moments = list(
        parse(
            [
                r"11 fdatasync(5 <unfinished ...>",
                r'12 pwrite64(5, "\x61\x62", 2, 64) = 2',
                r"11 <... fdatasync resumed>)         = 0",
                r"12 +++ exited with 0 +++",
            ]
        )
    )
    assert [(begins, call.name) for begins, call in moments] == [
        (True, "fdatasync"), (True, "pwrite64"), (False, "pwrite64"), (False, "fdatasync"),
    ]  # fmt: skip
    assert moments[1][1] == Call("pwrite64", [b"ab"], ["5", '""', "2", "64"], 2)
