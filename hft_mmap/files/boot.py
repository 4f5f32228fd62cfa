"""Which run of the machine this is: what tells a dead process (page cache intact) from a dead machine."""

import os
import time
from pathlib import Path
from typing import NamedTuple

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_UUID_CHARACTERS = 36


class Boot(NamedTuple):
    """One run of the machine: its boot id (16 bytes) and a time on its clock (ns since boot, suspend included)."""

    boot_id: bytes
    clock_ns: int


def current_boot() -> Boot:
    """Return the present run of the machine and the time on its clock."""
    # PERF: for each series that is opened: with pathlib and uuid this takes five times as long.
    fd = os.open(BOOT_ID_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, _UUID_CHARACTERS)
    finally:
        os.close(fd)
    return Boot(bytes.fromhex(text.replace(b"-", b"").decode()), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def is_same_boot(recorded: Boot, now: Boot) -> bool:
    """Say whether `recorded` was taken earlier in the run of the machine that `now` was taken in.

    The clock guards against boot ids that do not change (some containers): a clock that went back was restarted.
    Wall-clock boot time is no such guard, because NTP steps it within one run.
    """
    return recorded.boot_id == now.boot_id and recorded.clock_ns <= now.clock_ns
