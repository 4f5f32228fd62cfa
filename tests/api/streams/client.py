"""Clients of /stream: a well-behaved one, and a raw connection for everything else."""

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.service import PATIENCE_S, Service

Said = dict[str, Any]
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def target(**query: object) -> str:
    """Return path and query of a stream; a list or a range stands for a parameter that is given several times."""
    given = [(name, one) for name, value in query.items() for one in _each(value)]
    return "/stream?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in given)


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, list | range) else [value]


@contextmanager
def opened(service: Service, *, origin: Any = None, **query: object) -> Iterator[ClientConnection]:
    """Yield a client of a stream with this query, before the first message."""
    url = f"ws://127.0.0.1:{service.port}{target(**query)}"
    with connect(url, compression=None, open_timeout=PATIENCE_S, origin=origin) as client:
        yield client


@contextmanager
def ingesting(service: Service, **query: object) -> Iterator[ClientConnection]:
    """Yield a client that may send points, once the service has said hello."""
    with opened(service, mode="ingest", **query) as client:
        assert said(client)["event"] == "hello"
        yield client


def said(client: ClientConnection) -> Said:
    """Return the next message of the service."""
    message: Said = json.loads(client.recv(PATIENCE_S))
    return message


def acknowledged(client: ClientConnection, frames: int) -> Said:
    """Return the acknowledgement of so many frames; there may be others before it."""
    while (message := said(client))["frames"] < frames:
        assert message["event"] == "ack"
    return message


def ending(client: ClientConnection) -> tuple[list[Said], int]:
    """Return the messages that are left, and the close code."""
    messages: list[Said] = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(said(client))
    closed = client.protocol.close_rcvd
    assert closed is not None, f"cut off after {messages}"
    return messages, closed.code


def row(*values: float) -> bytes:
    """Return values as a stream takes them."""
    return np.array(values, dtype="<f8").tobytes()


def named(symbol: str, *values: float, offset: int = -1) -> bytes:
    """Return a message that says itself where its values go."""
    name = symbol.encode()
    header = struct.pack("<qB", offset, len(name)) + name
    return header + bytes(-len(header) % 8) + row(*values)


class Raw:
    """A connection whose handshake is done, and that sends whatever it is told to."""

    def __init__(self, port: int, receive_buffer_bytes: int = 0, **query: object) -> None:
        """Open a stream with this query, and read the answer to the handshake."""
        self.socket = socket.socket()
        if receive_buffer_bytes:  # before the connection is there, or the window is already promised
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            f"GET {target(**query)} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self.socket.makefile("rb")
        assert self._stream.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while self._stream.readline() != b"\r\n":
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send bytes as they are, in one piece."""
        self.socket.sendall(b"".join(frames))

    def frame(self) -> tuple[int, bytes] | None:
        """Return opcode and content of the next frame of the service; None at the end of the connection."""
        head = self._stream.read(2)
        if len(head) < 2:
            return None
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(self._stream.read(2 if size == 126 else 8), "big")
        return head[0] & 15, self._stream.read(size)

    def close_code(self) -> int:
        """Read up to the close frame; return its code, once the connection has ended too."""
        code = None
        while found := self.frame():
            if found[0] == CLOSE:
                code = int.from_bytes(found[1][:2], "big")
        assert code is not None, "cut off without a close frame"
        return code


@contextmanager
def unread_events(service: Service, receive_buffer_bytes: int, **query: object) -> Iterator[BinaryIO]:
    """Yield the answer of /events, of which nothing was read yet, and little fits into the buffer."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", service.port))
        path = target(**query).replace("/stream", "/events")
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            yield answer


def frame(opcode: int, content: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """Return a frame as a client sends it, or without the mask that it must have."""
    return Frame(Opcode(opcode), content, fin).serialize(mask=masked)


def resident_bytes(service: Service) -> int:
    """Return the memory that belongs to the process alone: mapped files are left out."""
    for line in Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no RssAnon")
