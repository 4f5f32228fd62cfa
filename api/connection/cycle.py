"""One request and its answer: the ASGI `receive` and `send` of it.

PERF: uvicorn writes the head of an answer and its body one after the other, checks each header with two regular
expressions, and makes an event object a request. Here the head waits for the first of the body, and a header that was
checked once is remembered.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from api.connection.budget import BODIES
from api.http import problems
from api.http.exchange import CALLER, Message, Scope

if TYPE_CHECKING:
    import asyncio

    from api.connection.protocol import HttpProtocol

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_JOINED_BYTES = 65_536
_MOST_REMEMBERED = 256
_HEAD_BYTES = 256  # of an answer, more or less
_BODILESS = (HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value)

STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
_remembered: dict[tuple[bytes, bytes], bytes] = {}


class Cycle:
    """The request that `scope` describes, on the connection of `protocol`, until its answer is complete."""

    __slots__ = (
        "_chunked",
        "_delivered",
        "_head",
        "_left_bytes",
        "_waiter",
        "awaits_continue",
        "body",
        "complete",
        "disconnected",
        "given_up",
        "held_bytes",
        "in_task",
        "keep_alive",
        "kept_bytes",
        "more_body",
        "protocol",
        "scope",
        "started",
        "unwelcome",
    )

    def __init__(self, protocol: "HttpProtocol", scope: Scope, *, keep_alive: bool, awaits_continue: bool) -> None:
        self.protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self.awaits_continue = awaits_continue
        self.body: list[bytes] = []
        self.kept_bytes = self.held_bytes = 0  # of the body, until the answer; and how many of them are charged
        self.more_body = True
        self.disconnected = False
        self.given_up: tuple[HTTPStatus, str] | None = None
        self.unwelcome = False  # refused for its head: nothing of its body is kept
        self.started = False
        self.complete = False
        self.in_task = False
        self._delivered = False
        self._head: Message | None = None
        self._chunked = False
        self._left_bytes: int | None = 0
        self._waiter: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        """Return what has arrived of the body, or wait for more of it, or for the end of the connection.

        A disconnect has a "status" and a "detail" where it is the server that gives up on the body (408, 503): the
        answer that says so can still be sent.
        """
        if self.awaits_continue:
            self.awaits_continue = False
            if not self.disconnected:
                self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.disconnected or self.complete or self.given_up):
            more_body = self.more_body
            if self.body or not (more_body or self._delivered):
                body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
                self.body = []
                self._delivered = not more_body
                return {"type": "http.request", "body": body, "more_body": more_body}
            self.protocol.flow.resume_reading()
            self._waiter = self.protocol.loop.create_future()
            await self._waiter
        status, detail = self.given_up or (None, None)
        return {"type": "http.disconnect", "status": status, "detail": detail}

    def give_up(self, status: HTTPStatus, detail: str) -> None:
        """Wait no more for the body; the application answers with `status` and `detail`, and the connection ends."""
        self.given_up = (status, detail)
        self.body = []
        self.keep_alive = False
        self.wake()

    def charge(self) -> None:
        """Charge what has come of a body that was not charged as it came; it always finds room."""
        more = self.kept_bytes - self.held_bytes
        if more > 0 and self.protocol.watch.hold(self.protocol, more, always=True):
            self.held_bytes += more

    def release(self) -> None:
        """Give back what was charged for the body."""
        self.kept_bytes = 0
        if self.held_bytes:
            self.protocol.budget.give(BODIES, self.held_bytes)
            self.held_bytes = 0

    def forget(self) -> None:
        """Let go of what its client has sent: the newest request of a connection is kept until there is another."""
        self.scope = {}
        self.body = []

    def wake(self) -> None:
        """Let a `receive` that waits look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def send(self, message: Message) -> None:
        """Take the head of the answer, or more of its body."""
        if self.protocol.flow.write_paused and not self.disconnected:
            await self.protocol.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._send_body(message)
        elif kind == "http.response.start" and not self.started:
            self.started = True
            if CALLER in self.scope:
                self.protocol.know(self.scope)
            self.awaits_continue = False
            self._head = message
            if self.in_task:  # the body may be long in coming; while the request is run at once, `run` sees to it
                self.protocol.loop.call_soon(self.flush_head)
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}: an answer is one start, then body until it ends")

    def flush_head(self) -> None:
        """Write the head, if it is still waiting for the first of the body."""
        head = self._head
        if head is not None and not self.disconnected:
            self._head = None
            self.protocol.transport.write(b"".join(self._format(head, None)))

    def _send_body(self, message: Message) -> None:
        body = message.get("body", b"")
        more_body = message.get("more_body", False)
        head, self._head = self._head, None
        pieces = [] if head is None else self._format(head, None if more_body else len(body))
        if self.scope["method"] == "HEAD":
            self._left_bytes = 0
        elif self._chunked:
            if body:
                pieces += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more_body:
                pieces.append(b"0\r\n\r\n")
        else:
            pieces.append(body)
            if self._left_bytes is not None:
                self._left_bytes -= len(body)
                if self._left_bytes < 0:
                    raise RuntimeError("The body is longer than its content-length")
        if not more_body and self._left_bytes:
            raise RuntimeError("The body is shorter than its content-length")
        self._write(pieces, len(body), last=not more_body)
        if not more_body:
            self.complete = True
            self.protocol.answered(self)

    def _write(self, pieces: list[bytes], size: int, *, last: bool) -> None:
        protocol = self.protocol
        protocol.sent_bytes += _HEAD_BYTES + size
        if last and not self.keep_alive:  # at once, so that what the client has not taken of it is known
            protocol.transport.set_write_buffer_limits(high=0)
        if size <= _LONGEST_JOINED_BYTES:
            protocol.transport.write(b"".join(pieces))
        else:
            protocol.transport.writelines(pieces)

    def _format(self, message: Message, whole_bytes: int | None) -> list[bytes]:
        """Return the lines of the head; `whole_bytes` is the length of the body, where all of it is known."""
        status: int = message["status"]
        lines = [STATUS_LINES[status], self.protocol.date_lines()]
        length = self._take_headers(message["headers"], lines)
        if not self.keep_alive or self.protocol.is_ending(self):
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        if length is None:
            length = self._missing_length(status, whole_bytes, lines)
        self._left_bytes = length
        lines.append(b"\r\n")
        return lines

    def _take_headers(self, headers: Iterable[tuple[bytes, bytes]], lines: list[bytes]) -> int | None:
        """Add the line of each header to `lines`; return the content-length, if there is one."""
        length: int | None = None
        for name, value in headers:
            line = _remembered.get((name, value))
            if line is not None:
                lines.append(line)
                continue
            lowered = name.lower()
            if lowered == b"content-length":
                length = int(value)
                lines.append(b"content-length: %d\r\n" % length)
            elif lowered == b"connection" and value.lower() == b"close":
                self.keep_alive = False
            elif lowered != b"transfer-encoding":  # whether a body is chunked follows from its length
                lines.append(_remember(name, value))
        return length

    def _missing_length(self, status: int, whole_bytes: int | None, lines: list[bytes]) -> int | None:
        """Say how long the body of an answer without content-length is, or that it comes in chunks."""
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            return 0
        if whole_bytes is not None:
            lines.append(b"content-length: %d\r\n" % whole_bytes)
            return whole_bytes
        if self.scope["http_version"] == "1.0":
            return None  # it knows no chunks: the end of the connection is the end of the body
        self._chunked = True
        lines.append(b"transfer-encoding: chunked\r\n")
        return 0


