"""A stop with clients that do not read: it waits for none of them until the grace is over."""

import json

import pytest

from tests.api.streams.client import BINARY, Raw, frame, named, unread_events
from tests.conftest import StartService
from tests.service import Service, wait_until

SYMBOLS = [f"{number:03}" for number in range(256)]
MANY = {"symbol": SYMBOLS, "window": range(1, 17), "interval_ms": 10}
"""What makes the first messages of a stream too large for the buffers on the way, and so its sender wait."""


@pytest.fixture
def wide(start_service: StartService) -> Service:
    """Return a service with 256 series, and little time for a stop."""
    service = start_service(store__max_symbols=256, store__starting_capacity=0, server__shutdown_grace_s=4)
    lines = b"".join(json.dumps({"symbol": symbol, "values": [1.0]}).encode() + b"\n" for symbol in SYMBOLS)
    answer = service.client.post("/add_batch", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    return service


def test_clients_that_do_not_read_do_not_hold_up_the_stop(wide: Service) -> None:
    """Statistics over a WebSocket and as events, and acknowledgements: each waits for its reader, and is cut off."""
    with (
        Raw(wide.port, receive_buffer_bytes=4096, mode="stats", **MANY),
        unread_events(wide, 4096, **MANY),
        Raw(wide.port, receive_buffer_bytes=4096, mode="ingest") as ingest,
    ):
        every = b"".join(frame(BINARY, named(symbol, 2.0)) for symbol in SYMBOLS)
        for _ in range(150):  # each makes an acknowledgement of 2.5 kB
            ingest.send(every)
            assert wide.client.get("/health").status_code == 200
        last = {"symbol": SYMBOLS[-1]}
        wait_until(lambda: wide.client.get("/stats", params=last).json()["total"] == 151, "the last frame")
        assert wide.stop() == 0
    assert {event["mode"] for event in wide.events("stream")} == {"stats", "events", "ingest"}
    assert [event for event in wide.events() if event["level"] == "error"] == []
