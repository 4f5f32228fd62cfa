"""What stands around the resources: the canonical log line, and faults that nobody expected."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from api.app import create_app
from api.http.exchange import Message, Scope
from api.operation.settings import LogSettings, Settings
from hft_mmap import Store
from tests.conftest import StartService
from tests.service import Service

FIELDS = {"method", "route", "status", "duration_ms", "symbol", "points", "request_id"}


def line(service: Service, name: str) -> dict[str, Any]:
    """Return the canonical line of the request that carried this X-Request-ID."""
    return service.wait_for_event("request", request_id=name)


def named(name: str) -> dict[str, str]:
    """Return headers that name a request."""
    return {"X-Request-ID": name}


def test_a_refused_request_has_one_line(service: Service) -> None:
    """With its method, route, status, symbol and the name that the answer carried; level info."""
    service.client.get("/stats/?symbol=XYZ&exponent=1", headers=named("r1"))
    found = line(service, "r1")
    assert found.keys() >= FIELDS
    assert (found["level"], found["method"], found["route"], found["status"]) == ("info", "GET", "/stats", 404)
    assert (found["symbol"], found["points"]) == ("XYZ", None)
    assert 0 < found["duration_ms"] < 30_000
    answer = service.client.get("/nothing")
    assert line(service, answer.headers["X-Request-ID"])["route"] == "/nothing"
    assert len(service.events("request")) == 2


def test_a_refused_batch_says_how_large_it_was(service: Service) -> None:
    """As soon as it could be read."""
    body = {"symbol": "A", "values": [1.0, -1.0, 2.0]}
    service.client.post("/add_batch", json=body, headers=named("r1"))
    found = line(service, "r1")
    assert (found["status"], found["symbol"], found["points"]) == (400, "A", 3)


def test_what_succeeds_quickly_has_no_line(service: Service) -> None:
    """Nor has a refusal by /ready or a question about health, which machines ask all the time."""
    service.add("A", [1.0])
    for path in ("/stats?symbol=A&k=1", "/symbols", "/health", "/ready", "/metrics", "/openapi.json"):
        assert service.client.get(path).status_code == 200
    service.client.delete("/health")
    service.client.get("/nothing", headers=named("last"))
    line(service, "last")
    assert [found["request_id"] for found in service.events("request")] == ["last"]


def test_at_level_debug_every_request_has_a_line(start_service: StartService) -> None:
    """But those about health, and scrapes."""
    service = start_service(log__level="debug")
    for path in ("/health", "/ready/", "/metrics"):
        service.client.get(path, headers=named("quiet"))
    body = {"symbol": "A", "values": [1.0, 2.0]}
    service.client.post("/add_batch/", json=body, headers=named("r1"))
    service.client.get("/stats?symbol=A&k=1", headers=named("r2"))
    found = line(service, "r1")
    assert (found["level"], found["status"], found["symbol"], found["points"]) == ("debug", 200, "A", 2)
    found = line(service, "r2")
    assert (found["level"], found["route"], found["symbol"], found["points"]) == ("debug", "/stats", "A", None)
    assert [found["request_id"] for found in service.events("request")] == ["r1", "r2"]


def test_a_slow_request_has_a_line(start_service: StartService) -> None:
    """At level warning; with a threshold of nothing every request is slow."""
    service = start_service(log__slow_request_ms=0)
    service.client.get("/symbols", headers=named("r1"))
    found = line(service, "r1")
    assert (found["level"], found["status"], found["route"]) == ("warning", 200, "/symbols")


def test_a_line_never_breaks_over_what_was_sent(service: Service) -> None:
    """A path with a line break, quotes or no text in it stands escaped and cut in its line."""
    service.client.get("/a%0Ab%22%FF" + "x" * 1000, headers=named("r1"))
    found = line(service, "r1")
    assert found["route"].startswith('/a\nb"')
    assert len(found["route"]) == 200


class Broken(Store):
    """A store with a fault that none of its errors describes."""

    def series(self, symbol: str) -> Any:
        """Fail."""
        raise ZeroDivisionError(symbol)


def ask(app: Any, scope: Scope) -> list[Message]:
    """Return what `app` sends for a request without a body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def request(path: str, query: bytes = b"", **members: object) -> Scope:
    """Return the scope of a GET."""
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "path": path, "raw_path": path.encode(), "query_string": query, "headers": [(b"x-request-id", b"r1")],
        "scheme": "http", "server": None, "client": None, "root_path": "", **members,
    }  # fmt: skip


@pytest.mark.parametrize(
    "scope",
    [
        request("/stats", b"symbol=SECRET&k=1"),  # a resource fails
        request("/stats", b"symbol=SECRET&k=1", http_version="0.9"),  # Falcon itself does
    ],
)
def test_an_unexpected_fault_is_500_and_stands_in_the_log(tmp_path: Path, scope: Scope) -> None:
    """The answer is a problem document that tells nothing of the inside; the log has the traceback, and the line."""
    with structlog.testing.capture_logs() as lines, Broken(tmp_path) as store:
        start, body = ask(create_app(store, Settings()), scope)
    problem = orjson.loads(body["body"])
    headers = dict(start["headers"])
    assert (start["status"], problem["status"], headers[b"x-request-id"]) == (500, 500, b"r1")
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert "ZeroDivision" not in body["body"].decode() + repr(headers)
    failure, canonical = lines
    assert (failure["event"], failure["log_level"], failure["request_id"]) == ("unexpected_error", "error", "r1")
    assert isinstance(failure["exc_info"], Exception)
    assert (canonical["event"], canonical["log_level"], canonical["status"]) == ("request", "error", 500)


def test_a_fault_after_the_answer_has_begun_is_raised(tmp_path: Path) -> None:
    """The server then closes the connection; two answers in one would be worse."""

    async def send(_message: Message) -> None:
        raise RuntimeError("already answered")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with structlog.testing.capture_logs(), Store(tmp_path) as store:
        app = create_app(store, Settings(log=LogSettings(level="error")))
        with pytest.raises(RuntimeError, match="already answered"):
            asyncio.run(app(request("/health"), receive, send))


def test_lifespan_is_answered(tmp_path: Path) -> None:
    """Any ASGI server can run the application; it has nothing to prepare."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    with Store(tmp_path) as store:
        app = create_app(store, Settings())
        asyncio.run(app({"type": "lifespan"}, receive, send))
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
