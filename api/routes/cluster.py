"""GET /cluster: which shard this service is a replica of, and how far it has read its log."""

import falcon.asgi
import orjson

from api.http.query import parameters
from api.http.request import Request
from api.operation.part import Part

_ALONE = b'{"shard":null}'


class Cluster:
    """Answers with the place of this service among others; on one machine there is none."""

    def __init__(self, part: Part | None) -> None:
        self._part = part

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer as things stand."""
        parameters(req.scope["query_string"], ())
        resp.data = _ALONE if self._part is None else orjson.dumps(self._part.told())

    on_head = on_get
