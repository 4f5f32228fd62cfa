"""Thousands of hostile connections of all kinds at once, and what they take: `python -m tests.hostile.crowd COUNT`.

None of them has a token, all read nothing, and each that the service ends is replaced. They come from as many addresses
of loopback as there are kinds. Meanwhile the holder of a token asks for /stats on one connection that stays, and on new
ones. What is told at the end: the memory of the service and of TCP (both ends: the machine does not tell them apart),
the times of that holder, and how many of its requests were not answered 200.

`python -m tests.hostile.crowd PORT COUNT` is the crowd alone, against a service that runs.
"""

import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO

import httpx

from api.access.tokens import add
from tests.service import ROOT, Service

_HEAD = b"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 190000\r\n\r\n"
_SOCKET = (
    b"GET /stream?mode=ingest HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
KINDS: dict[str, bytes] = {
    "silent": b"",
    "head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000,
    "headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: %b\r\n" % (i, b"a" * 600) for i in range(90)),
    "body": _HEAD + b" " * 189_999,
    "unread": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    "refused": b"GET /stats?symbol=A HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    "messages": _SOCKET + b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(100_000),
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(100),
}
_A_TURN = 5
_MOST_OF_A_PROCESS = 10_000
_AGAIN_A_SECOND = 10


class Crowd:
    """The connections of this process."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._kinds = list(KINDS.values())
        self._left: dict[socket.socket, memoryview] = {}
        self._made = 0
        self._selector = selectors.EpollSelector()

    def run(self) -> None:
        """Hold them for ever."""
        told = False
        moment = time.monotonic()
        while True:
            now = time.monotonic()
            if not told or now - moment > 1 / _AGAIN_A_SECOND:
                moment = now
                for _ in range(min(1 if told else _A_TURN, self._count - len(self._left))):
                    self._open()
            if not told and self._made >= self._count:
                told = True
                print("ready", flush=True)  # noqa: T201
            for key, events in self._selector.select(0.01):
                assert isinstance(key.fileobj, socket.socket)
                self._turn(key.fileobj, events)

    def _open(self) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        connection.bind((f"127.0.1.{1 + self._made % len(self._kinds)}", 0))
        with suppress(BlockingIOError):
            connection.connect(("127.0.0.1", self._port))
        self._left[connection] = memoryview(self._kinds[self._made % len(self._kinds)])
        self._made += 1
        self._selector.register(connection, selectors.EVENT_WRITE)

    def _turn(self, connection: socket.socket, events: int) -> None:
        left = self._left[connection]
        try:
            if events & selectors.EVENT_WRITE:
                if left:
                    left = self._left[connection] = left[connection.send(left) :]
                if not left:  # from now on only its end is of interest: nothing is read
                    self._selector.modify(connection, selectors.EVENT_READ)
            elif not connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError
            else:
                self._selector.unregister(connection)  # an answer, which stays where it is
        except BlockingIOError:
            pass
        except OSError:
            with suppress(KeyError):
                self._selector.unregister(connection)
            del self._left[connection]
            connection.close()


def hold(port: int, count: int) -> None:
    """Be the crowd, for ever."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Crowd(port, count).run()


def tcp_bytes() -> int:
    """Return what the kernel keeps for TCP: all sockets of the machine."""
    (line,) = (line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    return int(line.split()[-1]) * resource.getpagesize()


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


class Holder:
    """The holder of a token, who asks for /stats: nine times on a connection that stays, then on a new one."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.client = self._connect()
        self.times: list[float] = []
        self.failed = 0

    def _connect(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self._headers, timeout=60)

    def ask(self) -> None:
        """Ask once."""
        begin = time.perf_counter()
        try:
            if len(self.times) % 10 == 0:
                with self._connect() as client:
                    status = client.get("/stats?symbol=A&k=1").status_code
            else:
                status = self.client.get("/stats?symbol=A&k=1").status_code
        except httpx.HTTPError:
            status = 0
        self.failed += status != HTTPStatus.OK
        self.times.append(time.perf_counter() - begin)

    def told(self) -> str:
        """Return what was found."""
        p99 = statistics.quantiles(self.times, n=100)[98]
        return (
            f"{len(self.times)} requests of the token: p99 {p99 * 1000:.1f} ms, "
            f"at most {max(self.times) * 1000:.0f} ms, "
            f"{self.failed} without a 200"
        )


@contextmanager
def crowds(port: int, count: int) -> Iterator[list[IO[str]]]:
    """Run as many crowds as the files of a process need; yield where each says that it is ready."""
    processes = -(-count // _MOST_OF_A_PROCESS)
    sizes = [len(range(first, count, processes)) for first in range(processes)]
    command = [sys.executable, "-m", "tests.hostile.crowd", str(port)]
    running = [subprocess.Popen([*command, str(size)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for size in sizes]
    try:
        yield [crowd.stdout for crowd in running if crowd.stdout is not None]
    finally:
        for crowd in running:
            crowd.kill()
            crowd.wait()


def measure(count: int, seconds: float) -> None:
    """Run a service, the crowd and the holder of a token, until all were open for `seconds`; tell what was found."""
    with tempfile.TemporaryDirectory() as folder:
        token = add(Path(folder, "tokens"), "desk", ["read", "write"])
        service = Service(Path(folder), {"auth.tokens_file": Path(folder, "tokens")}).wait_until_serving()
        pid = service.process.pid
        holder = Holder(service.url, token)
        holder.client.post("/add_batch", json={"symbol": "A", "values": [1.0, 2.0]})
        before, tcp_before, most = resident_bytes(pid), tcp_bytes(), (0, 0, 0)
        with crowds(service.port, count) as said, selectors.DefaultSelector() as ready:
            for pipe in said:
                ready.register(pipe, selectors.EVENT_READ)
            end = None
            while end is None or time.monotonic() < end:
                for key, _ in ready.select(0.005):
                    ready.unregister(key.fileobj)
                if end is None and not ready.get_map():
                    end = time.monotonic() + seconds
                holder.ask()
                resident, tcp = resident_bytes(pid), tcp_bytes() - tcp_before
                most = max(most, (resident + tcp, resident, tcp))
            metrics = holder.client.get("/metrics").text.splitlines()
            told = [line for line in metrics if line.startswith(("hft_mmap_account_", "hft_mmap_connections"))]
        told += [
            f"{count} connections; memory {before / 1e6:.0f} MB before",
            "at most {:.0f} MB: {:.0f} of the service, {:.0f} of TCP".format(*(size / 1e6 for size in most)),
            holder.told(),
        ]
        sys.stdout.write("\n".join([*told, ""]))
        holder.client.close()
        service.stop()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        hold(int(sys.argv[1]), int(sys.argv[2]))
    else:
        measure(int(sys.argv[1]), 30.0)
