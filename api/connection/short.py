"""The short way: a request that is remembered is answered from its bytes, without parser, scope and framework.

It is for connections on which nothing is under way, and for requests that are there whole, or whose body comes in one
piece behind the head, as most clients send it. Whatever is out of the ordinary is left to the parser, with nothing
done.

PERF: a request for /stats takes a fifth of the processor time that it takes the long way (measured in turn on a busy
machine, 32 connections; a batch of ten a quarter).
"""

from typing import TYPE_CHECKING

from api.connection.connections import Connections
from api.connection.counted import MOST_UNCOUNTED_BYTES
from api.connection.cycle import STATUS_LINES
from api.connection.prepared import MAX_PREPARED_HEAD_BYTES, Prepared, without_offset
from api.http.prepared import QUESTION, NotStored
from api.http.query import parse_index

if TYPE_CHECKING:
    from api.connection.cycle import Cycle
    from api.connection.protocol import HttpProtocol

_MOST_IN_A_ROW = 16
"""So many pipelined requests are answered at once, in one write; the parser, and other connections, go on from there.
Some ask much of the store: /ready looks at all symbols."""
_END = b"\r\n\r\n"
_ANSWER = STATUS_LINES[200] + b"%bcontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b"


class ShortWay:
    """The short way of one connection."""

    __slots__ = ("_connection", "_head", "_known", "_prepared", "_watch", "held", "used")

    def __init__(self, connection: "HttpProtocol", watch: Connections) -> None:
        self.used = False  # a request was answered here
        self.held = b""
        """The head of a remembered request whose body has not begun: it goes to the parser with whatever happens but
        that the body comes."""
        self._connection = connection
        self._watch = watch
        self._prepared = watch.prepared
        self._known = watch.prepared.known
        self._head: bytes | None = None  # of the request that now goes the long way

    def take(self, data: bytes) -> bytes:
        """Answer the remembered requests at the beginning of `data`; return the rest, which is for the parser."""
        held = self.held
        if held:
            self.held = b""
            data = held + data
        # PERF: what is not remembered pays for the look: nothing is made before the first is found.
        if (end := data.find(_END, 0, MAX_PREPARED_HEAD_BYTES) + 4) < len(_END):
            return data
        head = data if end == len(data) else data[:end]
        if self._find(head) is None:
            self._head = head
            return data
        connection = self._connection
        free = connection.is_free or (bool(held) and connection.may_answer)  # as it was when that head came
        return self._answered(data) if free else data

    def _answered(self, data: bytes) -> bytes:
        """Do the work of `take` where the first request is remembered."""
        pieces: list[bytes] = []
        begin = 0
        for _ in range(_MOST_IN_A_ROW):
            end = data.find(_END, begin, begin + MAX_PREPARED_HEAD_BYTES) + 4
            if end < len(_END):  # not there
                break
            head = data[begin:end]
            prepared = self._find(head)
            if prepared is None:
                self._head = head
                break
            stop = end + prepared.body_bytes
            if stop > len(data) > end or not self._may_pass(prepared):
                break
            if stop > len(data):
                self.held = head
                break
            answer = self._answer(prepared, head, data[end:stop])
            if answer is None:
                break
            pieces.append(_ANSWER % (self._connection.date_lines(), len(answer), answer))
            begin = stop
            if begin == len(data):
                break
        if begin:
            self._send(pieces)
        if self.held:
            self._connection.standing.body_to_come()
            return b""
        return data[begin:]

    def _find(self, head: bytes) -> Prepared | None:
        """Return the request that is remembered by `head`, or by what it is but for an offset."""
        found = self._known.get(head)
        return self._known.get(without_offset(head)[0]) if found is None and b"ffset" in head else found

    def _may_pass(self, prepared: Prepared) -> bool:
        """Say whether a request may be answered here and now, and charge its caller."""
        connection = self._connection
        if prepared.server != connection.server:  # by whose name it was let through
            return False
        caller = prepared.asked.caller
        if caller is None:
            return True
        budget = connection.budget
        if not caller.name:
            return budget.token is not None or not self._watch.guarded or self._watch.turn.take(connection.loop)
        if caller.revoked:
            return False
        if caller.name != budget.token:
            connection.standing.busy()  # among strangers, where it stood until now
            budget.belongs_to(caller.name)
        return True

    def _answer(self, prepared: Prepared, head: bytes, body: bytes) -> bytes | None:
        """Return the JSON to answer with; None where the request is to go the long way."""
        try:
            offset = parse_index("offset", without_offset(head)[1].decode()) if prepared.moves else None
            answer = prepared.asked.answer(body, self._connection.client, offset)
        except NotStored as refused:
            self._connection.parser.raised = refused
            return None
        except Exception:  # noqa: BLE001 - whatever it is, the long way meets it too, and tells it
            self._prepared.forget(prepared.head)
            answer = None
        if answer is None:
            self._head = head
        return answer

    def _send(self, pieces: list[bytes]) -> None:
        """Send the answers, and take note of them as `HttpProtocol.answered` does."""
        connection = self._connection
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        connection.transport.write(data)
        self.used = True
        self._prepared.answered += len(pieces)
        connection.parser.head_bytes = 0  # of empty lines that came before
        connection.standing.arrived()
        connection.standing.busy()
        connection.standing.idle()  # the newest of them
        connection.sent_bytes += len(data)
        if connection.sent_bytes > MOST_UNCOUNTED_BYTES:
            connection.look()

    def learn(self, cycle: "Cycle") -> None:
        """Remember the request of `cycle`, which was answered the long way, where it may go the short way next time."""
        head = self._head
        if head is not None:
            self._head = None
            if self._prepared.prepare is not None and cycle.keep_alive and QUESTION in cycle.scope:
                self._prepared.learn(head, cycle.scope, self._connection.server)
