"""Thousands of hostile connections of all kinds at once, and what they take: `python -m tests.hostile.crowd COUNT`.

None of them has a token, all read nothing, and each that the service ends is replaced. They come from as many addresses
of loopback as there are kinds. Meanwhile the holder of a token asks for /stats on one connection that stays, and on new
ones. What is told at the end: the memory of the service, that of its TCP sockets in the kernel (those of its clients,
on the same machine, are not its own), the times of that holder while the crowd comes and once it is there, and how many
of its requests were not answered 200. With `--tls` the service speaks TLS, and the crowd begins handshakes.

`python -m tests.hostile.crowd COUNT --port PORT` is the crowd alone, against a service that runs.
"""

import argparse
import re
import resource
import selectors
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
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
_PAGE = b"GET /static/uplot.js HTTP/1.1\r\nHost: x\r\n"  # an answer that the kernel takes whole
_HELLO = bytes.fromhex("16030100c8010000c40303")
KINDS: dict[str, bytes] = {
    "silent": b"",
    "head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000,
    "headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: %b\r\n" % (i, b"a" * 600) for i in range(90)),
    "body": _HEAD + b" " * 189_999,
    "unread": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    "refused": b"GET /stats?symbol=A HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    "messages": _SOCKET + b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(100_000),
    "kept": _PAGE + b"\r\n",
    "closed": _PAGE + b"Connection: close\r\n\r\n",
    "half hello": _HELLO + bytes(100),
}
SOCKET_MEMORY = re.compile(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)")
_LOOK_S = 1.0
_A_TURN = 5
_MOST_OF_A_PROCESS = 10_000
_AGAIN_A_SECOND = 10


class Crowd:
    """The connections of this process."""

    def __init__(self, port: int, count: int, kinds: dict[str, bytes]) -> None:
        self._port = port
        self._count = count
        self._kinds = list(kinds.values())
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


def hello() -> bytes:
    """Return what a client of TLS sends first, whole: the service answers it with its certificate."""
    context = ssl.create_default_context()
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


def hold(port: int, count: int, *, tls: bool) -> None:
    """Be the crowd, for ever."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Crowd(port, count, KINDS | {"hello": hello(), "hello again": hello()} if tls else KINDS).run()


def tcp_bytes(port: int) -> int:
    """Return what the kernel keeps for the sockets of a service, those in its queue and closed ones among them."""
    command = ["ss", "--tcp", "--memory", "--numeric", "--all", "--no-header", "sport", "=", f":{port}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(sum(map(int, found.groups())) for found in SOCKET_MEMORY.finditer(told))


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
        self.failed: Counter[str] = Counter()

    def _connect(self) -> httpx.Client:
        limits = httpx.Limits(keepalive_expiry=None)
        return httpx.Client(base_url=self._url, headers=self._headers, timeout=60, limits=limits, verify=False)  # noqa: S501

    def ask(self) -> None:
        """Ask once."""
        begin = time.perf_counter()
        try:
            if len(self.times) % 10 == 0:
                what = "a new connection"
                with self._connect() as client:
                    status = client.get("/stats?symbol=A&k=1").status_code
            else:
                what = "the connection that stays"
                status = self.client.get("/stats?symbol=A&k=1").status_code
            if status != HTTPStatus.OK:
                self.failed[f"{status} on {what}"] += 1
        except httpx.HTTPError as error:
            self.failed[f"{error!r} on {what}"] += 1
        self.times.append(time.perf_counter() - begin)

    def told(self, first: int, last: int) -> str:
        """Return what was found of some of the requests."""
        times = self.times[first:last]
        p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else 0.0
        most = max(times, default=0.0)
        return f"{len(times)} requests of the token, p99 {p99 * 1000:.1f} ms, at most {most * 1000:.0f} ms"


@contextmanager
def crowds(port: int, count: int, *, tls: bool) -> Iterator[list[IO[str]]]:
    """Run as many crowds as the files of a process need; yield where each says that it is ready."""
    processes = -(-count // _MOST_OF_A_PROCESS)
    sizes = [len(range(first, count, processes)) for first in range(processes)]
    command = [sys.executable, "-m", "tests.hostile.crowd", "--port", str(port), *(["--tls"] if tls else [])]
    running = [subprocess.Popen([*command, str(size)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for size in sizes]
    try:
        yield [crowd.stdout for crowd in running if crowd.stdout is not None]
    finally:
        for crowd in running:
            crowd.kill()
            crowd.wait()


class Watched:
    """A service with a crowd before it, and what was seen of them."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        token = add(folder / "tokens", "desk", ["read", "write"])
        settings: dict[str, object] = {"auth.tokens_file": folder / "tokens"}
        if tls:
            _certificate(folder)
            settings |= {"server.tls_certificate": folder / "cert.pem", "server.tls_key": folder / "key.pem"}
        self._tls = tls
        self._service = Service(folder, settings).wait_until_serving()
        self._holder = Holder(self._service.url.replace("http", "https" if tls else "http"), token)
        self._holder.client.post("/add_batch", json={"symbol": "A", "values": [1.0, 2.0]})
        self._before = resident_bytes(self._service.process.pid)
        self._most = (0, 0, 0)
        self._looked = 0.0

    def _look(self) -> None:
        """Ask once, and note the memory once a second."""
        self._holder.ask()
        if time.monotonic() - self._looked > _LOOK_S:
            resident, tcp = resident_bytes(self._service.process.pid), tcp_bytes(self._service.port)
            self._most = max(self._most, (resident + tcp, resident, tcp))
            self._looked = time.monotonic()

    def under(self, count: int, seconds: float) -> None:
        """Stand it until all have come, and then for `seconds`; tell what was found."""
        begin = time.monotonic()
        with crowds(self._service.port, count, tls=self._tls) as said, selectors.DefaultSelector() as ready:
            for pipe in said:
                ready.register(pipe, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select(0.005):
                    ready.unregister(key.fileobj)
                self._look()
            came, came_s = len(self._holder.times), time.monotonic() - begin
            while time.monotonic() < begin + came_s + seconds:
                self._look()
            metrics = self._holder.client.get("/metrics").text.splitlines()
        told = [line for line in metrics if line.startswith(("hft_mmap_account_", "hft_mmap_connections"))]
        asked = self._holder
        told += [
            f"{count} connections; the service had {self._before / 1e6:.0f} MB before",
            "at most {:.0f} MB: {:.0f} of the service, {:.0f} of its sockets".format(*(n / 1e6 for n in self._most)),
            f"while they came, {came_s:.0f} s: {asked.told(0, came)}",
            f"once they were there, {seconds:.0f} s: {asked.told(came, len(asked.times))}",
            f"{asked.failed.total()} without a 200",
            *(f"    {count} x {what}" for what, count in asked.failed.items()),
        ]
        sys.stdout.write("\n".join([*told, ""]))

    def close(self) -> None:
        """Stop it."""
        self._holder.client.close()
        self._service.stop()


def _certificate(folder: Path) -> None:
    """Write a self-signed certificate, and its key."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "install the package openssl"
    how = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([openssl, "req", "-x509", *how, *files], cwd=folder, check=True, capture_output=True)


def measure(count: int, seconds: float, *, tls: bool) -> None:
    """Run a service, the crowd and the holder of a token, and tell what was found."""
    with tempfile.TemporaryDirectory() as folder, closing(Watched(Path(folder), tls=tls)) as watched:
        watched.under(count, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--tls", action="store_true")
    given = parser.parse_args()
    if given.port is None:
        measure(given.count, 30.0, tls=given.tls)
    else:
        hold(given.port, given.count, tls=given.tls)
