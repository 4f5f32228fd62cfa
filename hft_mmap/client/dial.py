"""How a feed reaches the stream of a service, or of a replica of a shard."""

import ssl
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect, unix_connect

from hft_mmap.client.address import Address
from hft_mmap.client.shards import Shards, Trip
from hft_mmap.client.wire import Ask

STREAM_PATH = "/stream"


class Dial:
    """Where the service is, who asks, and how long a connection may take."""

    def __init__(self, address: Address, shards: Shards, timeout_s: float, *, verify: ssl.SSLContext | bool) -> None:
        """Open nothing yet."""
        self.shards = shards
        self._headers = dict(address.headers)
        self._unix_socket = address.unix_socket
        self._timeout_s = timeout_s
        self._verify = verify
        self._trusted: ssl.SSLContext | None = None

    def trip(self, shard: int | None) -> Trip[None]:
        """Begin to try to open a stream to a replica of a shard, or to the one service."""
        return self.shards.trip(Ask(lambda _response: None, "GET", STREAM_PATH, {}, {}), shard)

    async def open(self, url: str, columns: list[str]) -> ClientConnection:
        """Return a connection to the stream at `url` for batches of these columns, before its first message.

        OSError, WebSocketException.
        """
        params = {"mode": "ingest"} | ({"columns": ",".join(columns)} if len(columns) > 1 else {})
        uri = "ws" + str(httpx.URL(url, params=params)).removeprefix("http")  # so https becomes wss
        options: dict[str, Any] = {
            "additional_headers": self._headers, "compression": None, "proxy": None, "max_size": None,
            "open_timeout": self._timeout_s, "close_timeout": self._timeout_s,
        }  # fmt: skip
        if self._unix_socket is not None:
            return await unix_connect(self._unix_socket, uri, **options)
        if uri.startswith("wss:"):
            if self._trusted is None:
                self._trusted = httpx.create_ssl_context(verify=self._verify)
            options["ssl"] = self._trusted
        return await connect(uri, **options)