def problem_answer(status: HTTPStatus, detail: str, date_lines: bytes) -> bytes:
    """Return the last answer on a connection, which no application gives: a problem document."""
    body = problems.problem(status, detail)
    return b"".join(
        (
            STATUS_LINES[status.value],
            date_lines,
            b"content-type: application/problem+json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b"",
            b"connection: close\r\n\r\n",
            body,
        )
    )


def _remember(name: bytes, value: bytes) -> bytes:
    """Return the line of a header that is fit to be sent. Raises RuntimeError for one that is not."""
    if not _NAME.fullmatch(name):
        raise RuntimeError(f"{name!r} is no name of a header")
    if _FORBIDDEN_IN_VALUE.search(value):
        raise RuntimeError(f"{value!r} is no value of a header")
    line = b"%b: %b\r\n" % (name.lower(), value)
    if len(_remembered) < _MOST_REMEMBERED:
        _remembered[bytes(name), bytes(value)] = line
    return line


class _Common:
    """The headers of every answer that were last asked for, and their lines."""

    headers: object = None
    lines = b""


def common_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of these headers.

    PERF: the server makes a new list each second, for the date; joined for each answer they would cost 0.6 us.
    """
    if _Common.headers is not headers:
        _Common.headers, _Common.lines = headers, b"".join(b"%b: %b\r\n" % header for header in headers)
    return _Common.lines
