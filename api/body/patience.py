"""Appending where another process may hold the series, without holding the event loop up.

A writer elsewhere holds a series for microseconds. One that holds it for seconds was stopped in the middle of a write,
or is ill: a request waits for a while, so that nobody notices the short ones, and is then refused; no other waits.
"""

import asyncio
from http import HTTPStatus
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from api.http.problems import Refusal
from hft_mmap import SeriesBusy, Store

LOCK_WAIT_S = 2.0
_PAUSE_S = 0.002


class Patience:
    """What one request, or one message, may wait for other processes in all. Its time begins with the first wait."""

    def __init__(self) -> None:
        self._deadline_s: float | None = None

    async def append(self, store: Store, symbol: str, values: NDArray[np.float64], offset: int | None) -> int:
        """Append a batch that was busy when it was tried; Refusal (503) if it still is when the time is over."""
        if self._deadline_s is None:
            self._deadline_s = monotonic() + LOCK_WAIT_S
        while True:
            try:
                return store.append_nowait(symbol, values, offset=offset, wait_s=0)
            except SeriesBusy as error:
                if monotonic() >= self._deadline_s:
                    detail = f"{error}. Nothing was stored; send it again"
                    raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1"}) from error
            await asyncio.sleep(_PAUSE_S)
