"""From a request to a batch, for every body that is not plain JSON: binary, compressed, with an offset beside it.

Where a binary body goes stands in the query, because the body has no place for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from api.body.arrow import ArrowColumns, arrow_rows
from api.body.decode import Decoder, Rows
from api.body.inflate import inflate
from api.body.media import ARROW, JSON, body_coding
from api.body.raw import PRICES_ALONE, parse_columns, raw_rows
from api.body.reading import read_body
from api.http.problems import Refusal
from api.http.query import parse_batch_query, parse_index
from api.http.request import Request
from api.operation.settings import ServerSettings

MOST_INFLATED = 8
"""Compressed bodies that are inflated at the same time."""


class Intake:
    """Reads bodies of all types. Belongs to one event loop, like its decoder."""

    def __init__(self, settings: ServerSettings, decoder: Decoder) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._max_values = settings.max_batch_values
        self._decoder = decoder
        self._inflating = asyncio.Semaphore(MOST_INFLATED)

    @asynccontextmanager
    async def body(self, req: Request) -> AsyncIterator[bytes]:
        """Yield the body of `req`, inflated where it is compressed. Raises Refusal (400, 413, 415).

        Only MOST_INFLATED bodies are in memory at a time that may be larger than what was sent; others wait.
        """
        coding = body_coding(req.header(b"content-encoding"))
        body = await read_body(req, self._max_body_bytes)
        if coding is None:
            yield body
        else:
            async with self._inflating:
                yield await inflate(body, coding, self._max_body_bytes)

    async def batch(self, req: Request, kind: str) -> Rows:
        """Return the batch that `req` carries in a body of type `kind`. Raises Refusal."""
        if kind == JSON:
            return await self._json(req)
        query = parse_batch_query(req.scope["query_string"], named=kind == ARROW)
        offset, given = _offset(req, query.offset), query.given
        if kind == ARROW:
            names = ArrowColumns(*map(given.get, ("column", "time_column", "size_column", "time_unit")))
            async with self.body(req) as body:
                return query.symbol, await arrow_rows(body, names, self._max_values), offset
        columns = PRICES_ALONE
        if "columns" in given or "time_unit" in given:
            columns = parse_columns(given.get("columns"), given.get("time_unit"))
        async with self.body(req) as body:
            return query.symbol, raw_rows(body, columns, self._max_values), offset

    def check_lines(self, req: Request) -> None:
        """Raise Refusal (400) if there is something beside an NDJSON body, whose lines have symbols and offsets."""
        if req.scope["query_string"] or req.header(b"x-offset") is not None:
            raise _bad(
                "Each line says its own symbol and offset; /add_batch takes no query and no X-Offset beside them"
            )

    async def _json(self, req: Request) -> Rows:
        if req.scope["query_string"]:
            raise _bad("A JSON body says everything itself, and /add_batch takes no query beside it")
        async with self.body(req) as body:
            symbol, values, offset = self._decoder.quick(body) or await self._decoder.decode_rows(body)
        return symbol, values, _offset(req, offset)


def _offset(req: Request, given: int | None) -> int | None:
    """Return the offset of a batch, which its header may give in place of its body or query."""
    header = req.header(b"x-offset")
    if header is None:
        return given
    if given is not None:
        raise _bad("The offset is given twice; X-Offset says the same as offset")
    return parse_index("X-Offset", header.decode("latin-1"))


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)
