"""Every system call of the write path kills the process or fails: nothing is lost, every append is answered."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from hft_mmap import Durability
from tests.torture.calls import CALLS, DISK_ERROR, FAULTS, NO_SPACE, Session, Trial, fault_at, fault_from, uses
from tests.torture.counts import Counts, Kind
from tests.torture.http_calls import service_under_fault
from tests.torture.kills import scratch
from tests.torture.nursery import Nursery
from tests.torture.tracing import needs_strace, traced

pytestmark = needs_strace

_PATH = re.compile(r'/data(?:/([^/">]+))?(?:/([^/">]+))?[">]')

WRITE_PATH = {
    ("mkdir", "data"), ("fsync", "data"),  # the data directory
    ("mkdir", "making"), ("rename", "making"), ("openat", "head"), ("pwrite64", "head"), ("fsync", "head"),  # creation
    ("openat", "chunk"), ("ftruncate", "chunk"), ("fallocate", "chunk"), ("fsync", "making"),
    ("pwrite64", "chunk"),  # append, roll
    ("fdatasync", "chunk"), ("fdatasync", "head"), ("fsync", "series"),  # commit
    ("unlink", "chunk"),  # roll, cleanup
}  # fmt: skip
"""What the write path does with which files."""
COLUMN_PATH = {
    (call, column)
    for call in ("openat", "ftruncate", "fallocate", "pwrite64", "fdatasync", "unlink")
    for column in ("time", "size")
}
"""And with those of columns."""


def kind_of(line: str) -> str:
    """Return which kind of file a line of a trace is about."""
    found = _PATH.search(line)
    if found is None:
        return "other"
    directory, file = found.groups()
    if file:
        return file.rpartition(".")[2]
    if directory is None:
        return "data"
    return "making" if directory.startswith(".making-") else "series"


@pytest.mark.parametrize("ticks", [False, True], ids=["prices", "ticks"])
@pytest.mark.parametrize("durability", Durability)
def test_the_session_of_the_faults_takes_the_whole_write_path(
    nursery: Nursery, durability: Durability, *, ticks: bool
) -> None:
    """The session that the next tests fail call by call creates, appends, rolls, cleans up and commits."""
    session = Session.short(durability, 7, ticks=ticks)
    with scratch() as place:
        child = nursery.spawn(
            "session", path=str(place / "data"), setting=session.setting.fields(), batches=session.batches, most_tries=1
        )
        with traced(child, place / "trace", "-y", "-e", f"trace={','.join(CALLS)}"):
            assert child.wait() == 0
        lines = (place / "trace").read_text().splitlines()
    found = {(call, kind_of(line)) for line in lines for call in CALLS if f" {call}(" in line}
    assert (WRITE_PATH | COLUMN_PATH if ticks else WRITE_PATH) - found == set()


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.torture), 3], ids=["each", "third"])
@pytest.mark.parametrize("ticks", [False, True], ids=["prices", "ticks"])
@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("fault", FAULTS, ids=["death", "full disk", "disk error"])
def test_every_system_call_of_the_write_path_fails_once(
    nursery: Nursery, durability: Durability, fault: str, every: int, *, ticks: bool
) -> None:
    """Whichever call dies or fails, no acknowledged batch is lost, every append is answered, the store serves on.

    Each call with each fault in each tier in `make torture`. Else a Latin square of them, for a trial takes 50 ms of a
    processor: every call meets every fault, in one tier, and in every tier a fault.
    """
    session = Session.short(durability, 7, ticks=ticks)
    numbers = uses(nursery, session)
    found = {call: Counts() for call in CALLS}
    shift = list(Durability).index(durability) + FAULTS.index(fault)

    def fail_each(call: str) -> None:
        first = shift % every
        for n in sorted(numbers[call], key=lambda n: n % every != first):
            # How often a flusher calls depends on the machine: of each call one at least has to come to pass.
            if n % every == first or not found[call].of(Kind.CALL_FAULTS, durability):
                fault_at(nursery, Trial(session, call, fault), found[call], n)

    with ThreadPoolExecutor(2) as both_cores:
        list(both_cores.map(fail_each, sorted(CALLS, key=lambda call: -len(numbers[call]))))
    assert [text for counts in found.values() for text in counts.texts] == []
    assert [call for call, counts in found.items() if not counts.of(Kind.CALL_FAULTS, durability)] == []


@pytest.mark.parametrize(
    ("call", "fault"), [("pwrite64", NO_SPACE), ("pwrite64", DISK_ERROR), ("fdatasync", DISK_ERROR)]
)
@pytest.mark.parametrize("durability", Durability)
def test_a_disk_that_stays_full_or_broken_loses_nothing(
    nursery: Nursery, counts: Counts, call: str, fault: str, durability: Durability
) -> None:
    """From one call on everything fails: what was acknowledged before is there when the disk is well again."""
    fault_from(nursery, Trial(Session.drawn(durability, 10), call, fault), counts, first=12)
    assert (counts.of(Kind.CALL_FAULTS), counts.texts) == (1, [])


@pytest.mark.parametrize(
    ("call", "fault", "durability", "refusal"),
    [
        ("pwrite64", NO_SPACE, Durability.PROCESS, 507),
        ("pwrite64", NO_SPACE, Durability.SYNC, 507),
        ("pwrite64", DISK_ERROR, Durability.INTERVAL, 503),
        ("ftruncate", NO_SPACE, Durability.INTERVAL, 507),
        ("fdatasync", DISK_ERROR, Durability.SYNC, 503),
        ("fsync", DISK_ERROR, Durability.PROCESS, 503),
        ("unlink", DISK_ERROR, Durability.SYNC, 503),
    ],
)
def test_the_service_answers_every_request_while_calls_fail(
    nursery: Nursery, call: str, fault: str, durability: Durability, refusal: int
) -> None:
    """Over HTTP: 507 or 503 where a batch is not stored, exact reads all the while, and it serves on afterwards."""
    client = service_under_fault(nursery, Trial(Session.short(durability, 11), call, fault), first=3)
    assert set(client.refused) == {refusal}
