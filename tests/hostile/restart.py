"""How long a restart keeps a client waiting while others send half requests: `python -m tests.hostile.restart`.

As under systemd the listening socket stays open, so whoever comes waits in its queue. Of each kind of half request
there are some connections when the service is told to stop; the next process starts as soon as it has. Meanwhile a
client asks on a new connection, again and again; its longest wait is told, and that of a restart with nobody else.
"""

import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from api.access.tokens import add
from tests.service import Service, as_systemd

_BODY = b"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %b\r\n"
_COUNT = 20
_RUNS = 3


def kinds(token: str) -> dict[str, bytes]:
    """Return what half requests there are; `token` is one that may write and read."""
    body = _BODY % token.encode()
    unread = b"GET /values?symbol=A HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % token.encode()
    return {
        "nobody else": b"",
        "half heads": b"GET / HTTP/1.1\r\nX",
        "half bodies": body + b"Content-Length: 100\r\n\r\n{",
        "half large bodies": body + b"Content-Length: 1000000\r\n\r\n" + b" " * 400_000,
        "answers that nobody reads": unread * 20,
    }


class Restarts:
    """A service behind a socket that stays, its next processes, and the waits of a client."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder = folder
        self._listener = listener
        self.token = add(folder / "tokens", "desk", ["read", "write"])
        self.port = listener.getsockname()[1]
        self._service = self._start()

    def _start(self) -> Service:
        files = [self._listener.fileno()]
        settings = {"auth.tokens_file": self._folder / "tokens"}
        return Service(self._folder, settings, launcher=as_systemd(files), sockets=files).wait_until_serving()

    def fill(self) -> None:
        """Store a million points, more than the kernel takes of an answer."""
        headers = {"Content-Type": "application/octet-stream", "Authorization": f"Bearer {self.token}"}
        for _ in range(10):
            found = self._service.client.post("/add_batch?symbol=A", content=bytes(800_000), headers=headers)
            found.raise_for_status()

    def longest_wait_s(self, half: bytes) -> float:
        """Restart it while there are some connections with `half` a request; return what a client waits for most."""
        waits: list[float] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                begin = time.monotonic()
                httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=60).raise_for_status()
                waits.append(time.monotonic() - begin)

        with ExitStack() as stack:
            for _ in range(_COUNT if half else 0):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    connection.sendall(half)
            asker = threading.Thread(target=ask)
            asker.start()
            while not waits:
                time.sleep(0.01)
            assert self._service.stop() == 0
            self._service.close()
            self._service = self._start()
            over.set()
            asker.join()
        return max(waits)

    def close(self) -> None:
        """Stop it."""
        self._service.close()


def main() -> None:
    """Tell the longest wait of each kind, in runs one after the other."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        restarts = Restarts(Path(folder), listener)
        restarts.fill()
        for kind, half in kinds(restarts.token).items():
            waits = sorted(restarts.longest_wait_s(half) for _ in range(_RUNS))
            told = ", ".join(f"{wait:.2f}" for wait in waits)
            sys.stdout.write(f"{kind}: longest wait of another client {told} s\n")
        restarts.close()


if __name__ == "__main__":
    main()
