"""What all programs have: options, the connections to the service and to an exchange, the replay of a recording."""

import json
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import click
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from contrib.journal import Journal
from contrib.keeper import Keeper, Trade
from hft_mmap import HftMmapError
from hft_mmap.client import Client, Retry

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SILENT_S = 60.0
"""An exchange that says nothing for so long is asked anew; each of them sends something every few seconds."""
_GIVE_UP_S = 600.0
Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. names: symbols of the source, and what they are called in the store."""

    url: str
    token: str | None
    names: dict[str, str]
    journal: Path
    replay: Path | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange: where it is, how to ask for symbols, and how to read what it sends.

    trades: the trades of a message; ValueError where it says that something is wrong.
    """

    url: Callable[[list[str]], str]
    subscriptions: Callable[[list[str]], list[str]]
    trades: Callable[[Any], list[Trade]]


def options(command: Command) -> Command:
    """Give a command the options that `read_options` takes."""
    for option in (
        click.option("--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="Take the messages of this file, one a line, and end."),
        click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), required=True,
                     help="Where to write which trade each point is; one file for each program."),
        click.option("--symbol", "symbols", multiple=True, metavar="NAME[=SYMBOL]",
                     help="A symbol of the source, and what the store calls it; may be given several times."),
        click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="A file with the token of the service (read and write)."),
        click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The service."),
    ):  # fmt: skip
        command = option(command)
    return command


def read_options(given: dict[str, Any]) -> Options:
    """Return what the options say."""
    names = dict(one.split("=", 1) if "=" in one else (one, one) for one in given["symbols"])
    token = given["token_file"].read_text(encoding="utf-8").strip() if given["token_file"] else None
    return Options(given["url"], token, names, given["journal"], given["replay"])


def say(text: str) -> None:
    """Tell whoever runs the program."""
    click.echo(text, err=True)


@contextmanager
def keeping(chosen: Options, *, consecutive: bool) -> Iterator[Keeper]:
    """Yield what gives trades to the service; at the end everything is stored, or an error says why not."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with (
            Journal(chosen.journal) as journal,
            Client(chosen.url, token=chosen.token, retry=Retry(give_up_s=_GIVE_UP_S)) as client,
            client.feed() as feed,
        ):
            keeper = Keeper(client, feed, journal, chosen.names, consecutive=consecutive, say=say)
            try:
                yield keeper
                keeper.flush()
            finally:
                say(keeper.summary())
    except (HftMmapError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def replay(path: Path, keeper: Keeper, trades: Callable[[Any], list[Trade]]) -> None:
    """Take the messages of a file, one a line."""
    with path.open(encoding="utf-8") as lines:
        for place, line in enumerate(lines, start=1):
            keeper.take(read(line, trades, f"{path}:{place}"))


def read(text: str | bytes, trades: Callable[[Any], list[Trade]], where: str) -> list[Trade]:
    """Return the trades of a message of JSON; ValueError says what is wrong, and with which."""
    try:
        return trades(json.loads(text))
    except (ValueError, HftMmapError) as error:
        raise ValueError(f"{where}: {error}: {text[:200]!r}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: not of the shape of a message of trades ({error!r}): {text[:200]!r}") from error


def run(exchange: Exchange, chosen: Options, at: str | None) -> None:
    """Bring the trades of an exchange, for ever, or those of a recording; at: another place than its own."""
    names = list(chosen.names)
    if chosen.replay is None and not names:
        raise click.UsageError("name at least one symbol: --symbol NAME[=SYMBOL]")
    with keeping(chosen, consecutive=True) as keeper:
        if chosen.replay is not None:
            replay(chosen.replay, keeper, exchange.trades)
            return
        pause_s = _FIRST_PAUSE_S
        while True:
            before = keeper.given
            try:
                _follow(exchange, at or exchange.url(names), names, keeper)
            except HftMmapError:
                raise  # of the service, which was tried for long enough
            except (OSError, WebSocketException) as error:
                say(f"the exchange: {type(error).__name__}: {error}")
            pause_s = _FIRST_PAUSE_S if keeper.given > before else min(2 * pause_s, _LONGEST_PAUSE_S)
            sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def _follow(exchange: Exchange, url: str, names: list[str], keeper: Keeper) -> None:
    """Take the messages of one connection, until it ends."""
    with connect(url) as connection:
        for text in exchange.subscriptions(names):
            connection.send(text)
        while True:
            keeper.take(read(connection.recv(_SILENT_S), exchange.trades, url))
