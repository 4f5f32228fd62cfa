"""Points to a running service, by its client: each batch with its offset, sent again until it is answered."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hft_mmap.transfer.errors import MissingPackage, ServiceRefused

if TYPE_CHECKING:
    from hft_mmap.client import Client

DEFAULT_BATCH_VALUES = 100_000
"""What a service takes in one batch unless its settings say otherwise."""


def journal_directory() -> Path:
    """Return where journals are kept that belong to no data directory: hft-mmap/imports in the user's state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "hft-mmap", "imports")


def _client(url: str, token: str | None) -> "Client":
    try:
        from hft_mmap.client import Client  # noqa: PLC0415 - only who sends to a service needs httpx
    except ModuleNotFoundError as error:
        raise MissingPackage(str(error)) from error
    try:
        return Client(url, token=token)
    except ValueError as error:
        raise ServiceRefused(f"{url!r} is no address of a service: {error}") from error


class ServiceSink:
    """A service that is asked over one connection."""

    def __init__(self, url: str, token: str | None = None, *, batch_values: int = DEFAULT_BATCH_VALUES) -> None:
        """Talk to the service at `url` ("http://127.0.0.1:8080", "unix:/path"), by `token` if it wants one.

        Nothing is sent yet. ServiceRefused if that is no such address, MissingPackage without httpx.
        """
        self._client = _client(url, token)
        self.name = url.rstrip("/")
        self.journals = journal_directory()
        self._batch_values = batch_values

    def bounds(self, symbol: str) -> tuple[int, int]:
        """Return (start, total) of a series as the service tells them, (0, 0) if it has none."""
        for entry in self._client.symbols():
            if entry.symbol == symbol:
                return entry.start, entry.total
        return 0, 0

    def append(self, symbol: str, values: NDArray[np.float64], offset: int) -> None:
        """Send values in batches that the service takes; OffsetConflict, and the errors of hft_mmap.client."""
        for begin in range(0, len(values), self._batch_values):
            self._client.append(symbol, values[begin : begin + self._batch_values], offset=offset + begin)

    def settle(self) -> None:
        """Do nothing: each answer has said how safe the points are, by the durability tier of the service."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
