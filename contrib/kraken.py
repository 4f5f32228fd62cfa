"""Trades of Kraken (spot, API v2): `python -m contrib.kraken --symbol BTC/USD=BTC-USD --journal kraken.journal`.

Its channel `trade` numbers the trades of a symbol without a hole. The first message has the newest 50 of before, which
fills short interruptions; what is older than that is missing, and counted. `side` is the aggressor's.
"""

import json
from typing import Any

import click

from contrib.keeper import Trade, signed
from contrib.running import Exchange, options, read_options, run
from hft_mmap.by_time import instant_ns


def trades(message: dict[str, Any]) -> list[Trade]:
    """Return the trades of a message."""
    if message.get("success") is False:
        raise ValueError(f"Kraken says: {message.get('error')}")
    if message.get("channel") != "trade":  # heartbeat, status, the answer to a subscription
        return []
    return [
        Trade(
            one["symbol"], one["trade_id"], instant_ns(one["timestamp"], "timestamp"), float(one["price"]),
            signed(one["qty"], one["side"]),
        )
        for one in message["data"]
    ]  # fmt: skip


def subscriptions(names: list[str]) -> list[str]:
    """Return what asks for the trades of symbols."""
    return [json.dumps({"method": "subscribe", "params": {"channel": "trade", "symbol": names, "snapshot": True}})]


@click.command()
@options
@click.option("--exchange-url", help="Another place than that of Kraken.")
def main(*, exchange_url: str | None, **given: object) -> None:
    """Bring the trades of Kraken into a service."""
    exchange = Exchange(lambda _names: "wss://ws.kraken.com/v2", subscriptions, trades)
    run(exchange, read_options(given), exchange_url)


if __name__ == "__main__":
    main()
