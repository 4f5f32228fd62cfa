"""Frames that no honest client sends, and clients that do not read: nothing is stored, nothing grows, others go on."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from api.app import create_app
from api.connection.connections import ConnectionLimits, Connections
from api.connection.protocol import HttpProtocol
from api.connection.websocket import MAX_FRAGMENTS, StreamProtocol
from api.operation.settings import Settings
from hft_mmap import Store
from tests.api.streams.client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame, resident_bytes, row
from tests.service import Service, wait_until

PRICES = row(1.0, 2.0, 3.0)
MIB = 2**20


def text(connection: Raw) -> dict[str, object]:
    """Return the next text message."""
    found = connection.frame()
    while found is not None and found[0] != TEXT:
        found = connection.frame()
    assert found is not None
    message: dict[str, object] = json.loads(found[1])
    return message


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, PRICES, masked=False), 1002),
        (b"\xc2" + frame(BINARY, PRICES)[1:], 1002),
        (b"\x83" + frame(BINARY, PRICES)[1:], 1002),
        (frame(CONTINUATION, PRICES), 1002),
        (frame(BINARY, PRICES, fin=False) + frame(BINARY, PRICES), 1002),
        (b"\x89\xfe\x00\x7e" + bytes(130), 1002),
        (b"\x09\x80" + bytes(4), 1002),
        (b"\x88\x81" + bytes(5), 1002),
        (b"\x82\xff\x40" + bytes(7), 1009),
        (frame(BINARY, bytes(4 * MIB + 8)), 1009),
        (frame(BINARY, bytes(3 * MIB), fin=False) + frame(CONTINUATION, bytes(3 * MIB)), 1009),
        (frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * (MAX_FRAGMENTS + 1), 1009),
        (frame(TEXT, b'{"symbol":"A\xff"}'), 1007),
        (frame(TEXT, b"\xe6", fin=False) + frame(CONTINUATION, b"\xff"), 1007),
    ],
    ids=[
        "unmasked", "reserved bit", "unknown opcode", "nothing to continue", "not continued", "long ping",
        "fragmented ping", "close of one byte", "huge", "too large", "too large in two", "many fragments", "no text",
        "no text in two",
    ],
)  # fmt: skip
def test_frames_that_break_the_protocol_end_the_stream(shared_service: Service, sent: bytes, code: int) -> None:
    """With the close code of RFC 6455, and nothing of them is stored."""
    with Raw(shared_service.port, mode="ingest", symbol="BROKEN") as connection:
        connection.send(sent)
        assert connection.close_code() == code
    rows = shared_service.client.get("/symbols").json()["symbols"]
    assert "BROKEN" not in [found["symbol"] for found in rows]
    assert not [event for event in shared_service.events() if event["level"] == "error"]


def test_a_message_may_come_in_fragments_with_pings_between(shared_service: Service) -> None:
    """It is one batch; the ping is answered with its own content."""
    with Raw(shared_service.port, mode="ingest", symbol="FRAGMENTS") as connection:
        connection.send(frame(BINARY, PRICES[:5], fin=False), frame(PING, b"there?"))
        connection.send(frame(CONTINUATION, fin=False), frame(CONTINUATION, PRICES[5:]))
        assert text(connection)["event"] == "hello"
        assert connection.frame() == (PONG, b"there?")
        assert text(connection) == {"event": "ack", "frames": 1, "total": 3}


def test_a_frame_may_come_byte_by_byte(shared_service: Service) -> None:
    """And its end together with the next one."""
    whole = frame(BINARY, PRICES)
    with Raw(shared_service.port, mode="ingest", symbol="BYTES") as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(whole) - 1):
            connection.send(whole[i : i + 1])
        connection.send(whole[-1:], whole)
        assert text(connection)["event"] == "hello"
        while (acknowledged := text(connection))["frames"] != 2:
            pass
        assert acknowledged["total"] == 6


def test_the_largest_batch_is_one_frame(shared_service: Service) -> None:
    """As many values as a POST may have."""
    with Raw(shared_service.port, mode="ingest", symbol="LARGEST") as connection:
        connection.send(frame(BINARY, PRICES[:8] * 100_000))
        assert text(connection)["event"] == "hello"
        assert text(connection) == {"event": "ack", "frames": 1, "total": 100_000}


def test_a_flood_of_pings_that_nobody_reads_the_answers_of_costs_no_memory(shared_service: Service) -> None:
    """10 MiB of pings: what does not go out at once is dropped, and others are answered meanwhile."""
    flood = frame(PING, bytes(125)) * 4000
    with Raw(shared_service.port, receive_buffer_bytes=4096, mode="ingest", symbol="PINGS") as connection:
        before = resident_bytes(shared_service)
        for _ in range(20):
            connection.send(flood)
            assert shared_service.client.get("/health").status_code == 200
        assert resident_bytes(shared_service) - before < 4 * MIB
        connection.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        pongs = 0
        while (found := connection.frame()) is not None:
            pongs += found[0] == PONG
        assert pongs < 20 * 4000


def test_frames_are_taken_from_a_client_that_never_reads(shared_service: Service) -> None:
    """Acknowledgements that it does not take are not kept: the next one says more."""
    frames = 20_000
    block = frame(BINARY, PRICES) * 1000
    with Raw(shared_service.port, receive_buffer_bytes=4096, mode="ingest", symbol="DEAF") as connection:
        before = resident_bytes(shared_service)
        for _ in range(frames // 1000):
            connection.send(block)
        connection.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        shared_service.wait_for_event("stream", symbol="DEAF", frames=frames, points=3 * frames)
        assert resident_bytes(shared_service) - before < 8 * MIB


def test_a_stream_that_is_opened_and_dropped_leaves_nothing(shared_service: Service) -> None:
    """Reset right after the handshake, a hundred times: no place stays taken."""
    for _ in range(300):
        with Raw(shared_service.port, mode="ingest", symbol="DROPPED") as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with Raw(shared_service.port, mode="ingest", symbol="DROPPED") as connection:
        assert text(connection)["event"] == "hello"


@contextmanager
def served(store: Store, patience_s: float) -> Iterator[int]:
    """Yield the port of a server of `store` that asks quiet clients after `patience_s`, and waits as long again."""
    http: Any = partial(HttpProtocol, watch=Connections(ConnectionLimits()))
    config = uvicorn.Config(
        create_app(store, Settings()), ws=StreamProtocol, http=http, lifespan="off", log_config=None,
        ws_ping_interval=patience_s, ws_ping_timeout=patience_s, interface="asgi3",
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=server.run, args=([listener],))
        serving.start()
        wait_until(lambda: server.started, "the server")
        yield listener.getsockname()[1]
        server.should_exit = True
        serving.join()


def test_a_quiet_client_must_answer_pings_and_a_busy_one_need_not(tmp_path: Path) -> None:
    """One sends frames and never a pong, the other nothing at all: only that one is ended, with 1011."""
    with (
        Store(tmp_path) as store,
        served(store, 0.05) as port,
        Raw(port, mode="ingest", symbol="A") as quiet,
        Raw(port, mode="ingest", symbol="A") as busy,
    ):
        frames = 0
        received = b""
        while not received.endswith(b"keepalive ping timeout"):
            busy.send(frame(BINARY, PRICES))
            frames += 1
            if select.select([quiet.socket], [], [], 0.005)[0]:
                part = quiet.socket.recv(4096)
                assert part
                received += part
        assert (1011).to_bytes(2, "big") in received
        busy.send(frame(BINARY, PRICES))
        assert text(busy)["event"] == "hello"
        while text(busy)["frames"] != frames + 1:
            pass
