"""Appending where the disk or another process has to be waited for, without holding the event loop up.

The first use of a symbol opens it, or makes it, which waits for the disk: that is done in a thread, and symbols that
are made at the same time share what they wait for.

A writer elsewhere holds a series for microseconds. One that holds it for seconds was stopped in the middle of a write,
or is ill: a request waits for a while, so that nobody notices the short ones, and is then refused; no other waits.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from api.http.problems import Refusal
from hft_mmap import HftMmapError, SeriesBusy, Store, Ticks

LOCK_WAIT_S = 2.0
_PAUSE_S = 0.002


class Stored(int):
    """The total after a batch of which more is to be told: its late times, and the record of the log that it is in."""

    late: int = 0
    latest_ns: int = 0
    sequence: int = 0

    def told(self, answer: bytes) -> bytes:
        """Return the JSON `answer` with it."""
        if self.late:
            answer = b'%s,"late":%d,"latest_ns":%d}' % (answer[:-1], self.late, self.latest_ns)
        return b'%s,"seq":%d}' % (answer[:-1], self.sequence) if self.sequence else answer


class Waits(Protocol):
    """What one request, or one message, may wait for."""

    async def append(
        self,
        store: Store,
        symbol: str,
        values: NDArray[np.float64] | Ticks,
        offset: int | None,
        note: Callable[[int], object] = int,
    ) -> int:
        """Append a batch; see `Patience.append`."""
        ...


class Appender(NamedTuple):
    """How batches are appended, chosen once at the start: to the store of this machine, or to a log of several.

    now: appends without a wait, or returns None; patience: makes what appends with one. durability: what is told of it.
    """

    now: Callable[[Store, str, NDArray[np.float64] | Ticks, int | None], int | None]
    patience: Callable[[], Waits]
    durability: str


def local_appender(store: Store) -> Appender:
    """Return what appends to a store of this machine."""
    return Appender(append_now, Patience, store.durability.value)


def _append(store: Store, symbol: str, rows: NDArray[np.float64] | Ticks, offset: int | None) -> int:
    """Append a batch with or without columns, and wait for nobody."""
    if not isinstance(rows, Ticks):
        return store.append_nowait(symbol, rows, offset=offset, wait_s=0)
    done = store.append_ticks_nowait(symbol, rows, offset=offset, wait_s=0)
    total = Stored(done.total)
    total.late, total.latest_ns = done.late, done.latest_ns
    return total


def append_now(store: Store, symbol: str, values: NDArray[np.float64] | Ticks, offset: int | None) -> int | None:
    """Append a batch and return the new total, of one with columns as `Stored`.

    None, with nothing done, where something has to be waited for.
    """
    if store.is_open(symbol):
        try:
            if isinstance(values, Ticks):
                return _append(store, symbol, values, offset)
            return store.append_nowait(symbol, values, offset=offset, wait_s=0)
        except SeriesBusy:
            pass
    return None


class Patience:
    """What one request, or one message, may wait for other processes in all. Its time begins with the first wait."""

    def __init__(self) -> None:
        self._deadline_s: float | None = None

    async def append(
        self,
        store: Store,
        symbol: str,
        values: NDArray[np.float64] | Ticks,
        offset: int | None,
        note: Callable[[int], object] = int,
    ) -> int:
        """Append a batch that `append_now` did not; Refusal (503) if it is still busy when the time is over.

        note: is given the new total, also where this is cancelled while the batch is being stored.
        """
        if self._deadline_s is None:
            self._deadline_s = monotonic() + LOCK_WAIT_S
        while True:
            try:
                if store.is_open(symbol):
                    total = _append(store, symbol, values, offset)
                    note(total)
                    return total
                first = asyncio.to_thread(_append, store, symbol, values, offset)
                return await _to_its_end(asyncio.ensure_future(first), note)
            except SeriesBusy as error:
                if monotonic() >= self._deadline_s:
                    detail = f"{error}. Nothing was stored; send it again"
                    raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1"}) from error
            await asyncio.sleep(_PAUSE_S)


async def _to_its_end(stored: asyncio.Future[int], note: Callable[[int], object]) -> int:
    """Return what `stored` gives, and have it noted; a thread can't be cancelled, so who is waits for it as well.

    Then a refusal tells nobody anything: it must not be taken for the end of what was cancelled, and tried again.
    """
    try:
        total = await asyncio.shield(stored)
    except asyncio.CancelledError:
        with suppress(HftMmapError):
            note(await stored)
        raise
    note(total)
    return total
