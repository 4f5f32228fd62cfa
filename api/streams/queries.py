"""The WebSocket that answers questions: each line of a message is the query of a GET /stats, each answer a line of one.

    symbol=ABC-USD&window=1000        {"min":149.8,"max":152.0,"last":151.9,"avg":150.93,"var":0.5201}
    symbol=XYZ&window=5m&stats=vwap   {"type":"about:blank","title":"Not Found","status":404,"detail":"Symbol not…

What /stats refuses is answered by its problem document, and the stream goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from falcon import WebSocketDisconnected
from falcon.asgi import WebSocket

from api.access.guard import authorise, check_symbol, symbols_of
from api.access.tokens import READ
from api.http.exchange import STREAM, Scope
from api.http.problems import told
from api.http.query import bad_query, pairs
from api.operation.turns import Turns
from api.streams.handshake import QUERY
from api.streams.ingest import GOING_AWAY, close_code

MAX_QUESTIONS_BYTES = 65_536
"""The longest message of a client: the connection ends (1009) with the head of a frame that makes one longer."""
MAX_QUESTIONS = 1_000
"""Lines of a message."""

Ask = Callable[[bytes], Awaitable[tuple[bytes, object]]]
_HELLO = '{"event":"hello","mode":"query"}'


class Queries:
    """One connection that asks."""

    def __init__(self, ask: Ask, scope: Scope) -> None:
        """`ask` answers a query as GET /stats does, and what else it returns does not matter here."""
        self._ask = ask
        self._scope = scope
        self._checks = symbols_of(scope, READ) is not None
        self._task = asyncio.current_task()
        self._waiting = self._stopping = False
        self._answered = self._refused = 0

    def end(self) -> None:
        """Ask the stream to end; a message that is being answered is answered first."""
        self._stopping = True
        if self._waiting and self._task is not None:
            self._task.cancel()

    def _is_ending(self) -> bool:
        return self._stopping

    async def run(self, ws: WebSocket) -> None:
        """Answer messages in their order until either side ends the stream."""
        code: int | None = None
        try:
            try:
                await ws.send_text(_HELLO)
                while (message := await self._next(ws)) is not None:
                    await ws.send_text(await self._answers(message))
                code = GOING_AWAY
            except WebSocketDisconnected:
                raise
            except Exception as error:  # noqa: BLE001 - the last place where the client can still be told
                status, body = told(error, self._scope, event="error")
                await ws.send_text(body.decode())
                code = close_code(status)
            await ws.close(code)
        except WebSocketDisconnected as gone:
            code = gone.code
        finally:
            self._scope[STREAM] = {
                "mode": QUERY, "code": code, "answered": self._answered, "refused": self._refused,
            }  # fmt: skip

    async def _next(self, ws: WebSocket) -> object:
        """Return the next message; None where the stream is asked to end before it comes."""
        if self._is_ending():
            return None
        self._waiting = True
        try:
            return await ws.receive_media()
        except asyncio.CancelledError:
            if self._task is None or not self._is_ending():
                raise  # the grace of the stop is over
            self._task.uncancel()
            return None
        finally:
            self._waiting = False

    async def _answers(self, message: object) -> str:
        """Return the answers to a message, a line each. Raises Refusal, after which the stream ends."""
        if (revoked := authorise(self._scope, READ)) is not None:
            raise revoked
        if not isinstance(message, str):
            raise bad_query("Questions are text: send lines such as symbol=ABC-USD&window=1000")
        questions = message.removesuffix("\n").encode().split(b"\n")
        if len(questions) > MAX_QUESTIONS:
            raise bad_query(f"{len(questions)} questions; a message has at most {MAX_QUESTIONS:,}: send several")
        turns, answers = Turns(), []
        for question in questions:
            answers.append(await self._answer(question))
            await turns.give_way()
        return b"\n".join(answers).decode()

    async def _answer(self, question: bytes) -> bytes:
        """Return what /stats answers, or its problem document, as one line."""
        try:
            if self._checks:
                for name, value in pairs(question):
                    if name == "symbol":
                        check_symbol(self._scope, READ, value)
            answer, _ = await self._ask(question)
        except Exception as error:  # noqa: BLE001 - the answer to this question; the others have theirs
            self._refused += 1
            return told(error, self._scope)[1]
        self._answered += 1
        return answer
