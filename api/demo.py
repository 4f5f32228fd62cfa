"""`hft-mmap demo`: a service over synthetic prices that keep coming, so that there is something to look at.

Every price comes from a seeded random walk; no market is asked. The history is written to the store directly, what
follows goes through POST /add_batch, as from any client.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from api.server import serve
from api.settings import Effective, LogSettings, ServerSettings, Settings, StoreSettings
from hft_mmap import Store

HOST = "127.0.0.1"
_BATCHES_A_SECOND = 5
_BLOCK_POINTS = 1_000_000
_SPIKES_A_MILLION = 4  # single points far off: what a chart of samples would miss
_CALM_S = 0.1  # between two looks whether the service answers yet


class Instrument(NamedTuple):
    """One symbol of the demo: its first price, the step of a price, how nervous it is, and its share of the points."""

    symbol: str
    price: float
    tick: float
    volatility: float
    share: float


INSTRUMENTS = (
    Instrument("BTC-USD", 64_250.0, 0.01, 6e-6, 1.0),
    Instrument("ETH-USD", 3_180.0, 0.01, 8e-6, 0.6),
    Instrument("EUR/USD", 1.0842, 0.00001, 1.5e-6, 0.3),
    Instrument("ACME", 182.4, 0.01, 5e-6, 0.1),
)


class Walk:
    """A random walk of one instrument: the same prices for the same seed."""

    def __init__(self, instrument: Instrument, seed: int, price: float | None = None) -> None:
        """Begin at `price`, or at that of the instrument."""
        self._instrument = instrument
        self._random = np.random.default_rng([seed, *instrument.symbol.encode()])
        self._logarithm = np.log(price or instrument.price)

    def take(self, points: int) -> NDArray[np.float64]:
        """Return the next `points` prices, in whole ticks."""
        _, price, tick, volatility, _ = self._instrument
        draw = self._random
        # Calm and nervous times: the size of the steps wanders as well. A pull towards the first price keeps the walk
        # in sight of it over any number of points.
        nervous = np.exp(np.cumsum(draw.normal(0.0, 1e-3, points)))
        steps = draw.normal(0.0, volatility, points) * nervous
        steps -= (self._logarithm - np.log(price)) * 1e-6
        path = self._logarithm + np.cumsum(steps)
        self._logarithm = path[-1]
        prices = np.exp(path)
        spikes = np.flatnonzero(draw.random(points) < _SPIKES_A_MILLION / 1e6)
        prices[spikes] *= 1 + draw.choice([-1500, 1500], len(spikes)) * volatility
        rounded: NDArray[np.float64] = np.round(np.round(prices / tick) * tick, 8)
        return rounded


def run(data_dir: Path, port: int | None, history: int, rate: int, seed: int) -> int:
    """Fill `data_dir`, serve it on loopback, and feed it until SIGINT or SIGTERM; return the exit code.

    `port` None is 8080, or a free one if that is taken. `history` points are written where a symbol is missing, and
    `rate` points a second follow, for the liveliest symbol; the others have fewer.
    """
    click.echo(f"Making {history:,} points of history …")
    walks = _fill(data_dir, history, seed)
    port = _free_port() if port is None else port
    stop = threading.Event()
    feeder = threading.Thread(target=_feed, args=(walks, port, rate, data_dir, stop))
    feeder.start()
    settings = Settings(
        server=ServerSettings(host=HOST, port=port),
        log=LogSettings(level="warning", file=""),
        store=StoreSettings(data_dir=str(data_dir)),
    )
    try:
        return serve(Effective(settings, {}))
    finally:
        stop.set()
        feeder.join()


def _fill(data_dir: Path, history: int, seed: int) -> dict[Instrument, Walk]:
    """Write the history of each symbol that is missing; return the walks that go on from the newest prices."""
    walks = {}
    with Store(data_dir) as store:
        newest = {info.symbol: info.last for info in store.symbols()}
        for instrument in INSTRUMENTS:
            walk = walks[instrument] = Walk(instrument, seed, newest.get(instrument.symbol))
            for points in () if instrument.symbol in newest else _blocks(int(history * instrument.share)):
                store.append_nowait(instrument.symbol, walk.take(points))
    return walks


def _blocks(points: int) -> Iterator[int]:
    while points > 0:
        yield min(points, _BLOCK_POINTS)
        points -= _BLOCK_POINTS


def _free_port() -> int:
    """Return 8080, or a free port if somebody listens there."""
    for port in (ServerSettings().port, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError("no free port")


def _feed(walks: Mapping[Instrument, Walk], port: int, rate: int, data_dir: Path, stop: threading.Event) -> None:
    """Append batches of all symbols in turn, as soon as the service listens and until `stop` is set."""
    while not _listens(port):
        if stop.wait(_CALM_S):
            return
    click.echo(f"Dashboard  http://{HOST}:{port}/")
    click.echo(f"API        http://{HOST}:{port}/docs")
    click.echo(f"Data       {data_dir} (synthetic prices)")
    click.echo("Ctrl+C stops it.")
    draw = np.random.default_rng()
    with closing(HTTPConnection(HOST, port, timeout=10)) as connection:
        while not stop.wait(1 / _BATCHES_A_SECOND):
            for instrument, walk in walks.items():
                points = draw.poisson(rate * instrument.share / _BATCHES_A_SECOND)
                if points and not _append(connection, instrument.symbol, walk.take(points)):
                    break


def _append(connection: HTTPConnection, symbol: str, prices: NDArray[np.float64]) -> bool:
    """Send one batch; return whether it was answered. While the service stops, it is not."""
    body = json.dumps({"symbol": symbol, "values": prices.tolist()})
    try:
        connection.request("POST", "/add_batch", body, {"Content-Type": "application/json"})
        return connection.getresponse().read() != b""
    except (OSError, HTTPException):
        connection.close()
        return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
