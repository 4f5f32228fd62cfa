"""Redis: a list, and a Lua script that goes over its end."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives, Unavailable, peak_memory_bytes
from perf.peers.server import ServerProcess

_KEY = "prices"
_SLICE_POINTS = 5_000
# Two passes, so that the variance does not cancel; in slices, because Lua gets a table of strings for each.
_SCRIPT = f"""
local total = redis.call('LLEN', KEYS[1])
local first = math.max(total - tonumber(ARGV[1]), 0)
local low, high, sum, last = math.huge, -math.huge, 0, 0
for start = first, total - 1, {_SLICE_POINTS} do
    local stop = math.min(start + {_SLICE_POINTS}, total) - 1
    local slice = redis.call('LRANGE', KEYS[1], start, stop)
    for i = 1, #slice do
        last = tonumber(slice[i])
        sum = sum + last
        if last < low then low = last end
        if last > high then high = last end
    end
end
local count = total - first
local mean, squares = sum / count, 0
for start = first, total - 1, {_SLICE_POINTS} do
    local stop = math.min(start + {_SLICE_POINTS}, total) - 1
    local slice = redis.call('LRANGE', KEYS[1], start, stop)
    for i = 1, #slice do
        local distance = tonumber(slice[i]) - mean
        squares = squares + distance * distance
    end
end
local function exact(x) return string.format('%.17g', x) end
return {{exact(low), exact(high), exact(last), exact(mean), exact(squares / count)}}
"""


class RedisList(Peer):
    """A server on a Unix socket with one list."""

    def __init__(self) -> None:
        self._redis = load("redis", "redis")
        self._server: ServerProcess | None = None
        self._client: Any = None
        self._script: Any = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "Redis, list and Lua",
            f"Redis {self._client.info('server')['redis_version']}, {versions('redis', 'hiredis')}",
            "BSD-3-Clause (Redis 7.0, as Debian 12 has it)",
            Method.RESCAN,
            Survives.MOSTLY,
            "append-only file, synced once a second: power loss takes up to a second of appends",
            (
                (
                    "appendonly yes, appendfsync everysec (the documented default for durability), no RDB snapshots; "
                    "Unix socket; hiredis parser"
                ),
                "append: one RPUSH of the whole batch, each price as its shortest exact decimal text",
                (
                    f"query: EVALSHA of a Lua script that goes over LRANGE slices of {_SLICE_POINTS:,} twice: min, "
                    "max, last and mean, then the squared distances"
                ),
                "everything is in memory; the time-series module is not in Debian's package",
            ),
        )

    def open(self, path: Path) -> None:
        """Start the server and wait until it has loaded its file."""
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server was not found; on Debian and Ubuntu: apt-get install redis-server")
        socket = path / "redis.sock"
        command = [
            program, "--port", "0", "--unixsocket", str(socket), "--dir", str(path), "--appendonly", "yes",
            "--appendfsync", "everysec", "--save", "", "--daemonize", "no",
        ]  # fmt: skip
        self._server = ServerProcess(command, path)
        self._client = self._redis.Redis(unix_socket_path=str(socket), socket_timeout=600)
        self._server.wait_until(self._answers)
        self._script = self._client.register_script(_SCRIPT)

    def _answers(self) -> bool:
        """Tell whether it has loaded its data; a connection is refused, then answered with an error, before."""
        with suppress(self._redis.exceptions.ConnectionError):
            return bool(self._client.ping())
        return False

    def append(self, batch: Prices) -> None:
        """Push a batch."""
        self._client.rpush(_KEY, *batch.tolist())

    def query(self, window: int) -> Answer:
        """Run the script."""
        return Answer(*(float(text) for text in self._script(keys=[_KEY], args=[window])))

    def close(self) -> None:
        """Stop the server; it syncs its file before it ends."""
        assert self._server is not None
        self._client.close()
        self._server.stop()

    def peak_memory_bytes(self) -> int:
        """Return VmHWM of the server."""
        assert self._server is not None
        return peak_memory_bytes(self._server.pid)
