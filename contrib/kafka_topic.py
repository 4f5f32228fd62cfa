"""Trades from a topic of Kafka: `python -m contrib.kafka_topic --topic trades --journal kafka.journal`.

A message is JSON with symbol, price, size, side and time: `{"symbol": "BTC-USD", "price": 64000.5, "size": 0.25,
"side": "sell", "time": "2026-01-31T09:30:00Z"}`. `time` may be whole nanoseconds too; without `side`, the size has its
sign. A symbol is in one partition, as it is where messages are keyed by it, in the order of its trades: its offset
there is the number of a trade.

The offsets of the group are committed when everything before them is stored, so after a kill some messages come again,
and are left out; none is missing. A recording is what `kcat -C -J -e -t trades` prints.
"""

import json
from functools import partial
from time import monotonic
from typing import Any

import click

from contrib.keeper import Keeper, Trade, plain_trade
from contrib.running import keeping, options, read, read_options, replay

_MESSAGES, _WAIT_S, _COMMIT_S = 1_000, 0.2, 1.0


def recorded(line: dict[str, Any]) -> list[Trade]:
    """Return the trade of a line of kcat."""
    return [plain_trade(json.loads(line["payload"]), int(line["offset"]))]


def _one(number: int, message: dict[str, Any]) -> list[Trade]:
    return [plain_trade(message, number)]


def _consumer(servers: str, group: str) -> Any:  # noqa: ANN401 - of a package that may not be there
    try:
        from confluent_kafka import Consumer  # noqa: PLC0415 - who replays a file needs none
    except ModuleNotFoundError as error:
        raise click.ClickException("this needs confluent-kafka: pip install confluent-kafka") from error
    return Consumer({
        "bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
    })  # fmt: skip


def _follow(consumer: Any, topic: str, keeper: Keeper) -> None:  # noqa: ANN401 - the same
    """Take what comes, for ever; commit what is stored."""
    consumer.subscribe([topic])
    committed, is_new = monotonic(), False
    while True:
        found: list[Trade] = []
        for message in consumer.consume(_MESSAGES, _WAIT_S):
            if message.error() is not None:
                raise ValueError(f"{topic}: {message.error()}")
            number = message.offset()
            where = f"{topic}, partition {message.partition()}, offset {number}"
            found += read(message.value(), partial(_one, number), where)
        keeper.take(found)
        is_new = is_new or bool(found)
        if is_new and monotonic() - committed > _COMMIT_S:
            keeper.flush()
            consumer.commit(asynchronous=False)
            committed, is_new = monotonic(), False


@click.command()
@options
@click.option("--servers", default="127.0.0.1:9092", show_default=True, help="Servers of Kafka, with commas.")
@click.option("--topic", default="trades", show_default=True)
@click.option("--group", default="hft-mmap", show_default=True, help="The consumer group; one program has it.")
def main(*, servers: str, topic: str, group: str, **given: object) -> None:
    """Bring trades from a topic of Kafka into a service."""
    chosen = read_options(given)
    if chosen.replay is not None:
        with keeping(chosen, consecutive=False) as keeper:
            replay(chosen.replay, keeper, recorded)
        return
    consumer = _consumer(servers, group)
    try:
        with keeping(chosen, consecutive=False) as keeper:
            _follow(consumer, topic, keeper)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
