"""A process that is stopped where it has just taken a lock, is about to, or has given one back.

It holds up nobody but its series, and goes on as if nothing had been.
"""

import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability, SeriesBusy, Store
from tests.service import wait_until
from tests.torture.kills import scratch
from tests.torture.nursery import Child, Nursery
from tests.torture.tasks import SHARED_LIMITS
from tests.torture.tracing import needs_strace, traced

pytestmark = needs_strace

_LOCKING = re.compile(
    r"(\d+) +(?:(flock|fcntl)\(\d+<[^>]*/data/[^>]*>, (?:LOCK_|F_OFD_SETLK)"
    r'|(mkdir)\("[^"]*/\.making-|(openat)\(AT_FDCWD[^,]*, "[^"]*/\.making-[^"/]*",)'
)
"""Calls that take or give back a lock, and those that come before the one that tells what is made from leftovers."""
_COUNTED = re.compile(r"(\d+) +(flock|fcntl|mkdir|openat)\(")
_STOPPED = "--- stopped by SIGSTOP ---"
APPENDED = 160
OWN = ("X", "Y", "Z")
OTHER = 0.5
"""The price that this process appends: the child's are whole numbers."""


def locks(nursery: Nursery, durability: Durability) -> list[tuple[str, int]]:
    """Return each call to stop at, with its number within its thread, where there is a process beside it."""
    with scratch() as place:
        data, log = place / "data", place / "trace"
        beside = Beside(data, durability)
        child = nursery.spawn("sharing", path=str(data), durability=durability.value)
        with traced(child, log, "-y", "-e", "trace=flock,fcntl,mkdir,openat"):
            assert child.wait() == 0, child.lines()
        beside.end()
        lines = log.read_text().splitlines()
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], None] = {}
    for line in lines:
        if match := _COUNTED.match(line):
            thread, call = match.groups()
            counts[thread, call] += 1
            if _LOCKING.match(line):
                found[call, counts[thread, call]] = None
    return list(found)


def check(values: np.ndarray, others: int) -> None:
    """Make sure that the points are those that the child appended in their order, and at most so many of others."""
    own = values[values != OTHER]
    assert (np.diff(own) == 1).all()
    assert len(values) - len(own) <= others


class Beside:
    """A process beside the one that is stopped: this one."""

    def __init__(self, data: Path, durability: Durability) -> None:
        """Open a store that has three series of its own."""
        self._store = Store(data, limits=SHARED_LIMITS, durability=durability, sync_interval_ms=1)
        for symbol in OWN:
            self._store.append(symbol, [0.0])
        self._data = data
        self.taken = 0
        self.busy = 0

    def use(self) -> None:
        """Do everything that another process may not hold up, and try what it may: none of it waits for long.

        Whoever opens or closes a store holds one series after the other, and its flusher another one: so two of those
        here may be held, never all three.
        """
        with Store(self._data, mode="r") as reader:
            for info in reader.symbols():
                if info.symbol == "A" and info.count:
                    check(reader.window("A", 1000), self.taken)
        self.taken += self._append("A") is not None
        own = [self._store.series(symbol) for symbol in OWN]
        before = [series.total for series in own]
        wait_until(lambda: set(map(self._append, OWN)) != {None}, "an append to another series")
        if self._store.durability is not Durability.PROCESS:
            wait_until(
                lambda: any(series.committed_total > total for series, total in zip(own, before, strict=True)),
                "a commit of another series",
            )
        for symbol in OWN:
            assert self._store.stats(symbol, 1000).max <= OTHER
        assert set(OWN) <= {info.symbol for info in self._store.symbols()}
        self._store.reasons()
        Store(self._data, limits=SHARED_LIMITS).close()

    def _append(self, symbol: str) -> int | None:
        try:
            return self._store.append_nowait(symbol, [OTHER], wait_s=0)
        except SeriesBusy:
            self.busy += 1
            return None

    def end(self) -> None:
        """Check what there is in the end, then close."""
        values = self._store.window("A", 1000)
        check(values, self.taken)
        assert self._store.series("A").total == APPENDED + self.taken
        assert values[values != OTHER][-1] == APPENDED
        assert [report.faults for report in self._store.verify() if report.faults] == []
        self._store.close()


def _stops(log: Path) -> int:
    return log.read_text().count(_STOPPED) if log.exists() else 0


def _run(child: Child, log: Path, beside: Beside) -> int:
    """Use the store at each stop of the child, and let it go on; return how often it stopped."""
    stops = 0

    def stopped_or_ended() -> bool:
        child.read_for(0.001)
        return _stops(log) > stops or child.has_ended

    while True:
        wait_until(stopped_or_ended, "the next stop of a child, or its end")
        if _stops(log) == stops:
            return stops
        stops += 1
        beside.use()
        os.kill(child.pid, signal.SIGCONT)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.torture), 3], ids=["each", "third"])
@pytest.mark.parametrize("durability", Durability)
def test_a_stopped_process_holds_up_its_series_alone(
    durability: Durability, every: int, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its locks: queries, other series, openings, the close go on; its own goes on when it does.

    At each in each tier in `make torture`, else at each in one of the tiers, which takes 7 s of a processor.
    """
    monkeypatch.setattr("hft_mmap.directory.starting._HELD_WAIT_S", 0.1)
    monkeypatch.setattr("hft_mmap.store.CLOSE_WAIT_S", 0.2)

    def stop(call: str, number: int) -> tuple[int, int]:
        with scratch() as place:
            data, log = place / "data", place / "trace"
            beside = Beside(data, durability)
            child = nursery.spawn("sharing", path=str(data), durability=durability.value)
            with traced(child, log, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGSTOP:when={number}"):
                try:
                    stops = _run(child, log, beside)
                    assert (child.wait(), child.lines()[-1]) == (0, ["done"]), (call, number, child.lines())
                except BaseException:
                    child.end()
                    raise
            beside.end()
            return stops, beside.busy

    places = locks(nursery, durability)[list(Durability).index(durability) % every :: every]
    with ThreadPoolExecutor(4) as waiting:
        found = list(waiting.map(lambda one: stop(*one), places))
    assert sum(stops for stops, _ in found) >= 10
    assert sum(busy for _, busy in found) >= 1
