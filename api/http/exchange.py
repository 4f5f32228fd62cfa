"""What one request leaves in its ASGI scope for the other parts of the application.

The scope is a dict of its own per request, so it carries these values without an object or a context variable; `app`
fills in the first, resources and error handlers the rest, and the log line reads them.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RECEIVE = "hft_mmap.receive"
"""The server's own `receive`, for reading a body with a bound."""
SEND = "hft_mmap.send"
"""The server's own `send`, for refusing the handshake of a WebSocket."""
STREAM = "hft_mmap.stream"
"""What a stream did: the fields of its log line, once it has ended."""
ENDLESS = "hft_mmap.endless"
"""Set before the head is sent, if the answer has no end: a client that sends no more has gone, and reads the newest."""
HANDSHAKE = "hft_mmap.handshake"
"""What is wrong with the handshake of a WebSocket, in a request that asks for one and cannot have it."""
MAX_MESSAGE_BYTES = "hft_mmap.max_message_bytes"
"""Set before a WebSocket is accepted, if its client may send no message longer than this: the connection bounds it
before it has arrived."""
REFUSED = "hft_mmap.refused"
"""The status of the answer, when it is a problem document, or when something in it tells of a refusal."""
BATCH = "hft_mmap.batch"
"""Symbol (None: several) and number of points of a batch, once it could be read."""
CALLER = "hft_mmap.caller"
"""Whose token the request came with (`api.access.tokens.Token`); missing where the service has no tokens."""
_REQUEST_ID = "hft_mmap.request_id"

_MAX_REQUEST_ID_BYTES = 128


def request_id(scope: Scope) -> str:
    """Return the identity of the request: its X-Request-ID if that is printable ASCII of up to 128 bytes, or a new one.

    Asked again about the same scope, it answers the same. Only problems and log lines ask, so a normal request never
    pays for it.
    """
    known = scope.get(_REQUEST_ID)
    if known is None:
        known = scope[_REQUEST_ID] = _sent_id(scope) or secrets.token_hex(8)
    return str(known)


def _sent_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= _MAX_REQUEST_ID_BYTES and value.isascii():
            text = value.decode("ascii")
            return text if text.isprintable() else None
    return None
