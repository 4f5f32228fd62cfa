"""The log in Kafka: what a replica needs of it, and what the commands do, with three real brokers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from api.cluster.block import NO_PARENT, NO_POINTS, Entry, Kind, encode, encode_entry
from api.cluster.kafka import KafkaLog, client_of, config_of, topic_of
from api.cluster.log import Bounds, LogUnfit, Unknown
from tests.cluster.brokers import Kafka, kafka_brokers, needs_kafka
from tests.cluster.shards import post, replicas, settings_of
from tests.service import run_command, running_service, wait_until

pytestmark = needs_kafka

LIMITS = encode_entry(Entry(Kind.LIMITS, "", 0, NO_POINTS, (9, 9)))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Yield three brokers."""
    with kafka_brokers(tmp_path_factory.mktemp("kafka")) as three:
        yield three


def log_of(kafka: Kafka, shard: int, *, timeout_s: float = 10.0, require_fsync: bool = True) -> KafkaLog:
    """Return the log of a shard."""
    client = client_of(str(kafka.settings["cluster__servers"]).split(","))
    return KafkaLog(client, shard, 900_000, append_timeout_s=timeout_s, require_fsync=require_fsync)


def run(log: KafkaLog, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work with a log."""

    async def closing() -> None:
        try:
            await work()
        finally:
            await log.close()

    asyncio.run(closing())


def blocks(n: int) -> list[bytes]:
    """Return records of any kind."""
    return [encode(0, NO_PARENT, [LIMITS] * (k + 1))[1] for k in range(n)]


async def read(log: KafkaLog, after: int, n: int) -> list[tuple[int, bytes]]:
    """Return `n` records."""
    found: list[tuple[int, bytes]] = []
    async for record in log.records(after):
        found.append(record)
        if len(found) == n:
            break
    return found


def test_what_was_appended_is_read_in_its_order(kafka: Kafka) -> None:
    """From any place; after a trim from where it begins, which shows as a gap. Another topic is another log."""
    log, sent = log_of(kafka, 10), blocks(5)

    async def work() -> None:
        with pytest.raises(ConnectionError, match="there is no topic hft-10: make it with hft-mmap cluster create"):
            await log.open()
        await log.create(3, None)
        await log.create(3, None)
        await log.open()
        assert await log.bounds() == Bounds(1, 0)
        assert [await log.append(data, 0) for data in sent] == [1, 2, 3, 4, 5]
        assert await read(log, 0, 5) == list(enumerate(sent, 1))
        assert await read(log, 3, 2) == [(4, sent[3]), (5, sent[4])]
        await log.trim(3)
        assert await log.bounds() == Bounds(3, 5)
        assert await read(log, 0, 1) == [(3, sent[2])]
        before = await log.identity()
        await log.create(3, None, replace=True)
        assert await log.bounds() == Bounds(1, 0)
        assert await log.identity() != before
        with pytest.raises(ConnectionError, match="leave --max-bytes out"):
            await log.create(3, 2**30)

    run(log, work)


def test_nobody_knows_of_a_record_that_no_majority_takes(kafka: Kafka) -> None:
    """It is `Unknown` once the time is over, and the next one is taken when the brokers are back."""
    log = log_of(kafka, 11, timeout_s=3.0)

    async def work() -> None:
        await log.create(3, None)
        assert await log.append(blocks(1)[0], 0) == 1
        for i in (0, 1):
            kafka.kill(i)
        try:
            with pytest.raises(Unknown):
                await log.append(blocks(1)[0], 1)
        finally:
            for i in (0, 1):
                kafka.start(i)
        while True:
            try:
                last = await log.append(blocks(1)[0], 1)
            except Unknown:
                continue
            break
        assert last in {2, 3}
        assert [sequence for sequence, _ in await read(log, 0, last)] == list(range(1, last + 1))

    run(log, work)


def made_otherwise(kafka: Kafka, shard: int, **config: str) -> None:
    """Make the topic of a shard by other settings than ours."""
    admin = AdminClient({"bootstrap.servers": str(kafka.settings["cluster__servers"])})
    whole = {**config_of(3, 900_000), **{name.replace("_", "."): value for name, value in config.items()}}
    admin.create_topics([NewTopic(topic_of(shard), 1, 3, config=whole)])[topic_of(shard)].result(60)


@pytest.mark.parametrize(
    ("shard", "name", "value"),
    [
        (20, "flush_messages", "1000"), (21, "retention_ms", "86400000"), (22, "min_insync_replicas", "1"),
        (23, "unclean_leader_election_enable", "true"), (24, "max_message_bytes", "100000"),
        (25, "cleanup_policy", "compact"),
    ],
)  # fmt: skip
def test_a_topic_that_loses_records_is_refused(kafka: Kafka, tmp_path: Path, shard: int, name: str, value: str) -> None:
    """By the log, and by check-config and serve with exit code 78; fsync alone may be left to brokers."""
    made_otherwise(kafka, shard, **{name: value})
    log = log_of(kafka, shard)

    async def work() -> None:
        with pytest.raises(LogUnfit, match=name.replace("_", ".")):
            await log.open()

    run(log, work)
    if name != "flush_messages":
        return
    settings: dict[str, Any] = settings_of(kafka, cluster__shard=shard)
    for command in ("serve", "check-config"):
        refused = run_command(tmp_path, command, **settings)
        assert (refused.returncode, "flush.messages must be 1" in refused.stderr) == (78, True), refused.stderr
    assert run_command(tmp_path, "check-config", **settings, cluster__require_fsync=False).returncode == 0


def test_replicas_hold_the_same_and_the_commands_trim_copy_and_begin_anew(kafka: Kafka, tmp_path: Path) -> None:
    """As with NATS: two replicas, a log that is trimmed, a copy; a log that is lost, and a new one."""
    settings: dict[str, Any] = settings_of(kafka)
    (tmp_path / "shard").mkdir()
    with replicas(kafka, tmp_path / "shard") as (a, b):
        for k in range(20):
            told = post((a, b)[k % 2], "BOTH", [float(k)], offset=k).json()
            assert (told["total"], told["durability"]) == (k + 1, "replicated")
            least = {"X-Min-Seq": str(told["seq"])}
            assert (b, a)[k % 2].client.get("/stats?symbol=BOTH&window=1", headers=least).json()["last"] == k
        wait_until(lambda: all(s.client.get("/cluster").json()["saved"] >= told["seq"] for s in (a, b)), "positions")
        status = run_command(tmp_path, "cluster", "status", a.url, b.url)
        assert status.returncode == 0, status.stdout
        trimmed = run_command(tmp_path, "cluster", "trim", a.url, b.url, "--keep", "0", **settings)
        assert trimmed.stdout == f"the log begins at {told['seq'] + 1}, and began at 1\n", trimmed.stderr
        copied = run_command(tmp_path, "cluster", "bootstrap", "copy/data", "--data-dir", str(b.data_dir))
        assert copied.returncode == 0, copied.stderr
        (tmp_path / "empty").mkdir()
        for name, reason in (("copy", "None"), ("empty", "log begins at")):
            with running_service(tmp_path / name, **settings) as other:
                wait_until(lambda: reason in str(other.client.get("/cluster").json()["reason"]), "the other to start")  # noqa: B023
        again = run_command(tmp_path, "cluster", "create", "--replace", "--yes", **settings)
        assert again.returncode == 0, again.stderr
        wait_until(lambda: "the log was replaced" in str(a.client.get("/cluster").json()["reason"]), "it to stop")
        assert a.stop() == 0
    begun = run_command(tmp_path, "cluster", "reseed", "--data-dir", str(a.data_dir), **settings)
    assert begun.returncode == 0, begun.stderr
    (tmp_path / "early").mkdir()
    with running_service(tmp_path / "early", **settings) as early:
        wait_until(lambda: "bootstrap it" in str(early.client.get("/cluster").json()["reason"]), "it to stop")
    with replicas(kafka, tmp_path / "shard", "a", made=True) as (a,):
        assert post(a, "BOTH", [20.0], offset=20).json()["seq"] == 2


def test_a_log_that_nobody_answers_for_is_waited_for(kafka: Kafka, tmp_path: Path) -> None:
    """check-config warns, and a replica says that it can't use it."""
    settings: dict[str, Any] = {**settings_of(kafka), "cluster__servers": "127.0.0.1:1"}
    assert run_command(tmp_path, "check-config", **settings).returncode == 0
    with running_service(tmp_path, **settings) as alone:
        wait_until(lambda: "the log can't be used" in alone.client.get("/cluster").json()["reason"], "it to say so")
        assert post(alone, "ANY", [1.0]).status_code == 503
