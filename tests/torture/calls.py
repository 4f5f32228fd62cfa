"""Faults at system calls: each call of creation, append, roll, cleanup and commit kills the process, or fails, once."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hft_mmap import Durability
from hft_mmap.testing import lose_power
from tests.torture.counts import Counts, Kind
from tests.torture.kills import acknowledged, check_twice, scratch
from tests.torture.nursery import Child, Nursery
from tests.torture.stream import FEW_BATCHES, Fault, Setting, Totals, streams
from tests.torture.tracing import traced

CALLS = ("pwrite64", "fdatasync", "fsync", "openat", "unlink", "rename", "ftruncate", "fallocate", "mkdir", "pread64")
KILL, NO_SPACE, DISK_ERROR = "signal=SIGKILL", "error=ENOSPC", "error=EIO"
FAULTS = (KILL, NO_SPACE, DISK_ERROR)
DOCUMENTED = frozenset({"DiskFull", "WriteFailed", "SeriesReadOnly", "SeriesSetAside", "StoreUnusable"})

_SHORT_WAIT_S = 0.2
_CALL = re.compile(r"(\d+) +(\w+)\(")
_OUR_FILE = re.compile(r"/data/[^\">]*(?:\.chunk|\.time|\.size|/head)[\">]")
_SYNCED = "O_RDONLY|O_CLOEXEC|O_DIRECTORY"
"""How a directory is opened that is to be synced; other openings for reading count if they are of our files."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a process does under the fault: so many batches for each symbol, then the close, and another opening."""

    setting: Setting
    batches: int

    @staticmethod
    def short(durability: Durability, seed: int, *, ticks: bool = False) -> "Session":
        """Return the shortest session there is with everything in it: creation, append, roll, cleanup, commits."""
        return Session(Setting(seed, durability.value, 64, 150, 20, symbols=1, sizes=(10, 70, 10, 70), ticks=ticks), 4)

    @staticmethod
    def drawn(durability: Durability, seed: int) -> "Session":
        """Return a session of two symbols with batches of any size."""
        return Session(Setting(seed, durability.value, 64, 684, 292, ticks=seed % 4 >= 2), 10)


@dataclass(frozen=True, slots=True)
class Trial:
    """Which call of which session meets which fault."""

    session: Session
    call: str
    fault: str

    @property
    def durability(self) -> Durability:
        """Return the tier."""
        return Durability(self.session.setting.durability)

    def __str__(self) -> str:
        """Return what shows it again."""
        return f"{self.fault} at {self.call}, tier {self.durability}, {self.session}"


def trials(session: Session) -> Iterator[Trial]:
    """Yield every fault at every kind of call of `session`."""
    for call in CALLS:
        for fault in FAULTS:
            yield Trial(session, call, fault)


def uses(nursery: Nursery, session: Session) -> dict[str, list[int]]:
    """Return, for each call, which of its uses in `session` belong to the write path, as numbers within a thread."""
    with scratch() as place:
        child, log = _spawned(nursery, session, place, 1, None), place / "trace"
        with traced(child, log, "-y", "-e", f"trace={','.join(CALLS)}"):
            child.wait()
        lines = log.read_text().splitlines()
    numbers: Counter[tuple[str, str]] = Counter()
    found: dict[str, set[int]] = {call: set() for call in CALLS}
    for line in lines:
        if match := _CALL.match(line):
            thread, call = match.groups()
            numbers[thread, call] += 1
            if _is_ours(call, line):
                found[call].add(numbers[thread, call])
    return {call: sorted(found[call]) for call in CALLS}


def _is_ours(call: str, line: str) -> bool:
    """Return whether a call belongs to the write path: Python makes some of these for itself."""
    if call == "openat":
        return "O_RDONLY" not in line or _SYNCED in line or _OUR_FILE.search(line) is not None
    return call != "pread64" or _OUR_FILE.search(line) is not None


def _spawned(nursery: Nursery, session: Session, place: Path, most_tries: int, close_wait_s: float | None) -> Child:
    return nursery.spawn(
        "session", path=str(place / "data"), setting=session.setting.fields(), batches=session.batches,
        most_tries=most_tries, close_wait_s=close_wait_s,
    )  # fmt: skip


def fault_at(nursery: Nursery, trial: Trial, counts: Counts, n: int) -> bool:
    """Run a session with the fault at the n-th use of the call; return whether it came to that.

    A thread counts its own calls: number n of the writer and of every flusher fail in the same session.
    """
    injected = False
    with counts.judged(f"number {n}: {trial}"):
        injected = _fault_at(nursery, trial, str(n), writable=n % 2 == 0)
        counts.add(Kind.CALL_FAULTS, trial.durability, int(injected))
    return injected


def fault_from(nursery: Nursery, trial: Trial, counts: Counts, *, first: int) -> None:
    """Run a session in which the call fails from its `first` use on, as on a disk that stays full or broken."""
    with counts.judged(f"from number {first} on: {trial}"):
        injected = _fault_at(nursery, trial, f"{first}+", writable=True)
        counts.add(Kind.CALL_FAULTS, trial.durability, int(injected))


def _fault_at(nursery: Nursery, trial: Trial, when: str, *, writable: bool) -> bool:
    """Run one session and check what it leaves; return whether the fault came to pass."""
    setting = trial.session.setting
    all_streams = streams(setting, FEW_BATCHES)
    lasting = when.endswith("+")
    with scratch() as place:
        path, crashed, log = place / "data", place / "crashed", place / "trace"
        # On a disk that stays broken each of the closes waits as long as it may, and nothing comes of it.
        tries, close_wait_s = (4, _SHORT_WAIT_S) if lasting else (100, None)
        child = _spawned(nursery, trial.session, place, tries, close_wait_s)
        inject = f"inject={trial.call}:{trial.fault}:when={when}"
        with traced(child, log, "-e", f"trace={trial.call}", "-e", inject):
            code = child.wait()
        nothing: Totals = (0,) * len(all_streams)
        taken = acknowledged(child, "ack", nothing)
        sent = acknowledged(child, "sent", taken)
        injected = code == -9 if trial.fault == KILL else "(INJECTED)" in log.read_text()
        if trial.fault != KILL:
            _check_answers(child, code, injected=injected, lasting=lasting)
        if path.exists():
            shutil.copytree(path, crashed)
        check_twice(path, setting, all_streams, (taken, sent), writable=writable)
        # And the power goes as well: what was called durable is still there.
        durable = acknowledged(child, "durable", taken if trial.durability is Durability.SYNC else nothing)
        if crashed.exists():
            lose_power(crashed)
        check_twice(crashed, setting, all_streams, (durable, sent), writable=not writable)
        return injected


def _check_answers(child: Child, code: int, *, injected: bool, lasting: bool) -> None:
    """Check that every append was answered, with an error that hft_mmap documents, and that all went well in the end.

    Where the fault is `lasting` it need not go well, only end in order.
    """
    lines = child.lines()
    refused = [line[2] for line in lines if line[0] == "refused"]
    if unknown := set(refused) - DOCUMENTED:
        raise Fault(f"refused with {unknown}")
    if refused and not injected:
        raise Fault(f"refused without a reason: {refused}")
    if code or not (lasting or lines[-1] == ["done"]):
        raise Fault(f"the store does not serve on: exit code {code}, {json.dumps(lines[-5:])}")
