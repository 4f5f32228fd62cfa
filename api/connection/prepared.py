"""Requests that were understood once, by the very bytes of their heads; docs/design/0004 says what this may never do.

It remembers what a head means and whose it is, nothing else. Whether the token still counts, what the store holds and
how the connection stands is asked at each request.
"""

import re
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from api.connection.flow import Address
from api.http.exchange import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PREPARED_HEAD_BYTES = 1024
MAX_PREPARED_BODY_BYTES = 65_536
"""A body announced as longer is charged while it arrives, which is for the parser to see to."""
MEMORY_BYTES = 1024
"""What all prepared requests together may take, for each that there may be."""
_ENTRY_BYTES = 512  # what one takes beside the text of its head and its question
_UNUSUAL = frozenset({b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"x-request-id"})
"""Headers of requests that are not prepared: they change how a request is read or answered, or each has its own."""


_OFFSET = re.compile(rb"[oO]ffset(?:=|:[ \t]*)([0-9]{1,19})(?=[ &\r])")


def without_offset(head: bytes) -> tuple[bytes, bytes]:
    """Return a head without the digits of an offset, which no other head is, and these; the head itself where none are.

    Whether they are an offset is found out before such a head is remembered: `PreparedRequests.learn`.
    """
    found = _OFFSET.search(head) if b"ffset" in head else None
    return (head, b"") if found is None else (head[: found.start(1)] + b"\0" + head[found.end(1) :], found[1])


class Asked(Protocol):
    """A request that the application has understood, counts, and answers."""

    caller: Any
    """The token that was let through, None where there are no tokens."""
    kept_bytes: int
    """What its question takes of memory."""
    offset: int | None
    """As `api.http.prepared.Question.offset`."""

    def answer(self, body: bytes, client: Address | None, offset: int | None = None) -> bytes | None:
        """Return JSON to answer with 200; as `api.http.prepared.Question.answer`."""
        ...


class Prepared(NamedTuple):
    """A request that is remembered: what answers it, how long its body is, where it came to, what it takes.

    Of one that `moves` the head has an offset, and is remembered without it.
    """

    head: bytes
    asked: Asked
    body_bytes: int
    server: Address | None
    size: int
    moves: bool


class PreparedRequests:
    """The requests of a server that are remembered. Belongs to the event loop."""

    def __init__(self, most: int) -> None:
        """Remember at most so many; 0 remembers none."""
        self.known: dict[bytes, Prepared] = {}
        self.held_bytes = 0
        self.answered = 0  # requests, since the start
        self.prepare: Callable[[Scope], Asked | None] | None = None
        """Understands a request that was answered and left a `Question`. The application sets it, if it can."""
        self.most = most
        self._most_bytes = most * MEMORY_BYTES
        self._seen = array("q", bytes(8 * most))  # hashes

    def learn(self, head: bytes, scope: Scope, server: Address | None) -> None:
        """Remember the request `scope`, which came to `server` by the bytes `head`, was answered and left a question.

        The second time that it comes; one that differs in its offset alone is the same.

        PERF: one that comes once, such as a question with a time in it, costs 0.3 us and takes no place.
        """
        if self.prepare is None or scope["method"] == "HEAD":
            return
        key, digits = without_offset(head)
        if not self._was_seen(key):
            return
        asked = self.prepare(scope)
        body_bytes = None if asked is None else _body_bytes(head, scope)
        if asked is None or body_bytes is None:
            return
        if digits and not _is_offset(digits, head, scope, asked):
            key, digits = head, b""
            if not self._was_seen(key):
                return
        self.forget(key)
        size = _ENTRY_BYTES + len(key) + asked.kept_bytes
        self.held_bytes += size
        self.known[key] = Prepared(key, asked, body_bytes, server, size, bool(digits))
        while len(self.known) > self.most or self.held_bytes > self._most_bytes:
            self.forget(next(iter(self.known)))

    def _was_seen(self, head: bytes) -> bool:
        """Say whether this head was seen before, as far as is remembered, and remember it."""
        if not self.most:
            return False
        mark = hash(head)
        place = mark % self.most
        if self._seen[place] == mark:
            return True
        self._seen[place] = mark
        return False

    def forget(self, head: bytes) -> None:
        """Forget one."""
        gone = self.known.pop(head, None)
        if gone is not None:
            self.held_bytes -= gone.size

    def clear(self) -> None:
        """Forget all."""
        self.known.clear()
        self.held_bytes = 0


def _is_offset(digits: bytes, head: bytes, scope: Scope, asked: Asked) -> bool:
    """Say whether the digits of `without_offset` are the offset that the application has read in `head`, for certain.

    It has read one, and the word, which names of parameters without percent signs have as it is, stands in one place
    only: so this is the name of that parameter, or of that header, and the digits are all of its value.
    """
    names = [one.partition(b"=")[0] for one in scope["query_string"].split(b"&")]
    alone = head.lower().count(b"offset") == 1 and not any(b"%" in name for name in names)
    return alone and asked.offset is not None and asked.offset == int(digits)


def _body_bytes(head: bytes, scope: Scope) -> int | None:
    """Return how long the body behind `head` is; None where `scope` is not plainly what it says, or is unusual.

    The parser has read the head already; this is a second reading of it, and where they differ nothing is remembered.
    """
    query: bytes = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    first, *lines = head[:-4].split(b"\r\n")
    if first != b"%b %b HTTP/1.1" % (scope["method"].encode(), target) or len(lines) != len(scope["headers"]):
        return None
    body_bytes = 0
    for line, (name, value) in zip(lines, scope["headers"], strict=True):
        sent_name, _, sent_value = line.partition(b":")
        if (sent_name.lower(), sent_value.strip(b" \t")) != (name, value) or name in _UNUSUAL:
            return None
        if name == b"connection" and value.lower() != b"keep-alive":
            return None
        if name == b"content-length":
            body_bytes = int(value)
    if body_bytes > MAX_PREPARED_BODY_BYTES or (body_bytes and scope["method"] != "POST"):
        return None
    return body_bytes if scope["method"] in {"GET", "POST"} else None
