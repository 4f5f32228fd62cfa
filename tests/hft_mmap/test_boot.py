"""Which run of the machine this is."""

import time
import uuid

from hft_mmap.files.boot import BOOT_ID_FILE, Boot, current_boot, is_same_boot


def test_the_present_boot_is_the_kernels() -> None:
    """The boot id is that of the kernel, the clock that of the run, suspend included."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    boot = current_boot()
    assert uuid.UUID(bytes=boot.boot_id) == uuid.UUID(BOOT_ID_FILE.read_text().strip())
    assert before <= boot.clock_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_an_earlier_time_of_this_run_is_the_same_boot() -> None:
    """What was recorded earlier in this run of the machine, or right now, belongs to it."""
    now = current_boot()
    assert is_same_boot(now._replace(clock_ns=now.clock_ns - 1), now)
    assert is_same_boot(now, now)


def test_another_boot_id_is_another_boot() -> None:
    """A different id is a different run, however the clocks stand."""
    now = current_boot()
    assert not is_same_boot(Boot(bytes(16), now.clock_ns - 1), now)


def test_a_clock_that_went_back_is_another_boot() -> None:
    """Where the id does not change with a restart (some containers), the clock tells."""
    now = current_boot()
    assert not is_same_boot(now._replace(clock_ns=now.clock_ns + 1), now)
