"""The log of a shard in NATS JetStream: the stream HFT_<shard>, replicated, one subject.

Followed by a consumer of our own, made anew after any doubt: a gap, a status, silence. Whatever a server promises
beyond one order of records, nobody here relies on it; see `api.cluster.state`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import nats
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from api.cluster.log import Bounds, Stale, Unknown

SILENCE_S = 2.5
"""A consumer of which nothing is heard for so long, not even its heartbeat, is made anew."""
_HEARTBEAT_S = 0.5
_ANSWER_S = 2.0
MAX_BYTES = 64 * 2**30
"""What a stream takes where nothing else is said."""
_PENDING_BYTES = 64 * 2**20
_RECORD_OVERHEAD = 4096
_TRIES, _AGAIN_S = 60, 0.5
_NOT_MET = frozenset({10005, 10008})
"""Codes of servers that have not met enough others, or have no leader yet."""
_FULL = 10077
_WRONG_LAST = frozenset({10071, 10164})
_OF_NETWORK = (NatsError, TimeoutError, OSError)


def stream_name(shard: int) -> str:
    """Return the name of the stream of a shard."""
    return f"HFT_{shard}"


def subject_of(shard: int) -> str:
    """Return the subject of a shard."""
    return f"hft.{shard}"


async def connect(servers: list[str], credentials_file: str = "", tls_ca: str = "") -> Client:
    """Connect to one of `servers`; ConnectionError says why not."""

    async def note(error: Exception) -> None:
        structlog.get_logger().warning("log_connection", reason=str(error) or type(error).__name__)

    options: dict[str, Any] = {"tls": ssl.create_default_context(cafile=tls_ca)} if tls_ca else {}
    if credentials_file:
        options["user_credentials"] = credentials_file
    try:
        return await nats.connect(
            servers, connect_timeout=1, max_reconnect_attempts=-1, reconnect_time_wait=0.1, ping_interval=2,
            max_outstanding_pings=2, pending_size=_PENDING_BYTES, allow_reconnect=True, error_cb=note, **options,
        )  # fmt: skip
    except _OF_NETWORK as error:
        raise ConnectionError(f"no server of {', '.join(servers)} can be used: {error}") from error


def config_of(shard: int, replicas: int, max_bytes: int) -> StreamConfig:
    """Return how a stream has to be made: nothing is removed from it but by a trim."""
    return StreamConfig(
        name=stream_name(shard), subjects=[subject_of(shard)], num_replicas=replicas, max_bytes=max_bytes,
        discard=DiscardPolicy.NEW, deny_delete=True, duplicate_window=0.1,
    )  # fmt: skip


def faults_of(config: StreamConfig) -> list[str]:
    """Return what is wrong with a stream for a log of ours."""
    found = []
    if config.discard != DiscardPolicy.NEW:
        found.append("discard must be new: a full log refuses, and loses nothing")
    if config.max_age:
        found.append("max_age must be unset: records go by a trim alone")
    if config.max_msgs not in {None, -1} or config.max_msgs_per_subject not in {None, -1}:
        found.append("max_msgs and max_msgs_per_subject must be unset")
    return found


class NatsLog:
    """The log of one shard."""

    has_gaps = False

    def __init__(self, servers: list[str], shard: int, record_bytes: int, **access: str) -> None:
        self._servers = servers
        self._shard = shard
        self._record_bytes = record_bytes
        self._access = access
        self._client: Client | None = None

    async def open(self) -> None:
        """Connect, and look at the stream. ConnectionError."""
        client = await self._connect()
        if client.max_payload < self._record_bytes + _RECORD_OVERHEAD:
            raise ConnectionError(
                f"the servers take messages of {client.max_payload} bytes, and cluster.max_block_bytes is "
                f"{self._record_bytes}: it must be at least {_RECORD_OVERHEAD} less than their max_payload"
            )
        if found := faults_of((await self._info()).config):
            raise ConnectionError(f"stream {stream_name(self._shard)}: {'; '.join(found)}")

    async def _connect(self) -> Client:
        if self._client is None:
            self._client = await connect(self._servers, **self._access)
            self._stream = self._client.jetstream(timeout=_ANSWER_S)
        return self._client

    async def _info(self) -> StreamInfo:
        try:
            return await self._stream.stream_info(stream_name(self._shard))
        except NotFoundError as error:
            raise ConnectionError(
                f"there is no stream {stream_name(self._shard)}: make it with hft-mmap cluster create"
            ) from error
        except _OF_NETWORK as error:
            raise ConnectionError(f"the log does not answer: {error!r}") from error

    async def identity(self) -> str:
        """Return name and time of creation of the stream. ConnectionError."""
        info = await self._info()
        return f"nats {info.config.name} {info.created}"

    async def bounds(self) -> Bounds:
        """Return how far it goes. ConnectionError."""
        state = (await self._info()).state
        return Bounds(max(state.first_seq, 1), state.last_seq)

    async def append(self, data: bytes, last: int) -> int:
        """Append a record if `last` is the newest. Stale, Unknown."""
        try:
            taken = await self._stream.publish(
                subject_of(self._shard), data, timeout=_ANSWER_S, headers={"Nats-Expected-Last-Sequence": str(last)}
            )
        except APIError as error:
            if error.err_code in _WRONG_LAST:
                raise Stale(str(error)) from error
            if error.err_code == _FULL:
                raise Unknown("it is full: hft-mmap cluster trim makes space, or a larger max_bytes") from error
            raise Unknown(str(error)) from error
        except _OF_NETWORK as error:
            raise Unknown(repr(error)) from error
        return taken.seq

    async def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each record after `after`."""
        while True:
            inbox: Subscription | None = None
            try:
                inbox = await self._consumer(after)
                expected = 1
                while True:
                    message = await inbox.next_msg(timeout=SILENCE_S)
                    if message.headers and "Status" in message.headers:
                        if not await self._is_sound(message, expected):
                            break
                        continue
                    place = message.metadata.sequence
                    if place.consumer != expected:  # one was lost on the way
                        break
                    expected += 1
                    if place.stream > after:
                        after = place.stream
                        yield after, message.data
            except _OF_NETWORK:
                await asyncio.sleep(0.05)
            finally:
                if inbox is not None:
                    with suppress(*_OF_NETWORK):
                        await inbox.unsubscribe()

    async def _consumer(self, after: int) -> Subscription:
        """Make a consumer that begins behind `after`; it goes by itself."""
        client = await self._connect()
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await self._stream.add_consumer(
            stream_name(self._shard),
            ConsumerConfig(
                deliver_subject=inbox, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1,
                ack_policy=AckPolicy.NONE, mem_storage=True, num_replicas=1, flow_control=True, max_deliver=1,
                idle_heartbeat=_HEARTBEAT_S, inactive_threshold=10,
            ),
        )  # fmt: skip
        return subscription

    async def _is_sound(self, message: Any, expected: int) -> bool:  # noqa: ANN401 - nats-py does not export its type
        """Answer a status of the consumer; return whether nothing was missed."""
        headers = message.headers
        if headers["Status"] != "100":
            return False
        if wanted := message.reply or headers.get("Nats-Consumer-Stalled"):  # an answer, before more is sent
            await (await self._connect()).publish(wanted)
        return int(headers.get("Nats-Last-Consumer", expected - 1)) == expected - 1

    async def create(self, replicas: int, max_bytes: int | None, *, replace: bool = False) -> None:
        """Make the stream; replace: remove the one that is there. ConnectionError says why that can't be done."""
        await self._connect()
        removed = ""
        for tries_left in reversed(range(_TRIES)):
            try:
                if replace:
                    with suppress(NotFoundError):
                        await self._stream.delete_stream(stream_name(self._shard))
                        removed = "; the one before is removed"
                await self._stream.add_stream(config_of(self._shard, replicas, max_bytes or MAX_BYTES))
            except _OF_NETWORK as error:
                passes = not isinstance(error, APIError) or error.err_code in _NOT_MET
                if not (passes and tries_left):
                    raise ConnectionError(
                        f"stream {stream_name(self._shard)} was not made: {error}{removed}"
                    ) from error
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def trim(self, below: int) -> None:
        """Remove the records below `below`. ConnectionError."""
        try:
            await self._stream.purge_stream(stream_name(self._shard), seq=below)
        except _OF_NETWORK as error:
            raise ConnectionError(f"the log was not trimmed: {error}") from error

    async def close(self) -> None:
        """Let go of it."""
        if self._client is not None:
            with suppress(*_OF_NETWORK):
                await self._client.close()
