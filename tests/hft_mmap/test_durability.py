"""The three tiers: what an answer waits for, in which order it reaches the disk, and what a disk that fails leaves.

The system calls of a process of its own are recorded, or made to fail, by strace.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hft_mmap import Durability, OutOfRange, SeriesReadOnly, Store, StoreClosed
from hft_mmap.files.head import Head
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import PATIENCE_S, lose_power, restart_machine
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.hft_mmap.damage import slots
from tests.service import wait_until
from tests.torture.nursery import shared_nursery
from tests.torture.tracing import needs_strace, traced

_CALL = re.compile(r"\d+ +(\w+)\((\d+)<(.*?)>(.*)")
_SYNCS = {"fsync", "fdatasync"}

PROGRAM = """
import os, sys
import numpy as np
from hft_mmap import HftMmapError, Limits, Store
limits = Limits(starting_capacity=0, chunk_points=64)
marks = os.open(os.path.join(sys.argv[1], "marks"), os.O_WRONLY | os.O_CREAT)
def mark(name): os.write(marks, name.encode())
answers = []
def attempt(function, *arguments):
    try:
        answers.append(function(*arguments))
    except HftMmapError as error:
        answers.append(type(error).__name__)
"""


class Traced:
    """A program that ran under strace: its answers, and the calls between its marks, as (name, file)."""

    def __init__(self, directory: Path, program: str, *options: str) -> None:
        """Run `program` after PROGRAM; its first argument is `directory`, which holds the store `data`."""
        log = directory / "strace.log"
        self._directory = directory
        child = shared_nursery().spawn("program", source=PROGRAM + program, directory=str(directory))
        with traced(child, log, "-y", "-s", "16", *options):
            assert child.wait() == 0, child.lines()
        told = [" ".join(words) for words in child.lines()]
        self.answers: list[Any] = json.loads(told[0]) if told else []  # none of a program that ends itself
        self._lines = log.read_text().splitlines()

    def lines(self) -> list[str]:
        """Return everything that was recorded."""
        return self._lines

    def calls(self, begin: str, end: str) -> list[tuple[str, str]]:
        """Return the calls between two marks that touched the store, in the order in which they began."""
        found: list[tuple[str, str]] = []
        inside = False
        for line in self._lines:
            match = _CALL.match(line)
            if match is None:
                continue
            name, _, path, rest = match.groups()
            if path.endswith("/marks"):
                inside = f'"{begin}"' in rest or (inside and f'"{end}"' not in rest)
            elif inside and path.startswith(str(self._directory / "data")):
                found.append((name, os.path.relpath(path, self._directory / "data")))
        return found


RECORD = ("-e", "trace=pwrite64,write,fsync,fdatasync")
CHUNK = "A/00000000000000000000.chunk"
NEXT_CHUNK = "A/00000000000000000064.chunk"


@needs_strace
def test_a_sync_answer_comes_after_data_then_commit_are_on_the_disk(tmp_path: Path) -> None:
    """The order is: data, fdatasync, commit slot, fdatasync, answer; a new chunk's name is synced before the slot."""
    traced = Traced(
        tmp_path,
        """
with Store(sys.argv[1] + "/data", limits=limits, durability="sync") as store:
    store.append("A", np.ones(50))
    mark("begin")
    store.append("A", np.ones(10))
    mark("answered")
    store.append("A", np.ones(10))
    mark("rolled")
""",
        *RECORD,
    )
    assert traced.calls("begin", "answered") == [
        ("pwrite64", CHUNK),
        ("fdatasync", CHUNK),
        ("pwrite64", "A/head"),
        ("fdatasync", "A/head"),
    ]
    rolled = traced.calls("answered", "rolled")
    slot = rolled.index(("pwrite64", "A/head"))
    assert {("fdatasync", CHUNK), ("fdatasync", NEXT_CHUNK), ("fsync", "A")} <= set(rolled[:slot])
    assert ("fdatasync", "A/head") in rolled[slot:]
    last_data = max(i for i, (name, path) in enumerate(rolled[:slot]) if name == "pwrite64")
    first_sync = min(i for i, (name, path) in enumerate(rolled) if name in _SYNCS)
    assert last_data < first_sync


@needs_strace
def test_a_new_symbol_is_on_the_disk_before_it_takes_points(tmp_path: Path) -> None:
    """The head is synced, then the directory it is made in, then, under its name, the data directory."""
    traced = Traced(
        tmp_path,
        """
with Store(sys.argv[1] + "/data", limits=limits, durability="process") as store:
    mark("begin")
    store.append("A", np.ones(10))
    mark("answered")
""",
        *RECORD,
    )
    calls = traced.calls("begin", "answered")
    syncs = [re.sub(r"\.making-\w+", "MAKING", path) for name, path in calls if name in _SYNCS]
    first_points = calls.index(("pwrite64", CHUNK))
    assert syncs[:3] == ["MAKING/head", "MAKING", "."]
    assert all(call in calls[:first_points] for call in calls if call[0] in _SYNCS and call[1] == ".")


