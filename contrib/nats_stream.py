"""Trades from a subject of NATS: `python -m contrib.nats_stream --subject 'trades.>' --journal nats.journal`.

The subject belongs to a stream of JetStream, which keeps its messages and numbers them; what NATS alone sends is gone
for whoever was not there. A message is JSON, as of `kafka_topic.py`. The journal says up to which message everything
is stored, and the stream is asked for all behind it: after a kill some come again, and are left out; none is missing
that the stream still keeps. A line of a recording is {"sequence": 17, "data": MESSAGE}.
"""

import asyncio
import random
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from contrib.keeper import Keeper, Trade, plain_trade
from contrib.running import Options, keeping, options, read, read_options, replay, say

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_MESSAGES, _WAIT_S, _COMMIT_S = 1_000, 1.0, 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


def recorded(line: dict[str, Any]) -> list[Trade]:
    """Return the trade of a line of a recording."""
    return [plain_trade(line["data"], int(line["sequence"]))]


def _one(number: int, message: dict[str, Any]) -> list[Trade]:
    return [plain_trade(message, number)]


async def _follow(stream: "JetStreamContext", subject: str, keeper: Keeper) -> None:
    """Take what comes behind what is stored, until the servers are gone; write down what is stored."""
    from nats.errors import TimeoutError as NothingCame  # noqa: PLC0415 - who replays a file needs none
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy  # noqa: PLC0415 - the same

    position = keeper.position(subject)
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=position + 1, ack_policy=AckPolicy.NONE
    )  # fmt: skip
    messages = await stream.pull_subscribe(subject, config=config)
    written, stored = monotonic(), position
    while True:
        found: list[Trade] = []
        try:
            for message in await messages.fetch(_MESSAGES, _WAIT_S):
                position = message.metadata.sequence.stream
                where = f"{message.subject}, message {position}"
                found += read(message.data, partial(_one, position), where)
        except NothingCame:
            await messages.consumer_info()  # an error, where the consumer is gone and nothing would ever come
        await asyncio.to_thread(keeper.take, found)
        if position > stored and monotonic() - written > _COMMIT_S:
            await asyncio.to_thread(keeper.reached, subject, position)
            written, stored = monotonic(), position


async def _run(servers: str, subject: str, keeper: Keeper) -> None:
    """Connect, and after any failure again."""
    try:
        import nats  # noqa: PLC0415 - who replays a file needs none
        from nats.errors import Error  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise click.ClickException("this needs nats-py: pip install nats-py") from error
    pause_s = _FIRST_PAUSE_S
    while True:
        before = keeper.given
        try:
            connection = await nats.connect(servers.split(","), allow_reconnect=False, connect_timeout=5)
            try:
                await _follow(connection.jetstream(), subject, keeper)
            finally:
                await connection.close()
        except (Error, OSError) as error:
            say(f"nats: {type(error).__name__}: {error}")
        pause_s = _FIRST_PAUSE_S if keeper.given > before else min(2 * pause_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def _bring(chosen: Options, servers: str, subject: str) -> None:
    with keeping(chosen, consecutive=False) as keeper:
        if chosen.replay is not None:
            replay(chosen.replay, keeper, recorded)
        else:
            asyncio.run(_run(servers, subject, keeper))


@click.command()
@options
@click.option("--servers", default="nats://127.0.0.1:4222", show_default=True, help="Servers of NATS, with commas.")
@click.option("--subject", default="trades", show_default=True, help="One subject, or a pattern of some of a stream.")
def main(*, servers: str, subject: str, **given: object) -> None:
    """Bring trades from a subject of NATS into a service."""
    _bring(read_options(given), servers, subject)


if __name__ == "__main__":
    main()
