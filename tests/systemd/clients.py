"""Clients that go on through a restart, and remember what became of each request."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from tests.api.test_lifecycle import batch
from tests.service import PATIENCE_S, wait_until
from tests.systemd.machine import PORT, Machine

PUSHERS = 8


class Pusher:
    """Sends batch after batch on a connection that it keeps, and opens another when the service asks for that.

    fresh: opens another for each request.
    """

    def __init__(self, machine: Machine, *, fresh: bool = False) -> None:
        self._fresh = fresh
        self.answered = 0
        self.longest_s = 0.0
        self.lost: list[str] = []
        self._done = threading.Event()
        self._thread = machine.in_network(self._push)

    def stop(self) -> None:
        """Send no more, once the answer to the last request is there."""
        self._done.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _push(self) -> None:
        body = batch("ABC-USD", [1.0])
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
        while not self._done.is_set():
            begin = perf_counter()
            try:
                connection.request("POST", "/add_batch/", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                self.longest_s = max(self.longest_s, perf_counter() - begin)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            else:
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.lost.append(str(answer.status))
                if self._fresh:
                    connection.close()
        connection.close()


@contextmanager
def load(machine: Machine) -> Iterator[list[Pusher]]:
    """Yield clients that push until the block ends, half of them with a connection for each request.

    At the end each request has its outcome.
    """
    pushers = [Pusher(machine, fresh=number % 2 == 1) for number in range(PUSHERS)]
    try:
        wait_for_more(pushers)
        yield pushers
        wait_for_more(pushers)
    finally:
        for pusher in pushers:
            pusher.stop()


def wait_for_more(pushers: list[Pusher]) -> None:
    """Return once each client has had twenty more answers."""
    before = [pusher.answered for pusher in pushers]
    wait_until(
        lambda: all(pusher.answered >= was + 20 for pusher, was in zip(pushers, before, strict=True)),
        "answers to each client",
    )
