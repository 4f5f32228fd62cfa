"""The log of a shard in Kafka: the topic hft-<shard>, of one partition, replicated. A sequence is an offset plus one.

A broker compares nothing: of two records that were decided on the same state both come into the log, and everybody
drops the second; see `api.cluster.state`. What a broker did not answer librdkafka sends again by itself, and says that
nobody knows only when `cluster.append_timeout_s` is over. No transactions, no groups, no committed offsets.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its types do not say that it exports these
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from api.cluster.log import Bounds, LogUnfit, Unknown

_T = TypeVar("_T")
_ANSWER_S = 5.0
_POLL_S = 0.5
_AGAIN_S = 0.5
_TRIES = 120
_AT_ONCE = 64
_QUEUE_KIB = 64 * 1024
_RECORD_OVERHEAD = 4096
_SECRETS = ("sasl.", "ssl.")
_PASSES = frozenset({
    KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER,
})  # fmt: skip
"""What brokers say that have not met enough others, or do not know yet what others do."""


_NO_PLACE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})  # noqa: SLF001
"""What is said where the next record is there no more; librdkafka names its own codes so."""


def topic_of(shard: int) -> str:
    """Return the name of the topic of a shard."""
    return f"hft-{shard}"


def config_of(replicas: int, record_bytes: int) -> dict[str, str]:
    """Return how a topic has to be made: on a majority's disks, and nothing removed from it but by a trim."""
    return {
        "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "flush.messages": "1",
        "min.insync.replicas": str(replicas // 2 + 1), "unclean.leader.election.enable": "false",
        "max.message.bytes": str(record_bytes + _RECORD_OVERHEAD),
    }  # fmt: skip


def faults_of(config: Mapping[str, str], replicas: int, record_bytes: int, *, require_fsync: bool) -> list[str]:
    """Return what is wrong with a topic of so many replicas for a log of ours."""
    wanted = config_of(replicas, record_bytes)
    most, least = int(config["max.message.bytes"]), int(config["min.insync.replicas"])
    found = [
        f"{name} must be {wanted[name]}, not {config[name]}: records go by a trim alone"
        for name in ("cleanup.policy", "retention.ms", "retention.bytes")
        if config[name] != wanted[name]
    ]
    if config["unclean.leader.election.enable"] != "false":
        found.append("unclean.leader.election.enable must be false, or a broker that lacks records may lead")
    if least <= replicas // 2:
        found.append(f"min.insync.replicas must be at least {wanted['min.insync.replicas']} of {replicas}, not {least}")
    if require_fsync and config["flush.messages"] != "1":
        found.append(
            f"flush.messages must be 1, not {config['flush.messages']}, so that a power cut takes nothing that was "
            "acknowledged (cluster.require_fsync)"
        )
    if most < record_bytes + _RECORD_OVERHEAD:
        found.append(
            f"max.message.bytes is {most}, and cluster.max_block_bytes {record_bytes}: that must be at least "
            f"{_RECORD_OVERHEAD} less"
        )
    return found


def client_of(servers: list[str], credentials_file: str = "", tls_ca: str = "") -> dict[str, Any]:
    """Return the settings of librdkafka by which brokers are reached. LogUnfit: the credentials are none."""
    secrets = {}
    for line in Path(credentials_file).read_text(errors="replace").splitlines() if credentials_file else ():
        name, _, value = line.partition("=")
        if not name.strip().startswith(_SECRETS):
            raise LogUnfit(
                f"{credentials_file}: each line must be a setting of librdkafka that begins with sasl. or ssl., such "
                "as sasl.username=…"
            )
        secrets[name.strip()] = value.strip()
    sasl = any(name.startswith("sasl.") for name in secrets)
    protocol = f"{'sasl_' if sasl else ''}{'ssl' if tls_ca else 'plaintext'}"
    return {
        "bootstrap.servers": ",".join(one.removeprefix("kafka://") for one in servers), "security.protocol": protocol,
        "socket.timeout.ms": round(1000 * _ANSWER_S), "reconnect.backoff.max.ms": 500, "log_level": 0,
        **({"ssl.ca.location": tls_ca} if tls_ca else {}), **secrets,
    }  # fmt: skip


def _note(error: KafkaError) -> None:
    structlog.get_logger().warning("log_connection", reason=str(error))


_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


class KafkaLog:
    """The log of one shard."""

    has_gaps = False

    def __init__(
        self, client: Mapping[str, Any], shard: int, record_bytes: int, *, append_timeout_s: float, require_fsync: bool
    ) -> None:  # fmt: skip
        self._client = {**client, "error_cb": _note}
        self._topic = topic_of(shard)
        self._partition = TopicPartition(self._topic, 0)
        self._record_bytes = record_bytes
        self._timeout_ms = round(1000 * append_timeout_s)
        self._require_fsync = require_fsync
        self._admin: AdminClient | None = None
        self._producer: Producer | None = None
        self._writing = ThreadPoolExecutor(1, "kafka-writer")

    # -- what is asked of brokers -------------------------------------------------------------------------------------

    async def _asked(self, ask: Callable[[AdminClient], "Future[_T]"]) -> _T:
        """Return what brokers answer. ConnectionError."""
        if self._admin is None:
            self._admin = AdminClient(self._client)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(ask(self._admin)), _ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                made = "make it with hft-mmap cluster create"
                raise ConnectionError(f"there is no topic {self._topic}: {made}") from error
            raise ConnectionError(f"the log does not answer: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise ConnectionError("the log does not answer") from error

    async def open(self) -> None:
        """Connect, and look at the topic. ConnectionError."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
        found = await self._asked(lambda admin: admin.describe_configs([resource])[resource])
        config = {name: str(entry.value) for name, entry in found.items()}
        replicas = len((await self._described()).partitions[0].replicas)
        if faults := faults_of(config, replicas, self._record_bytes, require_fsync=self._require_fsync):
            raise LogUnfit(f"topic {self._topic}: {'; '.join(faults)}")

    async def _described(self) -> Any:  # noqa: ANN401 - confluent-kafka does not say its types
        asked = TopicCollection([self._topic])
        return await self._asked(lambda admin: admin.describe_topics(asked)[self._topic])

    async def identity(self) -> str:
        """Return name and id of the topic. ConnectionError."""
        return f"kafka {self._topic} {(await self._described()).topic_id}"

    async def bounds(self) -> Bounds:
        """Return how far it goes. ConnectionError."""
        first, last = await asyncio.gather(self._offset(_EARLIEST), self._offset(_LATEST))
        return Bounds(first + 1, last)

    async def _offset(self, spec: OffsetSpec) -> int:
        found = await self._asked(lambda admin: admin.list_offsets({self._partition: spec})[self._partition])
        return int(found.offset)

    # -- appending ----------------------------------------------------------------------------------------------------

    async def append(self, data: bytes, last: int) -> int:  # noqa: ARG002 - a broker compares nothing
        """Append a record. Unknown."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._send, data)

    def _send(self, data: bytes) -> int:
        """Send a record, and wait until it is told what became of it. Unknown."""
        told: list[tuple[KafkaError | None, Message]] = []
        if self._producer is None:
            self._producer = Producer({
                **self._client, "acks": "all", "enable.idempotence": True, "linger.ms": 0,
                "delivery.timeout.ms": self._timeout_ms, "message.max.bytes": self._record_bytes + _RECORD_OVERHEAD,
            })  # fmt: skip
        try:
            self._producer.produce(self._topic, data, partition=0, on_delivery=lambda *found: told.append(found))
            self._producer.flush()
        except (KafkaException, BufferError) as error:
            raise Unknown(str(error)) from error
        fault, message = told[0]
        if fault is not None:
            if fault.fatal():  # this producer takes nothing more
                self._producer = None
            raise Unknown(fault.str())
        return _sequence_of(message)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each record after `after`."""
        loop = asyncio.get_running_loop()
        while True:
            reading = ThreadPoolExecutor(1, "kafka-reader")
            consumer = Consumer({
                **self._client, "group.id": "hft-mmap", "enable.auto.commit": False, "auto.offset.reset": "error",
                "queued.max.messages.kbytes": _QUEUE_KIB, "fetch.queue.backoff.ms": 10,
                "fetch.message.max.bytes": self._record_bytes + _RECORD_OVERHEAD,
            })  # fmt: skip
            try:
                consumer.assign([TopicPartition(self._topic, 0, after)])
                while True:
                    for message in await loop.run_in_executor(reading, _next, consumer):
                        after = _sequence_of(message)
                        yield after, message.value() or b""
            except KafkaException:  # what is next is there no more, or not yet: begin with what is
                await asyncio.sleep(_AGAIN_S)
                after = await self._oldest(after)
            finally:
                reading.submit(consumer.close)
                reading.shutdown(wait=False)

    async def _oldest(self, after: int) -> int:
        """Return `after`, or where the log begins if that is later: the record that follows tells of the gap."""
        try:
            return max(after, (await self.bounds()).first - 1)
        except ConnectionError:
            return after

    # -- what operators do --------------------------------------------------------------------------------------------

    async def create(self, replicas: int, max_bytes: int | None, *, replace: bool = False) -> None:
        """Make the topic; replace: remove the one that is there. ConnectionError says why that can't be done."""
        if max_bytes is not None:
            raise ConnectionError("a topic has no bound that refuses records: leave --max-bytes out, and trim the log")
        removed = ""
        topic = NewTopic(self._topic, 1, replicas, config=config_of(replicas, self._record_bytes))
        if replace:
            gone = KafkaError.UNKNOWN_TOPIC_OR_PART
            await self._tried("removed", lambda admin: admin.delete_topics([self._topic]), gone)
            removed = "; the one before is removed"
        is_there = None if replace else KafkaError.TOPIC_ALREADY_EXISTS
        await self._tried(f"made{removed}", lambda admin: admin.create_topics([topic]), is_there)
        for tries_left in reversed(range(_TRIES)):
            try:
                await self.open()
                await self.bounds()
            except ConnectionError as error:
                if isinstance(error, LogUnfit) or not tries_left:
                    raise
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _tried(self, what: str, ask: Callable[[AdminClient], dict[str, "Future[Any]"]], fine: int | None) -> None:
        """Do it, again and again where brokers have to meet first; `fine`: the error that is none. ConnectionError."""
        for tries_left in reversed(range(_TRIES)):
            if self._admin is None:
                self._admin = AdminClient(self._client)
            try:
                await asyncio.wait_for(asyncio.wrap_future(ask(self._admin)[self._topic]), _ANSWER_S)
            except (KafkaException, TimeoutError) as error:
                code = error.args[0].code() if isinstance(error, KafkaException) else KafkaError.REQUEST_TIMED_OUT
                if code == fine:
                    return
                if not (tries_left and (code in _PASSES or code < 0)):  # below 0: of the connection
                    raise ConnectionError(f"topic {self._topic} was not {what}: {error}") from error
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def trim(self, below: int) -> None:
        """Remove the records below `below`. ConnectionError."""
        until = TopicPartition(self._topic, 0, below - 1)
        await self._asked(lambda admin: admin.delete_records([until])[until])

    async def close(self) -> None:
        """Let go of it."""
        if self._producer is not None:
            self._producer.purge()  # what is under way nobody waits for
        self._writing.shutdown(wait=False)


def _sequence_of(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - of a message that was delivered
    return offset + 1


def _next(consumer: Consumer) -> list[Message]:
    """Return what has come, nothing after a while. KafkaException where the place is none."""
    first = consumer.poll(_POLL_S)
    if first is None:
        return []
    found = [first, *consumer.consume(_AT_ONCE, 0)]
    for message in found:
        if (error := message.error()) is not None and error.code() in _NO_PLACE:
            raise KafkaException(error)
    return [message for message in found if message.error() is None]
