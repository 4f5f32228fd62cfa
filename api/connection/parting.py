"""How a connection refuses what can't become a request, how it ends, and what it still does before that."""

import asyncio
from collections import deque
from http import HTTPStatus

import structlog
from uvicorn import Config
from uvicorn.server import ServerState

from api.connection.connections import Connections
from api.connection.counted import CountedProtocol
from api.connection.cycle import Cycle, common_lines, problem_answer
from api.connection.ending import Ending, goodbye_s
from api.connection.farewell import FAREWELL_S, STOPPED_FAREWELL_S, say_farewell
from api.connection.flow import Address
from api.connection.head import HeadRefused
from api.connection.requests import RequestParser
from api.connection.short import ShortWay
from api.connection.standing import Standing

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Parting(CountedProtocol):
    """The part of a connection that refuses, and ends. Made by `HttpProtocol`."""

    client: Address | None
    parser: RequestParser
    standing: Standing
    running: Cycle | None
    waiting: deque[Cycle]
    _config: Config
    _short: ShortWay
    _state: ServerState
    _unparsed: memoryview

    def __init__(self, watch: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.watch = watch
        self.loop = loop
        self.parted = False  # the last answer was sent; whatever still comes is thrown away
        self._ending = watch.leaving
        self._over = False  # `shutdown` was called: nobody waits any more for requests that have not begun
        self._refusal: tuple[HTTPStatus, str] | None = None

    def _go_on(self) -> None:
        """Run the requests that are due."""
        raise NotImplementedError

    def _parse_held(self) -> None:
        """Have the parser read what it was not given yet of a request that is arriving."""
        raise NotImplementedError

    def date_lines(self) -> bytes:
        """Return the header lines that every answer begins with."""
        return common_lines(self._state.default_headers)

    def time_out(self) -> None:
        """Refuse the request that has not arrived in time."""
        self._parse_held()
        cycle = self.parser.cycle
        self.standing.timed_out()
        if self.parted:
            self.abort()  # what it was told last it does not take
        elif self._refusal is not None:
            self.close()
        elif self.parser.in_body and cycle is not None and cycle.complete:
            self.close()  # answered before its body ended, and the rest never came
        else:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, self.watch.limits.too_late(body=self.parser.in_body))

    def _refuse_head(self, refused: HeadRefused) -> None:
        cycle = self.parser.cycle
        self.watch.counts.malformed += refused.malformed
        if self.parser.in_body and cycle is not None and cycle.complete:
            self.close()  # answered before its body ended, and the rest is none
        else:
            self.refuse(refused.status, refused.detail)

    def refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what cannot become a request, once the requests before it are answered, and end the connection."""
        cycle = self.parser.cycle
        self._unparsed = memoryview(b"")
        if self.parser.in_body and cycle is not None and not cycle.complete:  # its body will never be whole
            if cycle is self.running:
                cycle.give_up(status, detail)
                return
            self.waiting.pop()
        self._refusal = (status, detail)
        self.parser.arriving = False
        self.flow.pause_reading()
        self._go_on()

    def _end_refused(self) -> None:
        if self._refusal is not None and not (self.parted or self.transport.is_closing()):
            status, detail = self._refusal
            _log.info("refused", status=status.value, detail=detail, client=self.client[0] if self.client else None)
            self.transport.write(problem_answer(status, detail, self.date_lines()))
            self._part()

    def _part(self) -> None:
        """Close after the last answer in such a way that a client which is still sending sees that answer."""
        self.parted = True
        self.parser.arriving = False
        self.watch.parts(self)
        say_farewell(self.transport, self, self.loop, STOPPED_FAREWELL_S if self.watch.leaving else FAREWELL_S)

    def is_ending(self, cycle: Cycle) -> bool:
        """Return whether the answer to `cycle` is the last one on this connection."""
        return self._ending and not self.waiting and not self._unparsed and cycle is self.parser.cycle

    @property
    def is_new(self) -> bool:
        """Whether nothing of a request has arrived yet."""
        return self.parser.cycle is None and not (self.parser.arriving or self._short.used)

    def leave(self) -> None:
        """End after the next answer, which says so: the client may still send a request until it has read that."""
        self._ending = True
        self._parse_held()

    def shutdown(self) -> None:
        """End once what has begun to arrive is answered; an answer without end, once its reader has it."""
        self._ending = self._over = True
        Ending(self, goodbye_s(self._config)).begin()
