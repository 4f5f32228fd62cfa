"""NDJSON: many batches, of many symbols, in one request; each line is one, taken whole or refused untouched.

The lines are taken in their order. A line that is refused does not keep those behind it from being taken: the answer
says of each what became of it. Its status is 200 as soon as one line was stored, or the lines themselves are at fault;
where none was stored for want of a disk, or of a service that works, it is what the worst of them was refused with.
A line at which the service fails (500) is the last one taken, and those behind it have no result.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
import orjson

from api.access.guard import check_symbol
from api.access.tokens import WRITE
from api.body.decode import Decoder
from api.body.durable import wait_durable
from api.body.patience import Appender, Stored, Waits, local_appender
from api.http.exchange import BATCH, REFUSED, Scope, request_id
from api.http.problems import INTERNAL_ERROR, Refusal, log_unexpected, status_of
from api.operation.turns import Turns
from hft_mmap import Durability, OffsetConflict, Store, Ticks

MAX_LINES = 10_000
_NEWLINE = ord("\n")
_OK = HTTPStatus.OK.value
_FAULT = HTTPStatus.INTERNAL_SERVER_ERROR.value


@dataclass(slots=True)
class _Result:
    """What became of one line; `total` is None where the series does not exist or its total does not matter."""

    line: int
    status: int = _OK
    symbol: str | None = None
    added: int = 0
    total: int | None = None
    late: int = 0
    latest_ns: int = 0
    error: str = ""

    def told(self) -> bytes:
        """Return it as JSON."""
        if self.status == _OK:
            late = {"late": self.late, "latest_ns": self.latest_ns} if self.late else {}
            return orjson.dumps(
                {"line": self.line, "status": _OK, "symbol": self.symbol, "added": self.added, "total": self.total}
                | late
            )
        found: dict[str, object] = {"line": self.line, "status": self.status, "error": self.error}
        if self.symbol is not None:
            found["symbol"] = self.symbol
        if self.total is not None:
            found["total"] = self.total
        return orjson.dumps(found)


class Lines:
    """Appends the batches of an NDJSON body."""

    def __init__(self, store: Store, decoder: Decoder, appender: Appender | None = None) -> None:
        self._store = store
        self._appender = local_appender(store) if appender is None else appender
        self._decoder = decoder

    async def take(self, body: bytes, scope: Scope) -> tuple[HTTPStatus, bytes]:
        """Append each line of `body`; return status and answer, once the batches are as durable as the settings say.

        Raises Refusal (400), with nothing stored, if there is no line or more than MAX_LINES.
        """
        count = int(np.count_nonzero(np.frombuffer(body, np.uint8) == _NEWLINE)) if body else 0
        if count > MAX_LINES or (count == MAX_LINES and not body.endswith(b"\n")):
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"The body has more than {MAX_LINES} lines: send several, or more values on a line",
            )
        turns, patience = Turns(), self._appender.patience()
        results: list[_Result] = []
        begin = 0
        number = 0
        while begin < len(body):
            number += 1
            end = body.find(b"\n", begin)
            line = body[begin : end if end >= 0 else len(body)].strip()
            begin = end + 1 if end >= 0 else len(body)
            if line:
                results.append(await self._take_line(_Result(number), line, patience, scope))
                if results[-1].status == _FAULT:
                    break
            await turns.give_way()
        if not results:
            raise Refusal(HTTPStatus.BAD_REQUEST, 'The body has no line; each is {"symbol": …, "values": […]}')
        if self._store.durability is Durability.SYNC:
            await self._settle(results, scope)
        return await self._answer(results, scope, turns)

    async def _take_line(self, result: _Result, line: bytes, patience: Waits, scope: Scope) -> _Result:
        """Append one line, and note what became of it."""
        try:
            symbol, values, offset = self._decoder.quick(line) or await self._decoder.decode_rows(line)
            result.symbol = symbol
            check_symbol(scope, WRITE, symbol)
            result.total = self._appender.now(self._store, symbol, values, offset)
            if result.total is None:
                result.total = await patience.append(self._store, symbol, values, offset)
            result.added = len(values.prices if isinstance(values, Ticks) else values)
            if isinstance(result.total, Stored) and result.total.late:
                result.late, result.latest_ns = result.total.late, result.total.latest_ns
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to know of the lines before it
            result.status, result.error = _told(error, scope)
            if isinstance(error, OffsetConflict):
                result.total = error.total
        return result

    async def _settle(self, results: list[_Result], scope: Scope) -> None:
        """Wait for the disk, once for each symbol; a line that it failed becomes a refusal that says so."""
        newest: dict[str, int] = {}
        for one in results:
            if one.status == _OK and one.symbol and one.total:
                # A batch that was there already may lie before the end that another line has reached.
                newest[one.symbol] = max(one.total, newest.get(one.symbol, 0))
        waits = (wait_durable(self._store, symbol, total) for symbol, total in newest.items())
        for symbol, outcome in zip(newest, await asyncio.gather(*waits, return_exceptions=True), strict=True):
            if outcome is None:
                continue
            if not isinstance(outcome, Exception):
                raise outcome
            status, text = _told(outcome, scope)
            for one in results:
                if one.status == _OK and one.symbol == symbol:
                    one.status, one.error = status, text

    async def _answer(self, results: list[_Result], scope: Scope, turns: Turns) -> tuple[HTTPStatus, bytes]:
        taken = [one for one in results if one.status == _OK]
        refused = len(results) - len(taken)
        added = sum(one.added for one in taken)
        symbols = {one.symbol for one in taken}
        scope[BATCH] = (symbols.pop() if len(symbols) == 1 else None), added
        worst = max(one.status for one in results)
        status = HTTPStatus(worst if not taken and worst >= _FAULT else _OK)
        if refused:
            scope[REFUSED] = status.value  # the log tells of every request of which something was refused
        told = []
        for one in results:
            told.append(one.told())
            await turns.give_way()
        word = "success" if not refused else "partial" if taken else "refused"
        head = b'{"status":"%b","added":%d,"refused":%d,"durability":"%b","lines":['
        named = word.encode(), added, refused, self._appender.durability.encode()
        answer = head % named + b",".join(told) + b"]}"
        sequences = [one.total.sequence for one in taken if isinstance(one.total, Stored) and one.total.sequence]
        return status, b'%s,"seq":%d}' % (answer[:-1], max(sequences)) if sequences else answer


def _told(error: Exception, scope: Scope) -> tuple[int, str]:
    """Return the status and the text of a line that met `error`; logs it where nobody expected it."""
    status = status_of(error)
    if status is None:
        log_unexpected(error, request_id(scope), scope["path"])
        return _FAULT, INTERNAL_ERROR
    return status.value, str(error)
