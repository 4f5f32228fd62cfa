"""Two services that differ in one setting: one remembers requests and answers them the short way, one never does.

What is sent to one is sent to the other, and every byte of the answers has to be the same, but for the moment and for
identities that are made up.
"""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service import PATIENCE_S, Service, running_service

LAST = b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
"""Ends a conversation; never remembered."""
# Of answers: the date, an identity that nobody sent, and of GET /symbols what the files take and when it was written.
_VOLATILE = re.compile(rb'(?<=\ndate: )[^\r]+|(?<=\nx-request-id: )[0-9a-f]{16}(?=\r)|(?<="bytes":)\d+', re.IGNORECASE)
_APPENDED = re.compile(rb'(?<="appended_at":)[^,}]+')


@contextmanager
def both_ways(directory: Path, **settings: object) -> Iterator[tuple[Service, Service]]:
    """Yield the service that has the short way, and the one that has not, in two directories of `directory`."""
    for name in ("short", "long"):
        (directory / name).mkdir()
    with (
        running_service(directory / "short", **settings) as short,
        running_service(directory / "long", **settings, server__max_prepared=0) as long,
    ):
        yield short, long


def plain(answers: bytes) -> bytes:
    """Return answers without what differs from one moment to the next."""
    if b'"appended_at"' in answers:  # how many digits these have
        answers = re.sub(rb"(?<=content-length: )[0-9]+", b"*", answers)
    return _APPENDED.sub(b"*", _VOLATILE.sub(b"*", answers))


def talk(service: Service, *pieces: bytes) -> bytes:
    """Send pieces one after the other, the next when something was answered to the last; return all answers.

    The last piece has to end the connection.
    """
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as connection:
        received = b""
        for piece in pieces:
            connection.sendall(piece)
            received += connection.recv(2**20)
        while part := connection.recv(2**20):
            received += part
    return received


async def converse(port: int, data: bytes) -> bytes:
    """Send `data` at once; return what comes until the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(-1), PATIENCE_S)
    except ConnectionError as error:
        return type(error).__name__.encode()
    finally:
        writer.transport.abort()


def metric(service: Service, name: str) -> float:
    """Return the value of a metric without labels, or of the one sample whose text begins with `name`."""
    lines = service.client.get("/metrics").text.splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name} "))
    return float(found.rpartition(" ")[2])
