"""From a request to a batch, for every body that is not plain JSON: raw numbers, compressed, with an offset beside it.

The symbol stands in the query, because such a body has no place for it; the offset there or in the header X-Offset.
"""

from http import HTTPStatus

from api.body import read_body
from api.decode import Batch, Decoder
from api.inflate import inflate
from api.media import JSON, body_coding
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
        query = parse_batch_query(req.scope["query_string"], columns=False)
        offset = _offset(req, query.offset)
        return query.symbol, raw_values(await self.body(req), self._max_values), offset

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
