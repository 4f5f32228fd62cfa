"""Points to a running service, over HTTP: raw float64, each batch with its offset, sent again until it is answered."""

import http.client
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import OffsetConflict
from hft_mmap.transfer.errors import ServiceRefused

DEFAULT_BATCH_VALUES = 100_000
"""What a service takes in one batch unless its settings say otherwise."""
PATIENCE_S = 60.0
"""So long a service may be away, for a restart, before an import gives up."""
TIMEOUT_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_AGAIN = frozenset({500, 502, 503, 504})
_CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Any

    @property
    def detail(self) -> str:
        """What the service says about a refusal."""
        said = self.body.get("detail") if isinstance(self.body, dict) else None
        return str(said or f"status {self.status}")


def journal_directory() -> Path:
    """Return where journals are kept that belong to no data directory: hft-mmap/imports in the user's state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "hft-mmap", "imports")


class ServiceSink:
    """A service that is asked over one connection. Not for several threads."""

    def __init__(self, url: str, token: str | None = None, *, batch_values: int = DEFAULT_BATCH_VALUES) -> None:
        """Talk to the service at `url` ("http://127.0.0.1:8080", https too), by `token` if it wants one.

        Nothing is sent yet. ServiceRefused if that is no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in _CONNECTIONS or not parts.hostname or parts.query or parts.fragment:
            raise ServiceRefused(f"{url!r} is no address of a service; give one like http://127.0.0.1:8080")
        self._path = parts.path.rstrip("/")
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._path}"
        self.journals = journal_directory()
        self._batch_values = batch_values
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = _CONNECTIONS[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)

    def bounds(self, symbol: str) -> tuple[int, int]:
        """Return (start, total) of a series as the service tells them, (0, 0) if it has none."""
        answer = self._ask("GET", "/symbols")
        for entry in answer.body["symbols"]:
            if entry["symbol"] == symbol:
                return int(entry["start"]), int(entry["total"])
        return 0, 0

    def append(self, symbol: str, values: NDArray[np.float64], offset: int) -> None:
        """Send values in batches that the service takes. OffsetConflict, ServiceRefused."""
        raw = np.ascontiguousarray(values, dtype="<f8")
        for begin in range(0, len(raw), self._batch_values):
            body = raw[begin : begin + self._batch_values].tobytes()
            self._ask("POST", f"/add_batch?symbol={quote(symbol, safe='')}&offset={offset + begin}", body)

    def settle(self) -> None:
        """Do nothing: each answer has said how safe the points are, by the durability tier of the service."""

    def _ask(self, method: str, path: str, body: bytes | None = None) -> _Answer:
        """Return the answer 200 to a request, sent again while the service is away; OffsetConflict, ServiceRefused."""
        deadline = time.monotonic() + PATIENCE_S
        pause = _FIRST_PAUSE_S
        while True:
            try:
                answer = self._exchange(method, path, body)
                trouble = answer.detail
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                answer, trouble = None, str(error) or type(error).__name__
            if answer is not None and answer.status not in _AGAIN:
                break
            if time.monotonic() + pause > deadline:
                raise ServiceRefused(f"{self.name}: {trouble}; gave up after {PATIENCE_S:g} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        if answer.status == http.HTTPStatus.CONFLICT:
            raise OffsetConflict(answer.detail, int(answer.body["total"]))
        if answer.status != http.HTTPStatus.OK:
            raise ServiceRefused(f"{self.name}: {answer.detail}")
        return answer

    def _exchange(self, method: str, path: str, body: bytes | None) -> _Answer:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/octet-stream"}
        self._connection.request(method, f"{self._path}{path}", body, headers)
        response = self._connection.getresponse()
        text = response.read()
        try:
            return _Answer(response.status, json.loads(text))
        except ValueError:
            return _Answer(response.status, None)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
