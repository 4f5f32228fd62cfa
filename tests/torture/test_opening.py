"""Recovery takes as long with many points as with few."""

from pathlib import Path

from hft_mmap import Store
from tests.torture.nursery import Nursery
from tests.torture.stream import SYMBOLS, Setting, prices
from tests.torture.tracing import needs_strace, traced

SETTING = Setting(0, "process", 1 << 20, 1 << 20, 1 << 20)


def calls_of_opening(nursery: Nursery, path: Path) -> tuple[int, int]:
    """Return how many system calls the opening takes, and how many bytes it reads with them."""
    log = path.with_suffix(".trace")
    child = nursery.spawn("reopen", path=str(path), setting=SETTING.fields())
    with traced(child, log, "-e", "trace=openat,mmap,pread64,fstat,pwrite64,fdatasync,unlink"):
        assert child.wait() == 0
    lines = [line for line in log.read_text().splitlines() if str(path) in line or "pread64(" in line]
    return len(lines), sum(int(line.rpartition("= ")[2]) for line in lines if "pread64(" in line)


@needs_strace
def test_opening_costs_the_same_for_any_number_of_points(nursery: Nursery, tmp_path: Path) -> None:
    """After a kill, a chunk with ten points and one with a million take the same calls and the same bytes read."""
    costs = []
    for points in (10, 1_000_000):
        path = tmp_path / f"store-{points}"
        store = Store(path, limits=SETTING.limits, durability="process")
        store.append(SYMBOLS[0], prices(1, 0, points).astype(float))
        store.sync()  # what no commit vouches for is read once more, whatever there is beside it
        # Not closed: nothing was stopped in order.
        costs.append(calls_of_opening(nursery, path))
        store.close()
    assert costs[0] == costs[1]
    assert costs[0][1] < 20_000
