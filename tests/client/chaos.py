"""A proxy that cuts connections at random bytes, in front of a service that may die and come back elsewhere."""

import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_READ_BYTES = 65_536
_RESETS = 0.3
_RESET = struct.pack("ii", 1, 0)


class Chaos:
    """Listens on a port of its own and passes on to `port`; each connection is cut after a random number of bytes.

    A cut falls into a request, between a request and its answer, or into the answer; some end in a reset. `port` may be
    changed at any time. With `calm` set, nothing is cut any more.
    """

    def __init__(self, seed: int, mean_bytes: int) -> None:
        """Listen; cuts come after `mean_bytes` on average."""
        self.port = 0
        self.calm = False
        self.cuts = 0
        self._random = random.Random(seed)
        self._mean_bytes = mean_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return the proxy."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except OSError:
                client.close()
                continue
            budget = _Budget(1 << 60 if self.calm else int(self._random.expovariate(1 / self._mean_bytes)) + 1)
            if self._random.random() < _RESETS:
                for one in (client, server):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target, budget), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, budget: "_Budget") -> None:
        with suppress(OSError):
            while data := source.recv(_READ_BYTES):
                passed = budget.take(len(data))
                target.sendall(data[:passed])
                if passed < len(data):
                    with budget.lock:
                        self.cuts += 1
                    break
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RD)  # ends the other thread's wait
            one.close()


class _Budget:
    """How many bytes may still pass on one connection, both ways together."""

    def __init__(self, left: int) -> None:
        self.lock = threading.Lock()
        self._left = left

    def take(self, wanted: int) -> int:
        """Return how many of `wanted` bytes may pass."""
        with self.lock:
            passed = min(wanted, self._left)
            self._left -= passed
            return passed
