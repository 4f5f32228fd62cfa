"""Faults at system calls: each call of append, roll, cleanup, commit and creation kills the process, or fails, once."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from hft_mmap import Durability
from hft_mmap.testing import lose_power
from tests.torture.counts import Counts
from tests.torture.kills import acknowledged, check_twice, scratch
from tests.torture.nursery import Child, Nursery
from tests.torture.stream import FEW_BATCHES, SYMBOLS, Fault, Setting, Totals, streams
from tests.torture.tracing import traced

CALLS = ("pwrite64", "fdatasync", "fsync", "openat", "unlink", "rename", "ftruncate", "fallocate", "mkdir")
KILL, NO_SPACE, DISK_ERROR = "signal=SIGKILL", "error=ENOSPC", "error=EIO"
FAULTS = (KILL, NO_SPACE, DISK_ERROR)
BATCHES = 10
DOCUMENTED = frozenset({"DiskFull", "WriteFailed", "SeriesReadOnly", "SeriesSetAside", "StoreUnusable"})


@dataclass(frozen=True, slots=True)
class Trial:
    """Which call meets which fault, in which tier; the seed gives the batches."""

    seed: int
    call: str
    fault: str
    durability: Durability

    def __str__(self) -> str:
        """Return what shows it again."""
        return f"{self.fault} at {self.call}, tier {self.durability}, seed {self.seed}"


def fault_at_each(nursery: Nursery, trial: Trial, counts: Counts, numbers: Iterable[int]) -> None:
    """Run a session for each of `numbers`, with the fault at the use of the call of that number, while there is one.

    A thread counts its own calls: number n of the writer and of every flusher fail in the same session.
    """
    for n in numbers:
        injected = False
        with counts.judged(f"number {n}: {trial}"):
            injected = _fault_at(nursery, trial, str(n), writable=n % 2 == 0)
            counts.call_faults += injected
        if not injected:
            return


def fault_from(nursery: Nursery, trial: Trial, counts: Counts, *, first: int) -> None:
    """Run a session in which the call fails from its `first` use on, as on a disk that stays full or broken."""
    with counts.judged(f"from number {first} on: {trial}"):
        counts.call_faults += _fault_at(nursery, trial, f"{first}+", writable=True)


def _fault_at(nursery: Nursery, trial: Trial, when: str, *, writable: bool) -> bool:
    """Run one session and check what it leaves; return whether the fault came to pass."""
    setting = Setting(trial.seed, trial.durability.value, 64, 684, 292)
    all_streams = streams(setting, FEW_BATCHES)
    lasting = when.endswith("+")
    with scratch() as place:
        path, crashed, log = place / "data", place / "crashed", place / "trace"
        child = nursery.spawn(
            "session", path=str(path), setting=setting.fields(), batches=BATCHES, most_tries=4 if lasting else 100
        )
        inject = f"inject={trial.call}:{trial.fault}:when={when}"
        with traced(child, log, "-e", f"trace={trial.call}", "-e", inject):
            code = child.wait()
        nothing: Totals = (0,) * len(SYMBOLS)
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
