"""The HTTP client of the adapters: one connection that is kept, JSON by orjson."""

import http.client
from typing import Any

import numpy as np
import orjson

from perf.peers.peer import Answer, Prices

SYMBOL = "ABC-USD"


class StatsClient:
    """Talks to a service with the routes POST /add_batch/ and GET /stats/."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def append(self, batch: Prices) -> None:
        """Send a batch as JSON."""
        values = np.ascontiguousarray(batch)
        body = orjson.dumps({"symbol": SYMBOL, "values": values}, option=orjson.OPT_SERIALIZE_NUMPY)
        self._request("POST", "/add_batch/", body)

    def query(self, window: int) -> Answer:
        """Ask for a window."""
        found = self._request("GET", f"/stats/?symbol={SYMBOL}&window={window}")
        return Answer(found["min"], found["max"], found["last"], found["avg"], found["var"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(self, method: str, target: str, body: bytes | None = None) -> Any:  # noqa: ANN401 - JSON
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, target, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {target}: {response.status} {content[:500]!r}")
        return orjson.loads(content)
