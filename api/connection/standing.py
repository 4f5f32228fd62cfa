"""How a connection stands with `Connections`: idle, a head of it arriving, a body of it arriving, or none of these."""

from typing import TYPE_CHECKING

from api.connection.connections import Connections

if TYPE_CHECKING:
    from api.connection.protocol import HttpProtocol
    from api.connection.requests import RequestParser


class Standing:
    """What the watch was told of one connection, and is told when that changes."""

    __slots__ = ("_connection", "_idle", "_watch", "told_body")

    def __init__(self, connection: "HttpProtocol", watch: Connections) -> None:
        self._connection = connection
        self._watch = watch
        self._idle = watch.idle
        self.told_body: bool | None = None
        """That a request is arriving, whose time the watch looks at: False for its head, True for its body."""

    def is_idle(self) -> bool:
        """Say whether nothing is under way, and nothing has arrived of a request."""
        return self._connection in self._idle

    def busy(self) -> None:
        """Note that something has arrived."""
        self._idle.pop(self._connection, None)

    def idle(self) -> None:
        """Note that nothing is under way."""
        watch, connection = self._watch, self._connection
        self._idle = watch.idle if connection.budget.token is None else watch.idle_known
        self._idle[connection] = watch.now

    def arriving(self, parser: "RequestParser", *, answering: bool) -> None:
        """Note what of a request is arriving, `answering` whether one before it is being answered."""
        # A head behind a request that is being answered is not the cheapest thing to end.
        if not (parser.arriving and (parser.in_body or not answering)):
            self.arrived()
        elif self.told_body is not parser.in_body:
            self.told_body = parser.in_body
            self._watch.reading(self._connection, body=parser.in_body, wasted=parser.is_wasted)

    def body_to_come(self) -> None:
        """Note that a head is there that the parser has not seen, and its body not."""
        self.busy()
        self.told_body = True
        self._watch.reading(self._connection, body=True)

    def arrived(self) -> None:
        """Note that a request is whole: the next one has its own time, also when it has begun in the same bytes."""
        if self.told_body is not None:
            self.told_body = None
            self._watch.read(self._connection)

    def timed_out(self) -> None:
        """Note that the watch has ended the request that was arriving, and looks at it no more."""
        self.told_body = None
