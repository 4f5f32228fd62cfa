"""The short way where each answer has to be waited for: batches that go into the log of several machines.

A request that is remembered is under way without parser, scope, framework or task, and the answers of one record of the
log leave in one pass. What arrives meanwhile is parsed and waits, as behind any other request.
"""

from typing import TYPE_CHECKING, cast

from api.connection.connections import Connections
from api.connection.counted import MOST_UNCOUNTED_BYTES
from api.connection.cycle import STATUS_LINES, Cycle
from api.connection.prepared import Prepared
from api.connection.short import END, ShortWay, offset_in
from api.http.prepared import NotStored

if TYPE_CHECKING:
    from api.connection.prepared import AskedOfLog
    from api.connection.protocol import HttpProtocol

_ANSWER = STATUS_LINES[200] + b"%bcontent-length: %d\r\ncontent-type: application/json\r\nx-applied-seq: %d\r\n%b\r\n%b"
_LAST = b"connection: close\r\n"


class WaitingWay(ShortWay):
    """The short way of one connection to a replica."""

    __slots__ = ("_cycle", "_request")

    def __init__(self, connection: "HttpProtocol", watch: Connections) -> None:
        super().__init__(connection, watch)
        self._cycle = Cycle(connection, {}, keep_alive=True, awaits_continue=False)
        """Stands for whichever request is under way: it is told when the connection is lost."""
        self._request = b""

    def _answered(self, data: bytes) -> bytes:
        """Begin with the first request in `data`, which is remembered; return what is for the parser."""
        connection = self._connection
        end = data.find(END) + len(END)
        head = data[:end]
        prepared = self._find(head)
        if prepared is None:
            return data
        stop = end + prepared.body_bytes
        if stop > len(data) > end or not self._may_pass(prepared):
            return data
        if stop > len(data):
            self.held = head
            connection.standing.body_to_come()
            return b""
        if not self._begin(prepared, head, data[end:stop]):
            return data
        self._request = data[:stop]
        self.used = True
        connection.parser.head_bytes = 0  # of empty lines that came before
        connection.standing.arrived()
        connection.standing.busy()
        connection.running = self._cycle
        return data[stop:]

    def _begin(self, prepared: Prepared, head: bytes, body: bytes) -> bool:
        """Begin with a request; False where it is to go the long way."""
        try:
            offset = offset_in(head) if prepared.moves else None
            asked = cast("AskedOfLog", prepared.asked)
            begun = asked.begin(body, self._connection.client, offset, self._tell)
        except NotStored as refused:
            self._connection.parser.raised = refused
            return False
        except Exception:  # noqa: BLE001 - whatever it is, the long way meets it too, and tells it
            self._prepared.forget(prepared.head)
            begun = False
        if not begun:
            self._head = head
        return begun

    def _tell(self, answer: bytes | NotStored, sequence: int) -> None:
        """Answer the request that is under way."""
        connection, request, self._request = self._connection, self._request, b""
        if self._cycle.disconnected or connection.transport.is_closing():
            return
        if isinstance(answer, NotStored):
            # Not here: whoever tells this is in a task of his own, in which no request is to be run.
            connection.loop.call_soon(self._refuse, request, answer)
            return
        last = _LAST if connection.says_goodbye else b""
        data = _ANSWER % (connection.date_lines(), len(answer), sequence, last, answer)
        connection.transport.write(data)
        self._prepared.answered += 1
        connection.sent_bytes += len(data)
        connection.running = None
        connection.go_on_later()
        if connection.sent_bytes > MOST_UNCOUNTED_BYTES:
            connection.look()

    def _refuse(self, request: bytes, refused: NotStored) -> None:
        """Have the long way tell why the request that was under way is refused."""
        connection = self._connection
        if not (self._cycle.disconnected or connection.transport.is_closing()):
            connection.running = None
            connection.refuse_first(request, refused)
