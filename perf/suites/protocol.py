"""A request from its bytes to the bytes of its answer, without sockets: what server, framework and service cost."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop
from uvicorn.server import ServerState

from api.app import create_app
from api.connection.connections import ConnectionLimits, Connections
from api.connection.protocol import HttpProtocol
from api.server import uvicorn_config
from hft_mmap import Durability, Store
from perf import bare
from perf.case import Case, Prepare, TimeFunction, Work, name
from perf.lab import ROOMY, SYMBOL, Lab
from perf.settings import settings
from perf.suites.decode import body
from perf.suites.store import LIMITS

SERVERS = ("uvicorn", "ours")
_UNDERSTOOD = 3  # the third is answered the short way, where there is one
_HOST = b"Host: 127.0.0.1:8080\r\n"
_DATE = (b"date", b"Sun, 22 Nov 2026 12:00:00 GMT")


class Wire(asyncio.Transport):
    """A transport that leads nowhere; it keeps the last thing written and counts the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.last = b""

    def write(self, data: Any) -> None:  # noqa: ANN401 - the type is asyncio's
        """Take what is written; an answer ends with its JSON."""
        self.last = data
        self.answers += data[-1:] == b"}"

    def get_extra_info(self, _name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio has it
        """Know nothing."""
        return default

    def is_closing(self) -> bool:
        """Never end."""
        return False

    def pause_reading(self) -> None:
        """Go on."""

    def resume_reading(self) -> None:
        """Go on."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have none: nothing waits."""

    def close(self) -> None:
        """Stay open."""


def get(path: str) -> bytes:
    """Return the bytes of a GET."""
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), _HOST)


def post(path: str, content: bytes) -> bytes:
    """Return the bytes of a POST of JSON."""
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (path.encode(), _HOST, len(content)) + content


async def _answer(protocol: asyncio.Protocol, wire: Wire, requests: Iterator[bytes], loops: int) -> float:
    begin = perf_counter()
    for _ in repeat(None, loops):
        before = wire.answers
        protocol.data_received(next(requests))
        while wire.answers == before:  # noqa: ASYNC110 - one turn of the loop is what a task is waiting for
            await asyncio.sleep(0)
    return perf_counter() - begin


@contextmanager
def answering(
    app: object, server: str, requests: list[bytes], watch: Connections | None = None
) -> Iterator[TimeFunction]:
    """Yield the function that sends the requests in turn to `app`, on a connection of that server's protocol.

    watch: the connections that the application was told of. Then requests that come again may go the short way.
    """
    watch = Connections(ConnectionLimits()) if watch is None else watch
    http: object = partial(HttpProtocol, watch=watch) if server == "ours" else "httptools"
    config = uvicorn_config(settings().server, app, http)
    config.load()
    state = ServerState()
    state.default_headers = [_DATE]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def connect() -> tuple[asyncio.Protocol, Wire]:
            make: Callable[..., asyncio.Protocol] = config.http_protocol_class
            made = make(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
            wire = Wire()
            made.connection_made(wire)
            return made, wire

        protocol, wire = runner.run(connect())
        turns = cycle(requests)
        runner.run(_answer(protocol, wire, turns, _UNDERSTOOD * len(requests)))
        assert b" 200 " in wire.last or wire.last.startswith(b"{"), wire.last
        gc.collect()
        gc.freeze()  # as the service does
        yield lambda loops: runner.run(_answer(protocol, wire, turns, loops))
        protocol.connection_lost(None)


def _bare(server: str, request: bytes) -> Prepare:
    @contextmanager
    def prepare(_lab: Lab) -> Iterator[TimeFunction]:
        with answering(bare.create_app(), server, [request]) as run:
            yield run

    return prepare


def _stats(server: str, *, short: bool = False) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        watch = Connections(ConnectionLimits()) if short else None
        with Store(lab.stored(10**6), mode="r", limits=ROOMY) as store:
            request = get(f"/stats/?symbol={SYMBOL}&exponent=5")
            with answering(create_app(store, settings(), connections=watch), server, [request], watch) as run:
                yield run

    return prepare


def add_batch_store(directory: Path) -> Store:
    """Return the store that batches are sent to: no syncs, and a retention that keeps it small."""
    return Store(directory / "data", limits=LIMITS, durability=Durability.PROCESS)


def _add_batch(server: str, values: int, *, short: bool = False) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        watch = Connections(ConnectionLimits()) if short else None
        requests = [post("/add_batch/", body(values, seed)) for seed in range(4)]
        with (
            lab.scratch() as scratch,
            add_batch_store(scratch) as store,
            answering(create_app(store, settings(), connections=watch), server, requests, watch) as run,
        ):
            yield run

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    request = Work(1, "requests")
    found = []
    for server in SERVERS:
        ours = server == "ours"
        found += [
            Case(name("protocol", "bare", method="GET", server=server), _bare(server, get("/")), request),
            Case(name("protocol", "bare", method="POST", server=server), _bare(server, post("/", body(10))), request),
            Case(name("protocol", "stats", exponent=5, server=server), _stats(server), request, guarded=ours),
            Case(
                name("protocol", "add_batch", values=10, server=server), _add_batch(server, 10), request, guarded=ours,
                metadata={"durability": Durability.PROCESS},
            ),
        ]  # fmt: skip
    # Against a revision that remembers nothing these are the cases above.
    found += [
        Case(
            name("protocol", "stats", exponent=5, server="ours", way="short"), _stats("ours", short=True), request,
            guarded=True,
        ),
        Case(
            name("protocol", "add_batch", values=10, server="ours", way="short"), _add_batch("ours", 10, short=True),
            request, guarded=True, metadata={"durability": Durability.PROCESS},
        ),
    ]  # fmt: skip
    return found
