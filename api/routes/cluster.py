"""GET and PATCH /cluster: which shard this service is a replica of, what a symbol keeps there, and which move away."""

from http import HTTPStatus
from typing import Any

import falcon.asgi
import orjson

from api.body.media import JSON, body_type
from api.body.reading import read_body
from api.http.problems import Refusal, shown
from api.http.query import parameters
from api.http.request import Request
from api.operation.part import Part
from hft_mmap import Ticks, as_ticks
from hft_mmap.appender import MAX_OFFSET
from hft_mmap.files.names import validate_symbol

_ALONE = b'{"shard":null}'
_MAX_BODY_BYTES = 4096
_KEYS = ("max_data_retention", "cleanup_keep_count")
_STEPS = {"seal": (), "begin": ("offset", "value"), "moved": ("to",)}
"""The steps of a move, and what each has beside the symbol."""
_COLUMNS = ("time", "size")
"""What the first point has as well, where the series does."""


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
        """Change what a symbol keeps, or take a step of a move, in every replica of the shard at the same record."""
        parameters(req.scope["query_string"], ())
        if self._part is None:
            detail = (
                "This service is on one machine: store.max_data_retention and store.cleanup_keep_count are settings"
            )
            raise Refusal(HTTPStatus.CONFLICT, detail)
        if body_type(req.content_type) != JSON:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {JSON}")
        found = _body(await read_body(req, _MAX_BODY_BYTES))
        if (step := next((name for name in _STEPS if name in found), None)) is not None:
            resp.data = orjson.dumps(await self._part.move(step, *_step(step, found)))
            return
        limits = _limits(found)
        try:
            sequence = await self._part.limit(*limits)
        except ValueError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{error}; nothing was changed") from None
        resp.data = orjson.dumps({**dict(zip(_KEYS, limits, strict=True)), "seq": sequence})


def _body(body: bytes) -> dict[str, Any]:
    """Return the object that the body is. Refusal (400)."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "The body must be an object of JSON")
    return found


def _limits(found: dict[str, Any]) -> list[int]:
    """Return the numbers that the body has. Refusal (400)."""
    if set(found) != set(_KEYS):
        detail = f"The body must have {' and '.join(_KEYS)}, or one of {', '.join(_STEPS)}, and nothing else"
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    return [found[name] for name in _KEYS]


def _step(step: str, found: dict[str, Any]) -> tuple[str, int, Ticks | None]:
    """Return the symbol of a step of a move, its number (offset, shard or 0), and its point. Refusal, InvalidSymbol."""
    names, begins = _STEPS[step], step == "begin"
    if set(found) - set(_COLUMNS if begins else ()) != {step, *names}:
        more = f" (and {', '.join(_COLUMNS)})" if begins else ""
        detail = f"Beside {step} the body must have {' and '.join(names) or 'nothing'}{more}"
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    number = found[names[0]] if names else 0
    if type(number) is not int or not 0 <= number <= MAX_OFFSET:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{names[0]} must be a whole number from 0, not {shown(str(number))}")
    time, size = ([found[name]] if name in found else None for name in _COLUMNS)
    return validate_symbol(found[step]), number, as_ticks([found["value"]], time, size) if begins else None
