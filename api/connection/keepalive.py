"""Whether a client that says nothing is still there: it is pinged, and has a time to answer."""

import asyncio
import secrets
from collections.abc import Callable

_PAYLOAD_BYTES = 4


class Keepalive:
    """The pings of one stream."""

    def __init__(
        self,
        interval_s: float | None,
        timeout_s: float | None,
        ask: Callable[[bytes], bool],
        give_up: Callable[[], bool],
    ) -> None:
        """Ask every `interval_s`: `ask` sends a ping, or returns False where there is nobody to ask.

        Where neither a pong nor anything else has come within `timeout_s`, `give_up` ends the stream, or returns False
        where the silence is not the fault of the client.
        """
        self.heard = False  # whoever hears anything of the client sets this
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._ask = ask
        self._give_up = give_up
        self._payload: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to ask."""
        self._loop = loop
        self._wait()

    def stop(self) -> None:
        """Ask no more."""
        self._payload = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def answered(self, payload: bytes) -> None:
        """Take a pong; only the one that answers the last ping counts."""
        if self._payload is not None and payload == self._payload:
            self.stop()
            self._wait()

    def _wait(self) -> None:
        if self._interval_s:
            self._timer = self._loop.call_later(self._interval_s, self._ping)

    def _ping(self) -> None:
        self.heard = False
        self._payload = secrets.token_bytes(_PAYLOAD_BYTES)
        self._timer = None
        if not self._ask(self._payload):
            return
        if self._timeout_s is None:
            self._wait()
        else:
            self._timer = self._loop.call_later(self._timeout_s, self._judge)

    def _judge(self) -> None:
        """Take any sign of life for an answer, and our own not reading for an excuse; else the client has gone."""
        self.stop()
        if self.heard or not self._give_up():
            self._wait()
