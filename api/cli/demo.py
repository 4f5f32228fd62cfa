"""`hft-mmap demo`: a service that is fed from a replay of recorded prices, so that there is something to look at.

The history is written to the store directly; what follows goes through POST /add_batch, as from any client. It goes
over a Unix socket in a directory of our own: whatever else listens on the port, no other service is ever fed.
"""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from api.cli.replay import Replay
from api.operation.settings import Effective, LogSettings, ServerSettings, Settings, StoreSettings
from api.server import serve
from hft_mmap import Store

HOST = "127.0.0.1"
_BATCHES_A_SECOND = 5
_BLOCK_POINTS = 1_000_000
_POINTS_A_DAY = 1600  # of the recording, for the liveliest symbol: the usual history ends half a year before it does
_CALM_S = 0.1  # between two looks whether the service answers yet
_RETRY_S = 1.0  # before a batch that was refused for now is sent again, where the service says nothing else
_FOR_NOW = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE}


class Instrument(NamedTuple):
    """One symbol of the demo, and its share of the points: 1 is that of the liveliest."""

    symbol: str
    share: float

    def replay(self, seed: int) -> Replay:
        """Return its prices. With fewer points come fewer for each day, so all symbols are at the same time."""
        return Replay(self.symbol, int(_POINTS_A_DAY * self.share), seed)


INSTRUMENTS = (Instrument("AAPL", 1.0), Instrument("MSFT", 0.6), Instrument("IBM", 0.3), Instrument("GOOG", 0.1))


def run(data_dir: Path, runtime_dir: Path, port: int | None, history: int, rate: int, seed: int) -> int:
    """Fill `data_dir`, serve it on loopback, and feed it until SIGINT or SIGTERM; return the exit code.

    `runtime_dir` is a directory of our own, for the socket. `port` None is 8080, or a free one if that is taken.
    `history` points are written where a symbol is missing, and `rate` points a second follow, for the liveliest symbol;
    the others have fewer.
    """
    click.echo(f"Making {history:,} points of history …")
    ticks = _fill(data_dir, history, seed)
    port = free_port() if port is None else port
    feeder = Feeder(UnixConnection(runtime_dir / "feed"), rate, seed, ticks=ticks)
    lines = (
        f"Dashboard  http://{HOST}:{port}/",
        f"API        http://{HOST}:{port}/docs",
        f"Data       {data_dir} (a replay of recorded prices)",
        "Ctrl+C stops it.",
    )
    thread = threading.Thread(target=feeder.run, args=(lines,))
    thread.start()
    settings = Settings(
        server=ServerSettings(host=HOST, port=port, unix_socket=str(runtime_dir / "feed")),
        log=LogSettings(level="warning", file=""),
        store=StoreSettings(data_dir=str(data_dir)),
    )
    try:
        return serve(Effective(settings, {}))
    finally:
        feeder.stop.set()
        thread.join()


def _fill(data_dir: Path, history: int, seed: int) -> frozenset[str]:
    """Write the history of each symbol that is missing; return those that have times and sizes."""
    with Store(data_dir) as store:
        present = {info.symbol for info in store.symbols()}
        for instrument in INSTRUMENTS:
            if instrument.symbol not in present:
                replay = instrument.replay(seed)
                for first, points in _blocks(int(history * instrument.share)):
                    times, sizes = replay.times(first, points), replay.sizes(first, points)
                    store.append(instrument.symbol, replay.prices(first, points), times=times, sizes=sizes)
        # What an older demo has kept may have prices alone.
        symbols = (instrument.symbol for instrument in INSTRUMENTS)
        return frozenset(one for one in symbols if "times" in store.series(one).columns)


def _blocks(points: int) -> Iterator[tuple[int, int]]:
    for first in range(0, points, _BLOCK_POINTS):
        yield first, min(points - first, _BLOCK_POINTS)


def free_port() -> int:
    """Return 8080, or a free port if somebody listens there."""
    for port in (ServerSettings().port, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError("no free port")


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Feeder:
    """Sends the replay to a service, as a client that does as it is told."""

    def __init__(
        self, connection: HTTPConnection, rate: int, seed: int, lists: Sequence[str] = ("/symbols",),
        ticks: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """Feed by `connection`, with `rate` points a second for the liveliest symbol; `lists`: where symbols stand.

        ticks: the symbols whose points have times and sizes.
        """
        self.stop = threading.Event()
        self._rate = rate
        self._replays = {instrument: instrument.replay(seed) for instrument in INSTRUMENTS}
        self._totals: dict[str, int] = {}
        self._wait_s: dict[str, float] = {}  # symbols that were refused: how long they wait yet
        self._told: set[tuple[str, int]] = set()
        self._connection = connection
        self._lists = lists
        self._ticks = ticks

    def run(self, lines: tuple[str, ...]) -> None:
        """Print `lines` once the service answers, then append batches of all symbols in turn until `stop` is set."""
        with closing(self._connection):
            while not self._learn_totals():
                if self.stop.wait(_CALM_S):
                    return
            click.echo("\n".join(lines))
            draw = np.random.default_rng()
            while not self.stop.wait(1 / _BATCHES_A_SECOND):
                for instrument in INSTRUMENTS:
                    self._wait_s[instrument.symbol] = self._wait_s.get(instrument.symbol, 0.0) - 1 / _BATCHES_A_SECOND
                    points = int(draw.poisson(self._rate * instrument.share / _BATCHES_A_SECOND))
                    if points and self._wait_s[instrument.symbol] <= 0:
                        self._append(instrument, points)

    def _learn_totals(self) -> bool:
        """Ask where each series ends; return whether there was an answer."""
        for path in self._lists:
            answer = self._ask("GET", path)
            if answer is None or answer[0] != HTTPStatus.OK:
                return False
            self._totals |= {row["symbol"]: row["total"] for row in answer[1]["symbols"]}
        return True

    def _append(self, instrument: Instrument, points: int) -> None:
        """Send the next points of one symbol.

        The batch says where it belongs, so one whose answer was lost is not stored twice. One that is refused for now
        is sent again when the service says; where somebody else has appended, the replay goes on behind that.
        """
        symbol = instrument.symbol
        offset = self._totals.get(symbol, 0)
        replay = self._replays[instrument]
        values = replay.prices(offset, points).tolist()
        batch: dict[str, object] = {"symbol": symbol, "values": values, "offset": offset}
        if symbol in self._ticks:
            batch |= {"times": replay.times(offset, points).tolist(), "sizes": replay.sizes(offset, points).tolist()}
        answer = self._ask("POST", "/add_batch", batch)
        if answer is None:
            return
        status, found, retry_after = answer
        if status in {HTTPStatus.OK, HTTPStatus.CONFLICT}:
            self._totals[symbol] = found["total"]
            return
        self._wait_s[symbol] = float(retry_after or _RETRY_S) if status in _FOR_NOW else float("inf")
        if (symbol, status) not in self._told:
            self._told.add((symbol, status))
            what = "it is sent again" if status in _FOR_NOW else f"{symbol} is fed no more"
            click.echo(f"{symbol} was refused with {status}; {what}: {found.get('detail', '')}", err=True)

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any], str | None] | None:
        """Return status, JSON and Retry-After of an answer; None while the service does not answer."""
        try:
            content = None if body is None else json.dumps(body)
            self._connection.request(method, path, content, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            return response.status, json.loads(response.read()), response.headers["Retry-After"]
        except (OSError, HTTPException, ValueError):
            self._connection.close()
            return None
