"""The resources behind the routes: each reads a request, asks the store, and hands back finished JSON bytes."""

import asyncio
from http import HTTPStatus
from typing import NoReturn

import falcon.asgi
import orjson

from api.access.guard import authorise, check_symbol, check_symbol_of, symbols_of
from api.access.tokens import READ, WRITE, Token
from api.body.decode import Batch, Decoder
from api.body.durable import wait_durable
from api.body.intake import Intake
from api.body.lines import Lines
from api.body.media import JSON, LINES, RAW, body_type
from api.body.patience import Appender, Stored, append_now, local_appender
from api.body.raw import raw_values
from api.body.reading import read_body
from api.http.exchange import BATCH, CALLER, Scope
from api.http.prepared import QUESTION, RAISED, NotStored, Question
from api.http.prepared import Batch as Noted
from api.http.problems import Refusal, answer, problem
from api.http.query import parse_stats_query
from api.http.request import Request
from api.operation.beside import Beside
from api.operation.settings import ServerSettings
from api.routes.named import answer_named, parse_named_query, standard_times
from hft_mmap import STANDARD_WINDOWS, Durability, Series, Store, SymbolNotFound, Ticks, WindowStats
from hft_mmap.by_time import Window

_LEAST_QUESTIONS = 1024  # remembered, or one for each symbol; one with its answer takes at most 2.5 kB
_MAX_QUESTION_BYTES = 512  # a symbol takes at most 192 of them


_READY = b'{"status":"ready"}'


class Constant:
    """Answers GET and HEAD with the same JSON bytes every time."""

    batch: Noted | None = None
    kept_bytes = 0
    offset: int | None = None

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer with the bytes."""
        resp.data = self._body
        req.scope[QUESTION] = self

    on_head = on_get

    def answer(self, _body: bytes, _caller: object, _offset: int | None = None) -> bytes:
        """Answer a prepared request."""
        return self._body


class Ready:
    """Says whether every series serves, reads and writes; a health check that is green otherwise would be a lie."""

    batch: Noted | None = None
    kept_bytes = 0
    offset: int | None = None

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, _body: bytes, _caller: object, _offset: int | None = None) -> bytes | None:
        """Answer a prepared request, while there is nothing to tell of."""
        return None if self._store.losses() or self._store.reasons() else _READY

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer 200, or 503 with the reasons, which name symbols and files and are not for everybody.

        What was lost is told, and no reason to send requests elsewhere: what is left is certain, and is served.
        """
        req.scope[QUESTION] = self
        resp.data = self.answer(b"", None)
        if resp.data is not None:
            return
        reasons = self._store.reasons()
        if not reasons:
            mine = symbols_of(req.scope, READ)
            lost = [loss._asdict() for loss in self._store.losses() if mine is None or mine(loss.symbol)]
            told = lost and authorise(req.scope, READ) is None
            resp.data = orjson.dumps({"status": "ready", "lost": lost} if told else {"status": "ready"})
            return
        if authorise(req.scope, READ) is not None:
            detail = "Not every series serves; ask with a token that has the scope read for the reasons"
            answer(
                req, resp, HTTPStatus.SERVICE_UNAVAILABLE, problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, reasons=[])
            )
            return
        mine = symbols_of(req.scope, READ)
        reasons = [one for one in reasons if mine is None or one.symbol is None or mine(one.symbol)]
        detail = "; ".join(reason.detail for reason in reasons) or "A series serves not that this token is not for"
        body = problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, reasons=[reason._asdict() for reason in reasons])
        answer(req, resp, HTTPStatus.SERVICE_UNAVAILABLE, body)

    on_head = on_get


