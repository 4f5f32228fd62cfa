"""Devices that go away under a store, or take no more, and are back within one run of the machine; needs root.

Nothing tells the next process that memory is not what the disk has: the boot is the same, the head may be newer than
the points, and pages that a failed writeback has left count as clean.
"""

import fcntl
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hft_mmap import Durability, Store
from tests.torture.counts import Counts, Kind
from tests.torture.file_systems import XFS_BYTES, make, mounted
from tests.torture.kills import LONGEST_DELAY_S, check_twice
from tests.torture.nursery import Child, Nursery
from tests.torture.power import Bounds
from tests.torture.stream import FEW_BATCHES, SYMBOLS, Fault, Setting, State, streams

SIZES = {"ext4": 32 << 20, "xfs": XFS_BYTES}
FS_IOC_SHUTDOWN = 0x8004587D
"""What xfstests end a file system with, as if its device were gone: _IOR('X', 125, __u32)."""
TIMES = 4
LOG_FLUSHED, NOTHING_FLUSHED = 1, 2


@contextmanager
def thin(place: Path, size: str) -> Iterator[Path]:
    """Mount a memory file system that holds `size`: a file on it can be longer, and its writes then fail."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)  # noqa: S607
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


def widen(place: Path) -> None:
    """Let a memory file system hold whatever is written to it."""
    subprocess.run(["mount", "-o", "remount,size=500M", str(place)], check=True)  # noqa: S607


def drop_pages(data: Path) -> None:
    """Have memory drop what it holds of the files of points below `data` and counts as clean, as under pressure."""
    for path in data.glob("*/*.*"):  # of chunks, columns and groups: those of a head stay
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def shut_down(disk: Path, how: int) -> None:
    """Take the device of a mounted file system away: from now on every write and sync fails."""
    fd = os.open(disk, os.O_RDONLY)
    fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", how))
    os.close(fd)


def _session(nursery: Nursery, data: Path, setting: Setting, batches: int) -> Child:
    """Start a process that appends until it is through, or refused."""
    child = nursery.spawn("session", path=str(data), setting=setting.fields(), batches=batches, most_tries=1)
    child.start()
    return child


def _told(child: Child, bounds: Bounds) -> list[int]:
    """Wait for the end of a session and note what it told; return the newest total acknowledged of each symbol."""
    child.wait()
    acknowledged = list(bounds.least)
    for words in child.lines():
        if words[0] == "crash":
            raise Fault(f"the process failed: {' '.join(words[1:])}")
        bounds.told(" ".join(words).encode())
        if words[0] == "ack":
            acknowledged[int(words[1])] = int(words[2])
    return acknowledged


def shutdown_life(nursery: Nursery, seed: int, durability: Durability, times: int, counts: Counts) -> None:
    """Take the device away under a process that appends, again and again, and check what is there when it is back."""
    setting = replace(Setting.drawn(seed, durability), losses=True, grouped=seed % 3 > 0)
    generator = np.random.default_rng([seed, 92])
    kind = sorted(SIZES)[seed % 2]
    state: State = ((0, 0),) * len(SYMBOLS)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        make(kind, place / "image", SIZES[kind])
        for number in range(times):
            bounds = Bounds(state, durability)
            what = f"{kind} shut down, tier {durability}, time {number}, seed {seed}"
            with counts.judged(what):
                with mounted(place / "image", place / "disk") as disk:
                    child = _session(nursery, disk / "data", setting, FEW_BATCHES // (2 * times))
                    child.read_for(LONGEST_DELAY_S * 4 * generator.random())
                    shut_down(disk, int(generator.integers(LOG_FLUSHED, NOTHING_FLUSHED + 1)))
                    counts.add(Kind.DEVICES, durability)
                    _told(child, bounds)
                with mounted(place / "image", place / "disk") as disk:
                    before, state = state, _check(disk / "data", setting, bounds, None)
                    if any(start < was for (_, start), (_, was) in zip(state, before, strict=True)):
                        raise Fault(f"what was let go of for good is back: {before}, {state}")
            if counts.texts:
                return


def devices_life(nursery: Nursery, seed: int, durability: Durability, counts: Counts) -> None:
    """Do both some times."""
    shutdown_life(nursery, seed, durability, TIMES, counts)
    for number in range(TIMES):
        writeback_once(nursery, TIMES * seed + number, durability, counts)


def writeback_once(nursery: Nursery, seed: int, durability: Durability, counts: Counts) -> None:
    """Let a device run full under what was taken for written, drop the pages, give it space, and check what is there.

    In the same mount the head tells what is lost; where the file system was mounted anew, it may be gone as well.
    """
    setting = Setting(
        seed, durability.value, 4_194_304, 150_000_000, 100_000_000, symbols=1, sizes=(20_000, 70),
        ticks=seed % 4 >= 2, signed=seed % 8 >= 4, grouped=seed % 3 > 0,
    )  # fmt: skip
    generator = np.random.default_rng([seed, 91])
    what = f"failed writeback, tier {durability}, seed {seed}"
    with tempfile.TemporaryDirectory() as scratch, counts.judged(what):
        place = Path(scratch)
        with thin(place / "thin", f"{generator.integers(6, 16)}M") as holder:
            make("ext4", holder / "image", 200 << 20)
            bounds = Bounds(((0, 0),), durability)
            with mounted(holder / "image", place / "disk") as disk:
                acknowledged = _told(_session(nursery, disk / "data", setting, 1000), bounds)
                drop_pages(disk / "data")
                counts.add(Kind.WRITEBACKS, durability)
                widen(holder)
                if generator.integers(2) and _takes_files(disk):
                    _check(disk / "data", setting, bounds, acknowledged)
                    return
            with mounted(holder / "image", place / "disk") as disk:
                _check(disk / "data", setting, bounds, None)


def _takes_files(disk: Path) -> bool:
    """Say whether files can be made on `disk`; a file system whose own writes have failed is mounted anew first."""
    try:
        (disk / "file").touch()
    except OSError:
        return False
    return True


def _check(data: Path, setting: Setting, bounds: Bounds, acknowledged: list[int] | None) -> State:
    """Hold what is there against what was sent, and what is missing of `acknowledged` against what is told.

    It is opened for writing first: until then `verify` rightly says that the points are lost which a head has told of
    that came to the disk before them.
    """
    all_streams = streams(setting, FEW_BATCHES)
    with Store(data, limits=setting.limits) as store:
        missing = [] if acknowledged is None else [
            (stream.symbol, total - store.series(stream.symbol).total)
            for stream, total in zip(all_streams, acknowledged, strict=True)
        ]  # fmt: skip
        named = {loss.symbol: loss.points for loss in store.losses()}
    if untold := [(symbol, n) for symbol, n in missing if n > named.get(symbol, 0)]:
        raise Fault(f"points are missing, and nothing tells it: {untold}, {named}")
    return check_twice(data, setting, all_streams, (tuple(bounds.least), tuple(bounds.most)), writable=True)
