"""The programs beside an exchange, or a server of NATS, that breaks off, while they are killed: each trade once."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import nats
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from hft_mmap.client import Client
from tests.cluster.servers import nats_servers
from tests.cluster.shards import needs_nats
from tests.contrib.programs import running
from tests.service import PATIENCE_S, Service, wait_until

SENT = 4
"""So many trades go out on each connection before it breaks."""


class Kraken:
    """An exchange on loopback: on each connection the newest two trades of before, then new ones, then it breaks."""

    def __init__(self) -> None:
        """Have no trades yet."""
        self.subscriptions: list[object] = []
        self.url = ""
        self.last = 100

    def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        with suppress(ConnectionClosed):
            self.subscriptions.append(json.loads(connection.recv()))
            connection.send(self.message("snapshot", range(self.last - 1, self.last + 1)))
            for _ in range(SENT):
                self.last += 1
                connection.send(self.message("update", [self.last]))
        if len(self.subscriptions) % 2:
            connection.socket.close()  # without a word

    def has_served(self, connections: int) -> bool:
        """Say whether there were so many."""
        return len(self.subscriptions) >= connections

    @staticmethod
    def message(kind: str, numbers: Iterable[int]) -> str:
        """Return what Kraken sends of these trades; the price of each is its number."""
        trades = [
            {"symbol": "BTC/USD", "side": "buy", "price": float(number), "qty": 1.0, "ord_type": "market",
             "trade_id": number, "timestamp": f"2026-01-01T00:00:00.{number:06d}Z"}
            for number in numbers
        ]  # fmt: skip
        return json.dumps({"channel": "trade", "type": kind, "data": trades})


@contextmanager
def exchange() -> Iterator[Kraken]:
    """Yield an exchange that is served."""
    kraken = Kraken()
    with serve(kraken, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kraken.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        yield kraken
        server.shutdown()
        thread.join(PATIENCE_S)


def test_an_exchange_that_breaks_off_and_a_program_that_is_killed(service: Service, tmp_path: Path) -> None:
    """Trades that come again are known by their number, before a kill and after it; SIGTERM ends in order."""
    options = ("--symbol", "BTC/USD=BTC-USD", "--exchange-url")
    with exchange() as kraken, Client(service.url) as client:
        for ending in (signal.SIGKILL, signal.SIGTERM):
            with running("kraken", service, tmp_path / "journal", *options, kraken.url) as process:
                enough = len(kraken.subscriptions) + 3
                wait_until(partial(kraken.has_served, enough), "three connections")
                process.send_signal(ending)
                code = process.wait(PATIENCE_S)
            assert code == (-ending if ending is signal.SIGKILL else 0)
        assert kraken.subscriptions[0] == {
            "method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True},
        }  # fmt: skip
        stored = client.values("BTC-USD").tolist()
    # Those of a connection that nobody read to its end may be missing; none is there twice, or out of place.
    assert stored == sorted(set(stored))
    assert stored[0] == 99.0
    assert len(stored) >= 3 * SENT


@needs_nats
def test_a_stream_of_nats_is_taken_once_through_a_kill(service: Service, tmp_path: Path) -> None:
    """Every message, in order, of all symbols that come; also those that were published while nobody was there."""
    total = 3000

    async def publish(servers: str, begin: int, end: int) -> None:
        connection = await nats.connect(servers)
        stream = connection.jetstream()
        if not begin:
            await stream.add_stream(name="TRADES", subjects=["trades.*"])
        for k in range(begin, end):
            symbol = f"S{k % 3}"
            message = {"symbol": symbol, "price": k, "size": 1, "side": "sell", "time": k}
            await stream.publish(f"trades.{symbol}", json.dumps(message).encode())
        await connection.close()

    with nats_servers(tmp_path, 1) as server, Client(service.url) as client:
        options = ("--servers", server.addresses, "--subject", "trades.*")
        asyncio.run(publish(server.addresses, 0, total // 2))
        with running("nats_stream", service, tmp_path / "journal", *options) as process:
            wait_until(lambda: client.total("S0") > 0, "points")
            process.kill()
            process.wait(PATIENCE_S)
        asyncio.run(publish(server.addresses, total // 2, total))
        with running("nats_stream", service, tmp_path / "journal", *options) as process:
            wait_until(lambda: client.total("S2") == total // 3, "all points")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        for k in range(3):
            assert client.values(f"S{k}").tolist() == list(range(k, total, 3))