class AddBatch:
    """Appends one batch to one series, or many to many where the body is NDJSON."""

    def __init__(self, store: Store, settings: ServerSettings, appender: Appender | None = None) -> None:
        self._store = store
        how = local_appender(store) if appender is None else appender
        self._now, self._patience = how.now, how.patience
        self._max_body_bytes = settings.max_body_bytes
        self._decoder = Decoder(settings.max_batch_values)
        self._intake = Intake(settings, self._decoder)
        self._lines = Lines(store, self._decoder, how)
        self._waits = store.durability is Durability.SYNC
        durability = how.durability.encode()
        self._answer = b'{"status":"success","added":%d,"total":%d,"durability":"' + durability + b'"}'
        self._max_values = settings.max_batch_values
        self._json = _Json(store, self._answer, self._decoder)

    async def on_post(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Append, and answer once the batch is as durable as the settings promise."""
        scope = req.scope
        if RAISED in scope:
            _tell_again(scope, scope[RAISED])
        question: Question | None = self._json
        if req.is_plain_json():
            body = await read_body(req, self._max_body_bytes)
            symbol, values, offset = self._decoder.quick(body) or await self._decoder.decode_rows(body)
        else:
            kind = body_type(req.content_type)
            if kind == LINES:
                self._intake.check_lines(req)
                async with self._intake.body(req) as body:
                    status, resp.data = await self._lines.take(body, scope)
                    resp.status = status.value
                return
            symbol, values, offset = await self._intake.batch(req, kind)
            # Of points with columns the long way alone tells how many came late.
            question = None if isinstance(values, Ticks) else self._question(req, kind, symbol, offset)
        if CALLER in scope:
            check_symbol(scope, WRITE, symbol)
        added = len(values.prices if isinstance(values, Ticks) else values)
        scope[BATCH] = symbol, added
        total = self._now(self._store, symbol, values, offset)
        if total is None:
            total = await self._patience().append(self._store, symbol, values, offset)
        if self._waits:
            await wait_durable(self._store, symbol, total)
        else:
            scope[QUESTION] = question
        resp.data = self._answer % (added, total)
        if isinstance(total, Stored):
            resp.data = total.told(resp.data)

    def _question(self, req: Request, kind: str, symbol: str, offset: int | None) -> Question | None:
        """Return what reads the next body behind the same head; None where more than the body has to be looked at."""
        if req.header(b"content-encoding") is not None:
            return None
        if kind == RAW:  # all but the numbers stands in the head
            return _Octets(self._store, self._answer, self._max_values, symbol, offset)
        if kind != JSON:
            return None
        in_head = req.header(b"x-offset") is not None
        return _JsonAt(self._store, self._answer, self._decoder, offset) if in_head else self._json


def _tell_again(scope: Scope, raised: NotStored) -> NoReturn:
    """Raise what a batch was refused with on the short way: it is not stored a second time by trying again."""
    if raised.batch is not None:
        scope[BATCH] = raised.batch
    raise raised.error


class _Batches:
    """What reads and stores the bodies that come behind one head, or behind any that says as much."""

    __slots__ = ("_answer", "_store", "batch", "offset")
    kept_bytes = 256

    def __init__(self, store: Store, answer: bytes, offset: int | None = None) -> None:
        self.batch: Noted | None = None
        self.offset = offset
        self._store = store
        self._answer = answer

    def _read(self, body: bytes) -> Batch | None:
        """Return the batch in a body; None where there is more to be said about it. Raises Refusal."""
        raise NotImplementedError

    def answer(self, body: bytes, caller: Token | None, offset: int | None = None) -> bytes | None:
        """Store a batch and answer; None where something has to be waited for or to be told of the body itself.

        Raises NotStored.
        """
        try:
            batch = self._read(body)
        except Refusal:
            return None
        if batch is None:
            return None
        symbol, values, own = batch
        if offset is None:
            offset = own
        self.batch = None
        try:
            check_symbol_of(caller, WRITE, symbol)
            added = len(values)
            self.batch = symbol, added
            total = append_now(self._store, symbol, values, offset)
        except Exception as error:  # noqa: BLE001 - told the long way, whatever it is
            raise NotStored(error, self.batch) from None
        return None if total is None else self._answer % (added, total)


class _Json(_Batches):
    """Bodies of JSON, which say everything themselves."""

    __slots__ = ("_quick",)

    def __init__(self, store: Store, answer: bytes, decoder: Decoder) -> None:
        super().__init__(store, answer)
        self._quick = decoder.quick

    def _read(self, body: bytes) -> Batch | None:
        return self._quick(body)


class _JsonAt(_Json):
    """Bodies of JSON, behind a head that says at which offset they belong."""

    __slots__ = ()

    def __init__(self, store: Store, answer: bytes, decoder: Decoder, offset: int | None) -> None:
        super().__init__(store, answer, decoder)
        self.offset = offset

    def _read(self, body: bytes) -> Batch | None:
        batch = super()._read(body)
        # One that says its offset itself, too, is refused the long way.
        return None if batch is None or batch[2] is not None else (batch[0], batch[1], self.offset)


class _Octets(_Batches):
    """Bodies of raw numbers, behind a head that says where they go."""

    __slots__ = ("_max_values", "_symbol")

    def __init__(self, store: Store, answer: bytes, max_values: int, symbol: str, offset: int | None) -> None:
        super().__init__(store, answer, offset)
        self._max_values = max_values
        self._symbol = symbol

    def _read(self, body: bytes) -> Batch:
        return self._symbol, raw_values(body, self._max_values), self.offset


class _Question:
    """One query of /stats that was understood, and the answer it had last."""

    __slots__ = ("_last", "bounds", "kept_bytes", "series", "window")
    batch: Noted | None = None
    offset: int | None = None

    def __init__(self, series: Series, window: Window | None) -> None:
        self.series = series
        self.window = window
        self.kept_bytes = 384 if window is not None else 2560
        self.bounds = (-1, -1)
        self._last = b""

    def answer(self, _body: bytes, _caller: object, _offset: int | None = None) -> bytes:
        """Answer as things stand. Raises SymbolNotFound where the series has gone."""
        # The bounds come from shared memory every time: whoever appended, and in whatever process, is seen here.
        bounds = self.series.bounds()
        return self._last if bounds == self.bounds else self._ask(bounds)

    def _ask(self, bounds: tuple[int, int]) -> bytes:
        """Answer from the series, and remember it for as long as the bounds are `bounds`.

        A batch that another process appends meanwhile moves the bounds, so it is never hidden by what is remembered.
        """
        if self.window is None:
            lasting = standard_times(self.series)
            start, total, windows = self.series.windows_at(
                (*STANDARD_WINDOWS, *lasting) if lasting else STANDARD_WINDOWS
            )
            fields = list(map(_fields, windows))
            found = {
                "symbol": self.series.symbol,
                "total": total,
                "count": total - start,
                "windows": {str(exponent): one for exponent, one in enumerate(fields[: len(STANDARD_WINDOWS)], 1)},
            }
            if lasting:
                found["by_time"] = dict(zip(lasting, fields[len(STANDARD_WINDOWS) :], strict=True))
        else:
            found = _fields(self.series.stats(self.window))
        # NOTE: a copy, because what orjson returns keeps 4 kB of memory, however short it is.
        self._last = bytes(memoryview(orjson.dumps(found)))
        self.bounds = bounds
        return self._last


class Stats:
    """Answers window statistics.

    A query string is understood once and an answer is written once per state of its series. Both are remembered
    together, for the newest different query strings: _LEAST_QUESTIONS, or as many as there may be symbols.
    """

    def __init__(self, store: Store, beside: Beside) -> None:
        self._store = store
        self._beside = beside
        self._questions: dict[bytes, _Question] = {}
        self._most_questions = max(_LEAST_QUESTIONS, store.limits.max_symbols)

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer one window, or all standard windows."""
        resp.data, question = await self.ask(req.scope["query_string"])
        if question is not None:
            req.scope[QUESTION] = question

    on_head = on_get

    async def ask(self, query: bytes) -> tuple[bytes, _Question | None]:
        """Return the answer to a query, and what answers it the next time. Raises what GET is refused with."""
        question = self._questions.get(query)
        if question is None:
            named = parse_named_query(query)
            if named is not None:
                return await answer_named(self._store, named, self._beside), None
            question = await self._understand(query)
        try:
            return question.answer(b"", None), question
        except SymbolNotFound:  # it was removed or renamed, and may have been made again since
            self._questions.pop(query, None)
            question = await self._understand(query)
            return question.answer(b"", None), question

    async def _understand(self, query: bytes) -> _Question:
        symbol, window = parse_stats_query(query)
        # The first use opens it, which waits for the disk.
        find = self._store.series
        question = _Question(
            find(symbol) if self._store.is_open(symbol) else await asyncio.to_thread(find, symbol), window
        )
        if len(query) <= _MAX_QUESTION_BYTES:
            if len(self._questions) >= self._most_questions:
                del self._questions[next(iter(self._questions))]
            self._questions[query] = question
        return question


def _fields(stats: WindowStats) -> dict[str, object]:
    return {"min": stats.min, "max": stats.max, "last": stats.last, "avg": stats.avg, "var": stats.var}