@needs_strace
def test_a_process_answer_waits_for_no_disk(tmp_path: Path) -> None:
    """In tier "process" an append is one write of points and no sync, whatever the number of appends."""
    traced = Traced(
        tmp_path,
        """
with Store(sys.argv[1] + "/data", limits=limits, durability="process") as store:
    store.append("A", np.ones(10))
    store.sync()
    # A request may be left of those that were asked for: the thread ends, and would begin again if it were asked.
    store._flusher.requests.put(None)
    store._flusher._thread.join()
    mark("begin")
    for _ in range(10):
        store.append("A", np.ones(5))
    mark("answered")
""",
        *RECORD,
    )
    assert traced.calls("begin", "answered") == [("pwrite64", CHUNK)] * 10


# -- a disk that fails ------------------------------------------------------------------------------------------------

FAILING = """
with Store(sys.argv[1] + "/data", limits=limits, durability="sync") as store:
    attempt(store.append, "A", np.ones(10))
    attempt(store.append, "A", np.ones(10))
    attempt(store.append, "A", np.ones(10))
    attempt(lambda: store.stats("A", 100).points)
    attempt(store.append, "B", np.ones(10))
    attempt(lambda: [(reason.symbol, reason.code) for reason in store.reasons()])
"""


@needs_strace
@pytest.mark.parametrize("file", [CHUNK, "A/head"])
def test_a_sync_that_fails_makes_the_series_read_only(tmp_path: Path, file: str) -> None:
    """The append is not acknowledged, later ones are refused, reads and other symbols go on, and /ready says why."""
    data = tmp_path / "data"
    fail = ("-P", str(data / file), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2+")
    traced = Traced(tmp_path, FAILING, *fail)
    assert traced.answers == [10, "SeriesReadOnly", "SeriesReadOnly", 20, 10, [["A", "read_only"]]]
    assert slots(data / "A")[0][1] == (10 if file == CHUNK else 20)


@needs_strace
@pytest.mark.parametrize("file", [CHUNK, "A/head"])
def test_the_next_start_puts_on_the_disk_what_a_failed_sync_left_in_doubt(tmp_path: Path, file: str) -> None:
    """Data and commit slot are written again before they are synced, for a page may be called clean and be lost."""
    fail = ("-P", str(tmp_path / "data" / file), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2+")
    Traced(tmp_path, FAILING, *fail)
    traced = Traced(
        tmp_path,
        """
mark("begin")
with Store(sys.argv[1] + "/data", limits=limits, durability="sync") as store:
    mark("opened")
    attempt(store.append, "A", np.ones(10))
    attempt(lambda: [report.faults for report in store.verify()])
""",
        *RECORD,
    )
    assert traced.answers == [30, [[], []]]
    calls = [call for call in traced.calls("begin", "opened") if call[1] in {CHUNK, "A/head"}]
    # The slot in doubt is on the disk before the next one replaces the one before it.
    slot = [("pwrite64", "A/head"), ("fdatasync", "A/head")]
    assert [call for call in calls if call[1] == "A/head"] == slot + slot
    if file == CHUNK:
        *written, last = [name for name, path in calls if path == CHUNK]
        assert last == "fdatasync"
        assert len(written) >= 2  # values and footer
        assert set(written) == {"pwrite64"}


@needs_strace
@pytest.mark.parametrize(
    ("when", "answers"),
    [
        ("2", [10, 20, 30, 30, 10, []]),
        ("2+", [10, "SeriesReadOnly", "SeriesReadOnly", 20, 10, [["A", "read_only"]]]),
    ],
)
def test_a_slot_that_cannot_be_written_is_tried_again(tmp_path: Path, when: str, answers: list[object]) -> None:
    """No sync has failed, so nothing is in doubt; only a fault that lasts makes the series read-only."""
    fail = (
        "-P",
        str(tmp_path / "data" / "A/head"),
        "-e",
        "trace=pwrite64",
        "-e",
        f"inject=pwrite64:error=EIO:when={when}",
    )
    traced = Traced(tmp_path, FAILING, *fail)
    assert traced.answers == answers
    assert slots(tmp_path / "data" / "A")[0][1] == (30 if when == "2" else 10)


@needs_strace
def test_what_is_sealed_is_not_synced_again(tmp_path: Path) -> None:
    """An opening costs the same for any number of chunks, its flusher included."""
    Traced(
        tmp_path, "with Store(sys.argv[1] + '/data', limits=limits) as store: store.append('A', np.ones(200))", *RECORD
    )
    traced = Traced(
        tmp_path,
        """
mark("begin")
with Store(sys.argv[1] + "/data", limits=limits) as store:
    store.append("A", np.ones(10))
mark("end")
""",
        *RECORD,
    )
    synced = [file for name, file in traced.calls("begin", "end") if name == "fdatasync" and file.endswith(".chunk")]
    assert set(synced) == {f"A/{chunk_name(192)}"}


@needs_strace
def test_a_sync_that_fails_in_one_process_stops_the_others(tmp_path: Path, start_store: StartStore) -> None:
    """Memory and disk may differ for every process of this boot, so none of them acknowledges anything more."""
    other = start_store(durability="sync")
    other.append("A", [1.0])
    fail = ("-P", str(tmp_path / "data" / CHUNK), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO")
    assert Traced(tmp_path, FAILING, *fail).answers[0] == "SeriesReadOnly"
    with pytest.raises(SeriesReadOnly, match="A is read-only since the disk failed"):
        other.append("A", [1.0])
    assert [(reason.symbol, reason.code) for reason in other.reasons()] == [("A", "read_only")]
    assert other.stats("A", 100).points == 11


@needs_strace
def test_a_disk_that_still_fails_at_the_next_start_keeps_the_series_read_only(tmp_path: Path) -> None:
    """What a failed sync left in doubt can't be made good, so nothing is acknowledged; reads go on."""
    data = tmp_path / "data"
    fail = ("-P", str(data / CHUNK), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2+")
    Traced(tmp_path, FAILING, *fail)
    fail = ("-P", str(data / CHUNK), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO")
    again = Traced(tmp_path, FAILING, *fail)
    assert again.answers == ["SeriesReadOnly"] * 3 + [20, 20, [["A", "read_only"]]]
    with Store(data) as store:
        assert store.reasons() == []
        assert store.append("A", [1.0]) == 21


@needs_strace
def test_a_write_that_fails_for_another_reason_than_space_is_refused_whole(tmp_path: Path) -> None:
    """EIO is a WriteFailed: nothing is stored, the series is not read-only, and the batch may be sent again."""
    traced = Traced(
        tmp_path,
        """
events = []
with Store(sys.argv[1] + "/data", limits=limits, on_event=lambda name, _: events.append(name)) as store:
    for size in (10, 10, 200, 200):
        attempt(store.append, "A", np.ones(size))
    attempt(lambda: [store.stats("A", 1000).points, "write_failed" in events, len(store.reasons())])
""",
        *("-P", str(tmp_path / "data" / CHUNK), "-e", "trace=pwrite64"),
        *("-e", "inject=pwrite64:error=EIO:when=3..5"),
    )
    assert traced.answers == [10, "WriteFailed", "WriteFailed", 210, [210, True, 0]]


# -- tiers in one process ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", Durability)
def test_every_tier_keeps_points_through_an_orderly_stop(tmp_path: Path, durability: Durability) -> None:
    """After close, a restart of the machine finds every point, in every tier."""
    with Store(tmp_path, durability=durability) as store:
        store.append("A", np.arange(1000.0))
    restart_machine(tmp_path)
    with Store(tmp_path) as store:
        assert np.array_equal(store.window("A", 10_000), np.arange(1000.0))


def test_points_are_committed_by_themselves_in_tier_interval(tmp_path: Path, open_store: OpenStore) -> None:
    """Nothing has to be called: a commit slot with the newest point follows, again and again."""
    store = open_store(durability="interval", sync_interval_ms=1)
    for total in (10, 20, 30):
        assert store.append("A", np.ones(10)) == total
        wait_until(partial(is_committed, tmp_path / "data" / "A", total), f"a commit of {total} points")


def is_committed(directory: Path, total: int) -> bool:
    """Say whether the newest commit slot has this total."""
    return slots(directory)[0][1] == total


def test_a_long_interval_does_not_delay_the_end(tmp_path: Path, open_store: OpenStore) -> None:
    """Closing commits at once, whatever the interval."""
    open_store(durability="interval", sync_interval_ms=60_000).append("A", np.ones(10))
    store = open_store(durability="interval", sync_interval_ms=60_000)
    store.append("A", np.ones(10))
    store.close()
    assert slots(tmp_path / "data" / "A")[0][1] == 20


def test_sync_waits_for_the_disk_in_every_tier(tmp_path: Path, open_store: OpenStore) -> None:
    """Store.sync() returns when everything appended before it is in a commit slot."""
    store = open_store(durability="process")
    for symbol in ("A", "B"):
        store.append(symbol, np.ones(10))
    store.sync()
    assert [slots(tmp_path / "data" / symbol)[0][1] for symbol in ("A", "B")] == [10, 10]


def test_a_sync_answer_is_in_a_commit_slot(tmp_path: Path, open_store: OpenStore) -> None:
    """When an append returns in tier "sync", the newest slot has its points."""
    store = open_store(durability="sync")
    for total in range(30, 300, 30):
        assert store.append("A", np.ones(30)) == total
        assert slots(tmp_path / "data" / "A")[0][1] >= total


def test_appends_that_come_together_share_a_flush(tmp_path: Path, open_store: OpenStore) -> None:
    """Group commit: while one flush is under way, many appends wait for the next one, and need only that."""
    store = open_store(durability="sync")
    store.append("A", [0.0])
    series = store.series("A")
    busy, go_on, done = threading.Event(), threading.Event(), threading.Semaphore(0)

    def keep_the_flusher(_error: BaseException | None) -> None:
        busy.set()
        go_on.wait(PATIENCE_S)

    series.on_durable(2, keep_the_flusher)
    series.append_nowait([1.0])
    assert busy.wait(PATIENCE_S)
    before = sequence_of(tmp_path)
    for _ in range(50):
        series.on_durable(series.append_nowait([1.0]), lambda _: done.release())
    go_on.set()
    assert all(done.acquire(timeout=PATIENCE_S) for _ in range(50))
    assert sequence_of(tmp_path) == before + 1


def sequence_of(directory: Path) -> int:
    """Return the sequence of the newest commit of A."""
    head = Head(directory / "data" / "A", writable=False)
    newest = head.commits()[0].sequence
    head.close()
    return newest


# -- what the opening trusts ------------------------------------------------------------------------------------------


@needs_strace
def test_a_slot_that_was_never_synced_is_synced_before_it_is_trusted(tmp_path: Path) -> None:
    """Killed between the slot of a cleanup and its sync: the next opening syncs it before it unlinks any chunk."""
    program = """
limits = Limits(starting_capacity=0, chunk_points=64, max_data_retention=300, cleanup_keep_count=100)
store = Store(sys.argv[1] + "/data", limits=limits, durability="sync")
real = os.fdatasync
def sync(fd):
    if store.series("A").total == 360 and os.readlink(f"/proc/self/fd/{fd}").endswith("/head"):
        os._exit(0)
    real(fd)
for _ in range(5):
    store.append("A", np.ones(60))
os.fdatasync = sync
store.append("A", np.ones(60))
"""
    Traced(tmp_path, program, *RECORD)
    assert slots(tmp_path / "data" / "A")[0][1] == 360
    again = Traced(
        tmp_path,
        """
mark("begin")
with Store(sys.argv[1] + "/data", durability="sync") as store:
    mark("opened")
""",
        *("-e", "trace=pwrite64,write,fdatasync,unlink"),
    )
    lines = "\n".join(again.lines())
    assert ".chunk" in lines
    assert re.search(r'fdatasync\(\d+<[^>]*/A/head>.*unlink\("[^"]*\.chunk', lines, re.DOTALL)


def test_points_after_an_orderly_stop_and_a_power_loss_are_not_missed_in_silence(tmp_path: Path) -> None:
    """The first append after the stop takes the clean flag back on the disk, also beside a process that closes."""
    data = tmp_path / "data"
    with Store(data, durability="process") as store:
        store.append("A", np.arange(10.0))
    running = Store(data, durability="process")
    running.append("A", np.arange(10.0))
    Store(data, durability="process").close()
    running.append("A", np.arange(5.0))
    shutil.copytree(data, tmp_path / "cut")
    running.close()
    lose_power(tmp_path / "cut")
    events: list[tuple[object, object]] = []

    def note(name: str, fields: Mapping[str, object]) -> None:
        if name == "recovery":
            events.append((fields["origin"], fields["total"]))

    with Store(tmp_path / "cut", on_event=note) as store:
        assert store.series("A").total == 20
    assert events == [("rolled_back", 20)]


def test_waiting_for_points_that_do_not_exist_is_refused_or_ends_with_the_store(open_store: OpenStore) -> None:
    """wait_durable says where the series ends; a callback hears of the close."""
    store = open_store()
    store.append("A", np.ones(10))
    with pytest.raises(OutOfRange, match="points below 11 of A do not exist: it ends at total 10"):
        store.wait_durable("A", 11)
    outcome: list[BaseException | None] = []
    store.on_durable("A", 11, outcome.append)
    store.close()
    assert [type(error) for error in outcome] == [StoreClosed]
