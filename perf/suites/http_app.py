"""Requests through the ASGI application in this process: what the service costs without server and sockets."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, repeat
from time import perf_counter
from typing import Any

import uvloop

from api.app import create_app
from hft_mmap import Durability, Limits, Store
from perf import bare
from perf.case import Case, Prepare, TimeFunction, Work, name
from perf.lab import ROOMY, SYMBOL, Lab
from perf.memory import no_collection, touch
from perf.prices import random_walk
from perf.settings import settings
from perf.suites.decode import body
from perf.suites.store import LIMITS, warm_bytes

_JSON = (b"content-type", b"application/json")


def scope(method: str, path: str, query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> dict[str, Any]:
    """Return the scope that uvicorn gives for such a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 40000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8080"), *headers],
        "state": {},
    }


class Caller:
    """Calls an ASGI application with one request again and again, and takes what it sends."""

    def __init__(self, app: Any, template: dict[str, Any], bodies: list[bytes]) -> None:  # noqa: ANN401
        self._app = app
        self._template = template
        self._events = cycle([{"type": "http.request", "body": one, "more_body": False} for one in bodies])
        self.status = 0
        self.answer = b""

    async def _receive(self) -> dict[str, Any]:
        return next(self._events)

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
        else:
            self.answer = event.get("body", b"")

    async def call(self, loops: int) -> float:
        """Make so many requests and return the seconds they took."""
        app, template, receive, send = self._app, self._template, self._receive, self._send
        begin = perf_counter()
        for _ in repeat(None, loops):
            await app(template.copy(), receive, send)
        seconds = perf_counter() - begin
        assert self.status in {200, 204}, self.answer
        return seconds


@contextmanager
def timing(app: Any, template: dict[str, Any], bodies: list[bytes]) -> Iterator[TimeFunction]:  # noqa: ANN401
    """Yield what times one request to `app`, again and again."""
    caller = Caller(app, template, bodies)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, no_collection():
        runner.run(caller.call(3))
        yield lambda loops: runner.run(caller.call(loops))


def _stats(stored: int, question: str) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            query = f"symbol={SYMBOL}{question}".encode()
            with timing(create_app(store, settings()), scope("GET", "/stats/", query), [b""]) as run:
                yield run

    return prepare


def _series(stored: int, buckets: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            query = f"symbol={SYMBOL}&buckets={buckets}".encode()
            with timing(create_app(store, settings()), scope("GET", "/series/", query), [b""]) as run:
                yield run

    return prepare


def _stats_after_each_append(question: str) -> Prepare:
    """One append by the library (4 us) before each request, so that no answer can be remembered."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with lab.borrowed(10**6) as data, Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
            app = create_app(store, settings())
            series = store.series(SYMBOL)
            batch = store.window(SYMBOL, 1).copy()

            async def changing(asked: dict[str, Any], receive: object, send: object) -> None:
                series.append_nowait(batch)
                await app(asked, receive, send)  # type: ignore[arg-type]

            query = f"symbol={SYMBOL}{question}".encode()
            with timing(changing, scope("GET", "/stats/", query), [b""]) as run:
                yield run

    return prepare


def _add_batch(values: int, limits: Limits, durability: Durability) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        bodies = [body(values, seed) for seed in range(4)]
        headers = (_JSON, (b"content-length", str(len(bodies[0])).encode()))
        touch(warm_bytes(values))
        with lab.scratch() as scratch, Store(scratch / "data", limits=limits, durability=durability) as store:
            app = create_app(store, settings())
            with timing(app, scope("POST", "/add_batch/", headers=headers), bodies) as run:
                yield run

    return prepare


def lines(count: int, seed: int = 1) -> bytes:
    """Return a body of line protocol, of one symbol: cents, as a feed handler sends them."""
    prices = random_walk(count, seed)
    begin_ns = 1_767_225_600_000_000_000
    return b"".join(
        b'trades,exchange=X,symbol=%s side="%s",price=%.2f,amount=%d %d\n'
        % (SYMBOL.encode(), b"sell" if k % 3 else b"buy", price, k % 9 + 1, begin_ns + k)
        for k, price in enumerate(prices)
    )


def _write(count: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        bodies = [lines(count, seed) for seed in range(4)]
        with (
            lab.scratch() as scratch,
            Store(scratch / "data", limits=LIMITS, durability=Durability.PROCESS) as store,
            timing(create_app(store, settings()), scope("POST", "/write"), bodies) as run,
        ):
            yield run

    return prepare


def _bare(method: str) -> Prepare:
    @contextmanager
    def prepare(_lab: Lab) -> Iterator[TimeFunction]:
        raw = body(10)
        headers = (_JSON, (b"content-length", str(len(raw)).encode())) if method == "POST" else ()
        with timing(bare.create_app(), scope(method, "/", headers=headers), [raw]) as run:
            yield run

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    request = Work(1, "requests")
    found = [Case(name("http_app", "bare", method=method), _bare(method), request) for method in ("GET", "POST")]
    found += [
        Case(
            name("http_app", "stats", exponent=k), _stats(10**6, f"&exponent={k}"), request, guarded=k == 5
        )
        for k in (1, 5, 8)
    ]  # fmt: skip
    found.append(Case(name("http_app", "stats_all"), _stats(10**6, ""), request))
    found += [
        Case(name("http_app", "series", stored=10**8, buckets=n), _series(10**8, n), request) for n in (1000, 5000)
    ]
    found += [
        Case(
            name("http_app", "append_then_stats", exponent=5), _stats_after_each_append("&exponent=5"), request,
            guarded=True, metadata={"durability": Durability.PROCESS},
        ),
        Case(
            name("http_app", "append_then_stats_all"), _stats_after_each_append(""), request,
            metadata={"durability": Durability.PROCESS},
        ),
    ]  # fmt: skip
    found += [
        Case(
            name("http_app", "add_batch", values=n), _add_batch(n, LIMITS, Durability.PROCESS), Work(n, "values"),
            guarded=n in {10, 10_000}, metadata={"durability": Durability.PROCESS},
        )
        for n in (10, 1_000, 10_000, 100_000)
    ]  # fmt: skip
    found += [
        Case(
            name("http_app", "write", lines=n), _write(n), Work(n, "ticks"), metadata={"durability": Durability.PROCESS}
        )
        for n in (1, 1_000, 40_000)
    ]
    return found
