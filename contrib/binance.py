"""Trades of Binance (spot): `python -m contrib.binance --symbol BTCUSDT=BTC-USDT --journal binance.journal`.

Its streams `aggTrade` (what one order took at one price) and, with `--each`, `trade`. Both number what they send
without a hole in each symbol. Nothing is sent again: trades while nobody was connected are missing, and counted.
"""

from typing import Any

import click

from contrib.keeper import Trade
from contrib.running import Exchange, options, read_options, run

_MILLISECOND_NS = 1_000_000
_NUMBER = {"aggTrade": "a", "trade": "t"}


def trades(message: dict[str, Any]) -> list[Trade]:
    """Return the trade of a message, of a stream alone or of several in one."""
    if "error" in message:
        raise ValueError(f"Binance says: {message['error']}")
    found = message.get("data", message)
    number = _NUMBER.get(found.get("e"))
    if number is None:  # the answer to a subscription
        return []
    size = float(found["q"])
    # "m": the buyer's order was there before, so the seller was the aggressor.
    signed = -size if found["m"] else size
    return [Trade(found["s"], found[number], found["T"] * _MILLISECOND_NS, float(found["p"]), signed)]


@click.command()
@options
@click.option("--each", is_flag=True, help="Each trade by itself, where one order met several.")
@click.option("--exchange-url", help="Another place than that of Binance.")
def main(*, each: bool, exchange_url: str | None, **given: object) -> None:
    """Bring the trades of Binance into a service."""
    kind = "trade" if each else "aggTrade"

    def url(names: list[str]) -> str:
        streams = "/".join(f"{name.lower()}@{kind}" for name in names)
        return f"wss://stream.binance.com:9443/stream?streams={streams}"

    run(Exchange(url, lambda _names: [], trades), read_options(given), exchange_url)


if __name__ == "__main__":
    main()
