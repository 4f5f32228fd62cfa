"""What the tests of both clients share: each runs with Client and with AsyncClient."""

import asyncio
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from hft_mmap.client import AsyncClient, AsyncFeed, Client, Windows
from tests.service import PATIENCE_S


class Blocking:
    """An AsyncClient that is called like a Client, so that every test holds both."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what AsyncClient takes."""
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the method of that name, run to its end."""
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def stream(self, *args: Any, **options: Any) -> Iterator[Windows]:
        """Yield what the stream of the client yields."""
        updates = self._client.stream(*args, **options)
        try:
            while True:
                yield self._runner.run(anext(updates))
        finally:
            self._runner.run(updates.aclose())

    def feed(self, **options: Any) -> "BlockingFeed":
        """Return a feed of the client."""
        return BlockingFeed(self._runner, self._client.feed(**options))

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._runner.run(self._client.close())
        self._runner.close()


class BlockingFeed:
    """An AsyncFeed that is called like a Feed; its connection lives while it is called."""

    def __init__(self, runner: asyncio.Runner, feed: AsyncFeed) -> None:
        """Take the feed, and the loop that it lives on."""
        self._runner = runner
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        """Return what the feed has of that name; a method is run to its end."""
        found = getattr(self._feed, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **options: self._runner.run(found(*args, **options))

    def __enter__(self) -> Self:
        """Begin."""
        self._runner.run(self._feed.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._runner.run(self._feed.close())


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Return the class of the client under test."""
    return request.param


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"C/{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def scripted() -> Iterator[Callable[[list[bytes]], tuple[str, list[bytes]]]]:
    """Return a function that starts a server with these answers, one a connection; b"" hangs up unanswered."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def start(answers: list[bytes]) -> tuple[str, list[bytes]]:
        requests: list[bytes] = []

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(65_536))
                    connection.sendall(answer)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}", requests

    yield start
    for thread in threads:
        thread.join(PATIENCE_S)
    listener.close()
