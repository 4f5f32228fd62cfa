"""From a request to a batch, for every body that is not plain JSON: binary, compressed, with an offset beside it.

Where a binary body goes stands in the query, because the body has no place for it.
"""

from http import HTTPStatus

from api.arrow import arrow_values
from api.body import read_body
from api.decode import Batch, Decoder
from api.inflate import inflate
from api.media import ARROW, JSON, body_coding
from api.problems import Refusal
from api.query import parse_batch_query, parse_index
from api.raw import raw_values
from api.request import Request
from api.settings import ServerSettings


class Intake:
    """Reads bodies of all types. Belongs to one event loop, like its decoder."""

    def __init__(self, settings: ServerSettings, decoder: Decoder) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._max_values = settings.max_batch_values
        self._decoder = decoder

    async def body(self, req: Request) -> bytes:
        """Return the body of `req`, inflated where it is compressed. Raises Refusal (400, 413, 415)."""
        coding = body_coding(req.header(b"content-encoding"))
        body = await read_body(req, self._max_body_bytes)
        return body if coding is None else await inflate(body, coding, self._max_body_bytes)

    async def batch(self, req: Request, kind: str) -> Batch:
        """Return the batch that `req` carries in a body of type `kind`. Raises Refusal."""
        if kind == JSON:
            return await self._json(req)
        query = parse_batch_query(req.scope["query_string"], columns=kind == ARROW)
        offset = _offset(req, query.offset)
        body = await self.body(req)
        if kind == ARROW:
            return query.symbol, await arrow_values(body, query.column, self._max_values), offset
        return query.symbol, raw_values(body, self._max_values), offset

    async def lines(self, req: Request) -> bytes:
        """Return the body of `req`, which is NDJSON: each line has its own symbol and offset. Raises Refusal."""
        if req.scope["query_string"] or req.header(b"x-offset") is not None:
            raise _bad(
                "Each line says its own symbol and offset; /add_batch takes no query and no X-Offset beside them"
            )
        return await self.body(req)

    async def _json(self, req: Request) -> Batch:
        if req.scope["query_string"]:
            raise _bad("A JSON body says everything itself, and /add_batch takes no query beside it")
        body = await self.body(req)
        symbol, values, offset = self._decoder.quick(body) or await self._decoder.decode(body)
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
