"""POST /write and /api/v2/write: ticks as lines of InfluxDB's line protocol, and answers as its clients know them.

    204              every line is stored
    400 "invalid"    some are not, and why; the others are stored, as a partial write of InfluxDB
    5xx              some could not be stored, for now; the others are

A client that sends a body again, after a lost answer or a 5xx, stores its lines again: whoever needs each point once
sends batches with an offset to /add_batch.
"""

import asyncio
import time
from http import HTTPStatus

import falcon.asgi
import orjson

from api.access.guard import check_symbol
from api.access.tokens import WRITE
from api.body.decode import PIECE_BYTES, Decoder
from api.body.durable import wait_durable
from api.body.intake import Intake
from api.body.line_protocol import UNITS, Fault, LineProtocol, Part, Read, lines_of
from api.body.patience import Appender, local_appender
from api.http.exchange import BATCH, REFUSED, Scope, request_id
from api.http.problems import INTERNAL_ERROR, Refusal, log_unexpected, shown, status_of
from api.http.query import bad_query, parameters
from api.http.request import Request
from api.operation.settings import Settings
from api.operation.turns import Turns
from hft_mmap import Durability, Store
from hft_mmap.errors import InvalidSymbol
from hft_mmap.files.names import validate_symbol

_PARAMETERS = ("precision", "db", "rp", "consistency", "u", "p", "bucket", "org", "orgID")
MOST_SYMBOLS = 10_000
"""Symbols of one body."""
_MOST_REASONS = 5
_AT_ONCE_BYTES = 2 * PIECE_BYTES
"""A body that is read without a thread, which costs as much as reading 1,000 lines."""
_NEWLINE = b"\n"
_SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR.value
_CODES = {HTTPStatus.INTERNAL_SERVER_ERROR: "internal error", HTTPStatus.INSUFFICIENT_STORAGE: "insufficient storage"}


class Write:
    """Appends the ticks of lines, of each symbol as one batch."""

    def __init__(self, store: Store, settings: Settings, appender: Appender | None = None) -> None:
        self._store = store
        self._appender = local_appender(store) if appender is None else appender
        self._max_lines = settings.server.max_batch_values
        self._intake = Intake(settings.server, Decoder(settings.server.max_batch_values))
        self._protocol = LineProtocol(settings.line_protocol, signed=settings.store.negative_prices)

    async def on_post(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Append, and answer once the ticks are as durable as the settings promise."""
        unit_ns = _unit_ns(req.scope["query_string"])
        async with self._intake.body(req) as body:
            found = await self._read(body, unit_ns)
            _check_symbols(found.parts, req.scope)
            attempt = _Attempt(self._store, self._appender, req.scope)
            await attempt.append(found.parts)
            faults = [(HTTPStatus.BAD_REQUEST, fault) for fault in found.faults] + attempt.faults
            if not faults:
                resp.status = HTTPStatus.NO_CONTENT.value
                return
            status, resp.data = _told(body, faults)
        req.scope[REFUSED] = resp.status = status.value
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            resp.set_header("Retry-After", "1")

    async def _read(self, body: bytes, unit_ns: int) -> Read:
        """Return what stands in the body; Refusal (413) if it has too much."""
        if (lines := lines_of(body)) > self._max_lines:
            raise _too_much(f"{lines:,} lines", f"{self._max_lines:,} (server.max_batch_values)")
        read, now_ns = self._protocol.read, time.time_ns()
        if len(body) <= _AT_ONCE_BYTES:
            found = read(body, lines, unit_ns, now_ns)
        else:
            found = await asyncio.to_thread(read, body, lines, unit_ns, now_ns)
        if len(found.parts) > MOST_SYMBOLS:
            raise _too_much(f"ticks of {len(found.parts):,} symbols", f"{MOST_SYMBOLS:,}")
        return found


class _Attempt:
    """Stores what one body has; a batch that is refused does not keep the others from being stored."""

    def __init__(self, store: Store, appender: Appender, scope: Scope) -> None:
        self._store = store
        self._appender = appender
        self._scope = scope
        self.faults: list[tuple[HTTPStatus, Fault]] = []

    async def append(self, parts: list[Part]) -> None:
        """Append each, and note those that were refused."""
        turns, patience = Turns(), self._appender.patience()
        stored: list[tuple[Part, int]] = []
        for part in parts:
            try:
                total = self._appender.now(self._store, part.symbol, part.ticks, None)
                if total is None:
                    total = await patience.append(self._store, part.symbol, part.ticks, None)
                stored.append((part, total))
            except Exception as error:  # noqa: BLE001 - whatever it is, the client has to know of the others
                self._refuse(part, error)
            await turns.give_way()
        symbols = {part.symbol for part, _ in stored}
        added = sum(len(part.ticks.prices) for part, _ in stored)
        self._scope[BATCH] = (next(iter(symbols)) if len(symbols) == 1 else None), added
        if self._store.durability is Durability.SYNC:
            waits = (wait_durable(self._store, part.symbol, total) for part, total in stored)
            for (part, _), outcome in zip(stored, await asyncio.gather(*waits, return_exceptions=True), strict=True):
                if isinstance(outcome, Exception):
                    self._refuse(part, outcome)
                elif outcome is not None:
                    raise outcome

    def _refuse(self, part: Part, error: Exception) -> None:
        """Note with what status, and in what words, a batch was refused; log it where nobody expected it."""
        status, text = status_of(error), str(error)
        if status is None:
            log_unexpected(error, request_id(self._scope), self._scope["path"])
            status, text = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
        symbol = shown(part.symbol)
        self.faults.append((status, Fault(len(part.ticks.prices), part.at, f"of {symbol}: {text}")))


def _unit_ns(query: bytes) -> int:
    """Return the unit of the times, by `precision`; what else clients of InfluxDB say, means nothing here."""
    precision = parameters(query, _PARAMETERS).get("precision", "ns")
    if precision not in UNITS:
        raise bad_query(f"precision must be one of {', '.join(UNITS)}, not {shown(precision)}")
    return UNITS[precision]


def _check_symbols(parts: list[Part], scope: Scope) -> None:
    """Raise Refusal (403), with nothing stored, if a token is not for all symbols of the body."""
    for part in parts:
        try:
            validate_symbol(part.symbol)
        except InvalidSymbol:
            continue  # it is refused where it would be stored
        check_symbol(scope, WRITE, part.symbol)


def _told(body: bytes, faults: list[tuple[HTTPStatus, Fault]]) -> tuple[HTTPStatus, bytes]:
    """Return the status of the worst, and the document in which InfluxDB tells of partial writes."""
    faults.sort(key=lambda one: one[1].at)
    worst = max(status for status, _ in faults)
    status = worst if worst >= _SERVER_ERROR else HTTPStatus.BAD_REQUEST
    code = _CODES.get(status, "unavailable") if status >= _SERVER_ERROR else "invalid"
    told = [
        f"line {body.count(_NEWLINE, 0, fault.at) + 1} {fault.reason}"
        + (f" (and {fault.lines - 1} more lines)" if fault.lines > 1 else "")
        for _, fault in faults[:_MOST_REASONS]
    ]
    if len(faults) > _MOST_REASONS:
        told.append(f"and {len(faults) - _MOST_REASONS} other reasons")
    text = f"partial write: {'; '.join(told)} dropped={sum(fault.lines for _, fault in faults)}"
    return status, orjson.dumps({"code": code, "message": text, "error": text})


def _too_much(what: str, most: str) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has {what}; one request has at most {most}: send several"
    )
