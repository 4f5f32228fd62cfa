"""hft-mmap itself: as a library in this process, and as the service over HTTP."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from hft_mmap import Limits, Store
from perf.peers.http_client import SYMBOL, StatsClient
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives, peak_memory_bytes
from perf.peers.server import ServerProcess

_RETENTION = 1_000_000_000
_SYNC_INTERVAL_MS = 50
_DURABILITY = (
    'tier "interval": an append survives kill -9 at once, and power loss once the next fdatasync, which starts at most '
    f"{_SYNC_INTERVAL_MS} ms later, has returned"
)


_SYNC_DURABILITY = 'tier "sync": an append has survived power loss once it returns, for it is synced before'


def _facts(title: str, *settings: str, survives: Survives = Survives.MOSTLY, promise: str = _DURABILITY) -> Facts:
    kept = f"max_data_retention {_RETENTION:,}, so that nothing is removed; all other settings are the defaults"
    return Facts(
        title,
        f"hft-mmap {version('hft-mmap')}",
        "MIT",
        Method.TREE,
        survives,
        promise,
        (*settings, kept),
        ours=True,
    )


class Library(Peer):
    """The store in this process."""

    durability = "interval"

    def __init__(self) -> None:
        self._store: Store | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return _facts("hft-mmap, library", "Store.append and Store.stats in the measured process")

    def open(self, path: Path) -> None:
        """Open the store."""
        limits = Limits(max_data_retention=_RETENTION, cleanup_keep_count=_RETENTION)
        self._store = Store(
            path / "data", limits=limits, durability=self.durability, sync_interval_ms=_SYNC_INTERVAL_MS
        )

    def append(self, batch: Prices) -> None:
        """Append a batch."""
        assert self._store is not None
        self._store.append(SYMBOL, batch)

    def query(self, window: int) -> Answer:
        """Ask for a window."""
        assert self._store is not None
        return Answer(*self._store.stats(SYMBOL, window)[:5])

    def close(self) -> None:
        """Close the store: everything is on the disk then."""
        assert self._store is not None
        self._store.close()


class LibrarySync(Library):
    """The same in tier `sync`: beside the stores that promise as much."""

    durability = "sync"

    def facts(self) -> Facts:
        """Return what the report says."""
        return _facts(
            "hft-mmap, library, tier sync", "Store.append and Store.stats in the measured process",
            survives=Survives.ALL, promise=_SYNC_DURABILITY,
        )  # fmt: skip


class Service(Peer):
    """The service in a process of its own, asked over one kept connection."""

    def __init__(self) -> None:
        self._server: ServerProcess | None = None
        self._client: StatsClient | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return _facts(
            "hft-mmap, HTTP", "POST /add_batch/ and GET /stats/?window=… over one kept connection, JSON both ways"
        )

    def open(self, path: Path) -> None:
        """Start the service on a free port."""
        variables = {
            "APP_SERVER__PORT": "0", "APP_STORE__DATA_DIR": str(path / "data"), "APP_LOG__FILE": "",
            "APP_STORE__MAX_DATA_RETENTION": str(_RETENTION), "APP_STORE__CLEANUP_KEEP_COUNT": str(_RETENTION),
            "APP_STORE__DURABILITY": "interval", "APP_STORE__SYNC_INTERVAL_MS": str(_SYNC_INTERVAL_MS),
        }  # fmt: skip
        command = [sys.executable, "-m", "api.cli.command", "serve"]
        self._server = ServerProcess(command, path, variables=variables)
        self._server.wait_until(lambda: self._port() is not None)
        port = self._port()
        assert port is not None
        self._client = StatsClient(port)

    def _port(self) -> int | None:
        """Return where the service says that it listens; None until then."""
        assert self._server is not None
        for line in self._server.text().splitlines(keepends=True):
            if '"serving"' in line and line.endswith("\n"):
                return int(json.loads(line)["port"])
        return None

    def append(self, batch: Prices) -> None:
        """Append a batch."""
        assert self._client is not None
        self._client.append(batch)

    def query(self, window: int) -> Answer:
        """Ask for a window."""
        assert self._client is not None
        return self._client.query(window)

    def close(self) -> None:
        """Stop the service in order."""
        assert self._client is not None
        assert self._server is not None
        self._client.close()
        self._server.stop()

    def peak_memory_bytes(self) -> int:
        """Return VmHWM of the service."""
        assert self._server is not None
        return peak_memory_bytes(self._server.pid)
