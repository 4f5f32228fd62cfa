"""PostgreSQL: a private cluster on a Unix socket, one table, COPY in and a window query out."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives, Unavailable, peak_memory_bytes, status_bytes
from perf.peers.server import ServerProcess

_ACCOUNT = "postgres"  # who runs the cluster when root may not
_SETTINGS = {
    "listen_addresses": "",
    "synchronous_commit": "off",
    "shared_buffers": "2GB",
    "effective_cache_size": "12GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "4GB",
}
_COLUMNS = "min(price), max(price), (SELECT price FROM prices ORDER BY seq DESC LIMIT 1), avg(price), var_pop(price)"
_QUERY = f"SELECT {_COLUMNS} FROM prices WHERE seq >= %s"  # noqa: S608 - constants

# A row of COPY's binary format: the number of fields, then length and value of each, all big-endian.
_ROW = np.dtype([("fields", ">i2"), ("seq_bytes", ">i4"), ("seq", ">i8"), ("price_bytes", ">i4"), ("price", ">f8")])
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER = b"\xff\xff"


def _program(name: str) -> str:
    """Return the path of a PostgreSQL program; Debian keeps them out of PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda found: int(found.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} was not found; on Debian and Ubuntu: apt-get install postgresql")
    return found


class Postgres(Peer):
    """A cluster of its own with a table (seq bigint PRIMARY KEY, price double precision)."""

    def __init__(self) -> None:
        self._psycopg = load("psycopg", "psycopg")
        self._server: ServerProcess | None = None
        self._connection: Any = None
        self._total = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        chosen = ", ".join(f"{name} {value}" for name, value in _SETTINGS.items() if value)
        return Facts(
            "PostgreSQL",
            f"PostgreSQL {self._connection.info.server_version // 10_000}, {versions('psycopg')}",
            "PostgreSQL licence",
            Method.RESCAN,
            Survives.MOSTLY,
            "synchronous_commit off: a crash or power loss takes at most 3 times wal_writer_delay (600 ms) of commits",
            (
                f"{chosen}; otherwise defaults; Unix socket; bytes on disk include the write-ahead log kept for reuse",
                "table (seq bigint PRIMARY KEY, price double precision): the index makes small windows fast",
                "append: COPY … FROM STDIN (FORMAT binary), one transaction a batch; rows are packed with NumPy",
                "VACUUM (ANALYZE) once after the last append, not in the figures, as after any bulk load",
                f"query: {_QUERY.replace('%s', 'total - window')}",
                (
                    "peak memory: VmHWM of the connection's process, its shared buffers included, plus the private "
                    "memory of the others"
                ),
            ),
        )

    def open(self, path: Path) -> None:
        """Start the cluster, made at first."""
        user = _ACCOUNT if os.geteuid() == 0 else None
        data = path / "cluster"
        if not (data / "PG_VERSION").exists():
            initdb = _program("initdb")
            data.mkdir(mode=0o700)
            if user:
                try:
                    shutil.chown(data, user, user)
                except LookupError as error:
                    raise Unavailable(f"PostgreSQL does not run as root, and there is no user {user}") from error
            subprocess.run(
                [initdb, "--auth=trust", "--username=peer", "--encoding=UTF8", "--locale=C", "-D", str(data)],
                cwd=data, check=True, capture_output=True, user=user, group=user,
            )  # fmt: skip
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "unix_socket_directories": str(data)}.items()]
        self._server = ServerProcess([_program("postgres"), "-D", str(data), *settings], path, user=user)
        self._server.wait_until(lambda: self._connects(data))
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS prices (seq bigint PRIMARY KEY, price double precision NOT NULL)"
        )
        self._total = self._connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM prices").fetchone()[0]

    def _connects(self, data: Path) -> bool:
        with suppress(self._psycopg.OperationalError):
            self._connection = self._psycopg.connect(
                f"host={data} user=peer dbname=postgres", autocommit=True, prepare_threshold=0
            )
            return True
        return False

    def append(self, batch: Prices) -> None:
        """Copy a batch."""
        rows = np.empty(len(batch), dtype=_ROW)
        rows["fields"], rows["seq_bytes"], rows["price_bytes"] = 2, 8, 8
        rows["seq"] = np.arange(self._total, self._total + len(batch))
        rows["price"] = batch
        with self._connection.cursor() as cursor, cursor.copy("COPY prices FROM STDIN (FORMAT binary)") as copy:
            copy.write(_COPY_HEADER + rows.tobytes() + _COPY_TRAILER)
        self._total += len(batch)

    def settle(self) -> None:
        """Let the planner and index-only scans know about the rows."""
        self._connection.execute("VACUUM (ANALYZE) prices")

    def query(self, window: int) -> Answer:
        """Aggregate the window."""
        return Answer(*self._connection.execute(_QUERY, (self._total - window,)).fetchone())

    def close(self) -> None:
        """Stop the cluster; it writes a checkpoint."""
        assert self._server is not None
        self._connection.close()
        self._server.stop(signal.SIGINT)  # "fast": ends connections, then stops in order

    def peak_memory_bytes(self) -> int:
        """Return VmHWM of the connection's process, and what the others hold on their own."""
        assert self._server is not None
        family = self._server.pid
        mine = self._connection.info.backend_pid
        children = Path(f"/proc/{family}/task/{family}/children").read_text(encoding="ascii").split()
        others = [family, *(int(child) for child in children if int(child) != mine)]
        return peak_memory_bytes(mine) + sum(status_bytes(pid, "RssAnon") for pid in others)
