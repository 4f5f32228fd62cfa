"""Trades of Coinbase: `python -m contrib.coinbase --symbol BTC-USD --journal coinbase.journal`.

The channel `market_trades` of Advanced Trade, or, with `--matches`, `matches` of Coinbase Exchange. Both number the
trades of a product without a hole. The first message has trades from before, which fills short interruptions; what is
older than that is missing, and counted. `side` is that of the order that was there before, so the aggressor's is the
other one.
"""

import json
from typing import Any

import click

from contrib.keeper import Trade, signed
from contrib.running import Exchange, options, read_options, run
from hft_mmap.by_time import instant_ns

_ADVANCED_TRADE = "wss://advanced-trade-ws.coinbase.com"
_EXCHANGE = "wss://ws-feed.exchange.coinbase.com"


def trades(message: dict[str, Any]) -> list[Trade]:
    """Return the trades of a message of either channel."""
    if message.get("type") == "error":
        raise ValueError(f"Coinbase says: {message.get('message')} {message.get('reason', '')}".rstrip())
    if message.get("type") in {"match", "last_match"}:
        return [_trade(message)]
    if message.get("channel") != "market_trades":  # heartbeats, the answer to a subscription
        return []
    return [_trade(one) for event in message["events"] for one in event["trades"]]


def _trade(found: dict[str, Any]) -> Trade:
    size = signed(found["size"], found["side"], of_maker=True)
    time_ns = instant_ns(found["time"], "time")
    return Trade(found["product_id"], int(found["trade_id"]), time_ns, float(found["price"]), size)


@click.command()
@options
@click.option("--matches", is_flag=True, help="The channel matches of Coinbase Exchange.")
@click.option("--exchange-url", help="Another place than that of Coinbase.")
def main(*, matches: bool, exchange_url: str | None, **given: object) -> None:
    """Bring the trades of Coinbase into a service."""

    def subscriptions(names: list[str]) -> list[str]:
        asked = {"type": "subscribe", "product_ids": names}
        if matches:
            return [json.dumps(asked | {"channels": ["matches", "heartbeat"]})]
        return [json.dumps(asked | {"channel": channel}) for channel in ("market_trades", "heartbeats")]

    url = _EXCHANGE if matches else _ADVANCED_TRADE
    run(Exchange(lambda _names: url, subscriptions, trades), read_options(given), exchange_url)


if __name__ == "__main__":
    main()
