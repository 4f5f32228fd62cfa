"""Every system call of the write path kills the process or fails: nothing is lost, every append is answered."""

import pytest

from hft_mmap import Durability
from tests.torture.calls import CALLS, DISK_ERROR, KILL, NO_SPACE, Trial, fault_at_each, fault_from
from tests.torture.counts import Counts
from tests.torture.nursery import Nursery
from tests.torture.tracing import needs_strace

pytestmark = needs_strace

NUMBERS = {
    "pwrite64": (5, 40), "fdatasync": (2, 10), "fsync": (2, 5), "openat": (20, 60), "unlink": (4,), "rename": (2,),
    "ftruncate": (4,), "fallocate": (3,), "mkdir": (2,),
}  # fmt: skip
"""Which uses of a call fail in a quick test; `make torture` takes each."""
CASES = [(call, tuple(Durability)[i % 3]) for i, call in enumerate(CALLS)]


@pytest.mark.parametrize(("call", "durability"), CASES)
def test_death_at_a_system_call_loses_nothing(
    nursery: Nursery, counts: Counts, call: str, durability: Durability
) -> None:
    """A process that dies at a call of creation, append, roll, cleanup or commit leaves all it acknowledged."""
    fault_at_each(nursery, Trial(7, call, KILL, durability), counts, NUMBERS[call])
    assert (counts.call_faults, counts.texts) == (len(NUMBERS[call]), [])


@pytest.mark.parametrize(("call", "durability"), CASES)
def test_a_full_disk_at_a_system_call_is_answered_and_survived(
    nursery: Nursery, counts: Counts, call: str, durability: Durability
) -> None:
    """ENOSPC at one call: the append is taken or refused with a documented error, and the store serves on."""
    fault_at_each(nursery, Trial(8, call, NO_SPACE, durability), counts, NUMBERS[call])
    assert (counts.call_faults, counts.texts) == (len(NUMBERS[call]), [])


@pytest.mark.parametrize(("call", "durability"), CASES)
def test_a_disk_error_at_a_system_call_is_answered_and_survived(
    nursery: Nursery, counts: Counts, call: str, durability: Durability
) -> None:
    """EIO at one call: the append is taken or refused with a documented error, and the store serves on."""
    fault_at_each(nursery, Trial(9, call, DISK_ERROR, durability), counts, NUMBERS[call])
    assert (counts.call_faults, counts.texts) == (len(NUMBERS[call]), [])


@pytest.mark.parametrize(
    ("call", "fault"), [("pwrite64", NO_SPACE), ("pwrite64", DISK_ERROR), ("fdatasync", DISK_ERROR)]
)
@pytest.mark.parametrize("durability", Durability)
def test_a_disk_that_stays_full_or_broken_loses_nothing(
    nursery: Nursery, counts: Counts, call: str, fault: str, durability: Durability
) -> None:
    """From one call on everything fails: what was acknowledged before is there when the disk is well again."""
    fault_from(nursery, Trial(10, call, fault, durability), counts, first=12)
    assert (counts.call_faults, counts.texts) == (1, [])
