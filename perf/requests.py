"""Requests as bytes, made before anything is measured."""

from collections.abc import Iterable

HOST = b"127.0.0.1:8080"


def get(target: str) -> bytes:
    """Return a GET request for a path and query."""
    return b"GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n" % (target.encode(), HOST)


def post(target: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Return a POST request with a body."""
    return b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        target.encode(),
        HOST,
        content_type.encode(),
        len(body),
        body,
    )


def add_batch(bodies: Iterable[bytes], target: str = "/add_batch/") -> list[bytes]:
    """Return one POST request for each body."""
    return [post(target, body) for body in bodies]
