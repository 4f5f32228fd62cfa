"""Long questions, answered beside the event loop: a few at a time, a bounded number that wait, and all of it counted.

A question may read every point of a series, or fold a million windows. Threads of their own, because a request that is
given up leaves its work running, which still counts against the bound.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from time import perf_counter
from typing import TypeVar

from api.http.problems import Refusal

MOST_RUNNING = 2
MOST_WAITING = 64
MOST_HELD_BYTES = 256 * 2**20
"""What the answers that are made, and those that are still being sent, may take together."""

KINDS = ("path", "promql", "quantile", "rank", "symbols", "windows")
Answer = TypeVar("Answer")


class Beside:
    """Runs questions in threads. Belongs to one event loop; its counts may be read from any thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_RUNNING, "hft-mmap-search")
        self._lock = threading.Lock()
        self.asked = dict.fromkeys(KINDS, 0)
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self.refused = 0
        self.unfinished = 0
        self.held_bytes = 0

    async def answer(self, kind: str, work: Callable[[], Answer]) -> Answer:
        """Return what `work` returns, once it had its turn. Raises its errors; Refusal (503) where too many wait."""

        def run() -> Answer:
            begin = perf_counter()
            try:
                return work()
            finally:
                with self._lock:
                    self.seconds[kind] += perf_counter() - begin

        with self._lock:
            full = self.unfinished >= MOST_RUNNING + MOST_WAITING
            self.refused += full
            if not full:
                self.unfinished += 1
                self.asked[kind] += 1
        if full:
            raise _busy(f"{MOST_WAITING} long questions wait for their turn already")
        future = self._threads.submit(run)
        future.add_done_callback(lambda _: self._finish())  # also where it was given up before its turn came
        return await asyncio.wrap_future(future)

    def hold(self, size: int) -> "Held":
        """Return room for an answer of `size` bytes, which is free again when it is forgotten. Raises Refusal (503)."""
        with self._lock:
            if self.held_bytes + size > MOST_HELD_BYTES:
                self.refused += 1
                raise _busy(f"Answers of {MOST_HELD_BYTES:,} bytes are being made and sent already")
            self.held_bytes += size
        return Held(self, size)

    def _finish(self) -> None:
        with self._lock:
            self.unfinished -= 1

    def let_go(self, size: int) -> None:
        """Take back the room of an answer."""
        with self._lock:
            self.held_bytes -= size


class Held:
    """Room for one answer. It goes with the last reference to it, so also with an answer that was never begun."""

    def __init__(self, beside: Beside, size: int) -> None:
        self._beside = beside
        self._size = size

    def __del__(self) -> None:
        """Free the room."""
        self._beside.let_go(self._size)


def _busy(detail: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{detail}; ask again a little later", headers={"Retry-After": "1"})
