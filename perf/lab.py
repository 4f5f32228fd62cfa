"""Where benchmarks keep their data: series made once and shared, and scratch directories on the same disk."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hft_mmap
from hft_mmap import Durability, Limits, Store
from perf.prices import BLOCK_POINTS, BLOCKS, day_blocks

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY_VARIABLE = "HFT_PERF_DIR"
SYMBOL = "ABC-USD"
DAY = "day"
# One series as large as the default retention allows, and as many symbols as a mixed load needs.
ROOMY = Limits(max_data_retention=1_000_000_000, cleanup_keep_count=1_000_000_000, max_symbols=100)


def default_directory() -> Path:
    """Return $HFT_PERF_DIR, or hft-mmap-perf in the user's cache directory."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hft-mmap-perf"


def _fingerprint() -> str:
    """Return what tells series made by this version of the store from those of another."""
    digest = hashlib.sha256()
    for source in sorted(Path(hft_mmap.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


class Lab:
    """A directory of benchmark data. Any number of processes may use one at a time."""

    def __init__(self, directory: Path | None = None) -> None:
        """Use `directory` (made if missing), and clear away what a killed benchmark left in it."""
        self.directory = (directory or default_directory()).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        for left in self.directory.glob("scratch-*"):
            pid = left.name.split("-")[1]
            if not Path("/proc", pid).exists():
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a new empty directory; it is removed afterwards."""
        path = Path(tempfile.mkdtemp(prefix=f"scratch-{os.getpid()}-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def stored(self, points: int, kind: str = "series") -> Path:
        """Return a data directory that holds `points` points of SYMBOL, made at first use; only read it.

        The prices are of a `kind` of perf.prices.BLOCKS; or DAY, which has times and sizes, and groups.
        """
        path = self.directory / f"{kind}-{points}-{_fingerprint()}"
        with (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                for older in self.directory.glob(f"{kind}-{points}-*"):
                    shutil.rmtree(older)
                with self.scratch() as making:
                    if kind == DAY:
                        fill_day(making / "data", points)
                    else:
                        fill(making / "data", points, kind=kind)
                    (making / "data").rename(path)
        return path

    @contextmanager
    def borrowed(self, points: int) -> Iterator[Path]:
        """Yield a data directory as `stored` gives it, to be appended to at will; costs no second copy of the data.

        Full chunks never change, so they are linked; the head and the newest chunk are copied.
        """
        with self.scratch() as scratch:
            data = scratch / "data"
            for source in sorted(self.stored(points).iterdir()):
                if source.is_dir():
                    target = data / source.name
                    target.mkdir(parents=True)
                    *full, newest = sorted(source.glob("*.chunk"))
                    for chunk in full:
                        os.link(chunk, target / chunk.name)
                    shutil.copyfile(newest, target / newest.name)
                    shutil.copyfile(source / "head", target / "head")
            yield data


def fill(data: Path, points: int, symbol: str = SYMBOL, *, kind: str = "series") -> None:
    """Append `points` prices of a `kind` to `symbol` of the store at `data`, and close it in order."""
    with Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
        left = points
        for block in BLOCKS[kind]():
            store.append(symbol, block[:left])
            left -= BLOCK_POINTS
            if left <= 0:
                return


def fill_day(data: Path, points: int) -> None:
    """Append a day of `points` ticks to SYMBOL of the store at `data`, make its groups, and close it in order."""
    with Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
        for prices, times, sizes in day_blocks(points):
            store.append(SYMBOL, prices, times=times, sizes=sizes)
        store.summarise(SYMBOL)
