"""GET and PATCH /cluster: which shard this service is a replica of, and how many points a symbol keeps there."""

from http import HTTPStatus

import falcon.asgi
import orjson

from api.body.media import JSON, body_type
from api.body.reading import read_body
from api.http.problems import Refusal
from api.http.query import parameters
from api.http.request import Request
from api.operation.part import Part

_ALONE = b'{"shard":null}'
_MAX_BODY_BYTES = 4096
_KEYS = ("max_data_retention", "cleanup_keep_count")


class Cluster:
    """Answers with the place of this service among others; on one machine there is none."""

    def __init__(self, part: Part | None) -> None:
        self._part = part

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer as things stand."""
        parameters(req.scope["query_string"], ())
        resp.data = _ALONE if self._part is None else orjson.dumps(self._part.told())

    on_head = on_get

    async def on_patch(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Change how many points a symbol keeps, in every replica of the shard at the same record."""
        parameters(req.scope["query_string"], ())
        if self._part is None:
            detail = (
                "This service is on one machine: store.max_data_retention and store.cleanup_keep_count are settings"
            )
            raise Refusal(HTTPStatus.CONFLICT, detail)
        if body_type(req.content_type) != JSON:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {JSON}")
        limits = _limits(await read_body(req, _MAX_BODY_BYTES))
        try:
            sequence = await self._part.limit(*limits)
        except ValueError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{error}; nothing was changed") from None
        resp.data = orjson.dumps({**dict(zip(_KEYS, limits, strict=True)), "seq": sequence})


def _limits(body: bytes) -> list[int]:
    """Return the numbers that the body has. Refusal (400)."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}") from None
    if not isinstance(found, dict) or set(found) != set(_KEYS):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body must have {' and '.join(_KEYS)}, and nothing else")
    return [found[name] for name in _KEYS]
