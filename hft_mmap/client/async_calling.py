"""How the client for programs with an event loop sends its requests, and asks again."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from hft_mmap.client.address import Address
from hft_mmap.client.dial import Dial
from hft_mmap.client.errors import ServiceError, Unreachable, refusal
from hft_mmap.client.retry import Retry, ended, unreachable
from hft_mmap.client.shards import ANY_REPLICA, Shards, Trip
from hft_mmap.client.wire import BATCH_VALUES, STREAM_TIMEOUT_S, Ask, Points, Updates, Windows

Answer = TypeVar("Answer")


class AsyncCaller:
    """Connections to a service, or to the replicas of several shards."""

    def __init__(  # noqa: PLR0913 - all by name but the first
        self, url: str | Sequence[str] = "http://127.0.0.1:8080", *, token: str | None = None, timeout_s: float = 10.0,
        retry: Retry | None = None, verify: ssl.SSLContext | bool = True, batch_values: int = BATCH_VALUES,
        negative_prices: bool = False,
    ) -> None:  # fmt: skip
        """Prepare a connection to `url`: "http://host:port", "https://…", or "unix:/path" for a Unix socket.

        Several URLs are those of replicas of shards (docs/cluster.md), at best of all of them: each call goes to one
        that has its symbol. Of a shard the first serves as long as it does.

        token: sent as a bearer token. timeout_s: for connecting, and each wait on the network. batch_values: how many
        values one request has at most (the service's server.max_batch_values). negative_prices: whether the service
        takes them (its store.negative_prices); else they are refused before anything is sent. Nothing is asked yet.
        ValueError.
        """
        if batch_values < 1:
            message = f"batch_values must be from 1, not {batch_values}"
            raise ValueError(message)
        address = Address.of(url, token)
        self._batch_values = batch_values
        self._negative_prices = negative_prices
        self._shards = Shards(address.urls, retry if retry is not None else Retry())
        self._dial = Dial(address, self._shards, timeout_s, verify=verify)
        self._stream_timeout = httpx.Timeout(timeout_s, read=STREAM_TIMEOUT_S)
        self._http = httpx.AsyncClient(
            headers=address.headers, timeout=timeout_s,
            transport=httpx.AsyncHTTPTransport(verify=verify, uds=address.unix_socket),
        )  # fmt: skip

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def _call(self, ask: Ask[Answer], shard: int | None = None) -> Answer:
        trip = self._shards.trip(ask, shard)
        while True:
            try:
                url, headers = await self._next(trip)
                response = await self._http.request(
                    ask.method, url, params=ask.params, headers=headers, content=ask.content
                )
            except httpx.TransportError as error:
                await asyncio.sleep(trip.pause_s(unreachable(error)))
                continue
            if response.status_code in ask.accepted:
                return trip.done(response)
            await asyncio.sleep(trip.pause_s(refusal(response)))

    async def _next(self, trip: Trip[Answer]) -> tuple[str, Mapping[str, str]]:
        """Return the URL and the headers of the next try of a call."""
        await self._learn()
        return trip.next()

    async def _learn(self) -> None:
        """Ask the services that are to be asked what they are replicas of."""
        for url in self._shards.unasked():
            try:
                told = await self._http.get(f"{url}/cluster", headers=ANY_REPLICA)
            except httpx.TransportError:
                self._shards.tell(url, None)
            else:
                self._shards.tell(url, told)

    async def _each(self, ask: Ask[Answer]) -> list[Answer]:
        """Return the answer of each shard."""
        await self._learn()
        return [await self._call(ask, shard) for shard in self._shards.each()]

    async def _parts(self, symbols: Sequence[str]) -> list[list[int]]:
        """Return the places of `symbols` by their shards."""
        await self._learn()
        return self._shards.parts(symbols)

    async def _points(self, ask: Ask[NDArray[np.float64]]) -> Points:
        """Return the points of an answer, all of which have come."""
        trip = self._shards.trip(ask)
        while True:
            try:
                url, headers = await self._next(trip)
                async with self._http.stream(ask.method, url, params=ask.params, headers=headers) as response:
                    if response.is_success:
                        points = Points(response)
                        async for part in response.aiter_raw():
                            points.take(part)
                        points.whole()
                        return points
                    await response.aread()
                    failure = refusal(response)
            except httpx.TransportError as error:
                await asyncio.sleep(trip.pause_s(unreachable(error)))
            else:
                await asyncio.sleep(trip.pause_s(failure))

    async def _stream(self, ask: Ask[None], updates: Updates) -> AsyncGenerator[Windows, None]:
        """Yield what a stream tells, for ever; see `stream`."""
        trip = self._shards.trip(ask)
        while True:
            updates.begin()
            served = False
            failure: Unreachable | ServiceError
            try:
                url, headers = await self._next(trip)
                async with self._http.stream(
                    ask.method, url, params=ask.params, headers=headers, timeout=self._stream_timeout
                ) as response:
                    if response.is_success:
                        async for line in response.aiter_lines():
                            served = True
                            update = updates.take(line)
                            if update is not None:
                                yield update
                        failure = ended()
                    else:
                        await response.aread()
                        failure = refusal(response)
            except httpx.TransportError as error:
                failure = unreachable(error)
            if served:  # until now, however long that was: the time to try begins anew
                trip = self._shards.trip(ask)
            await asyncio.sleep(trip.pause_s(failure))
