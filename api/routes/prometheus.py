"""/api/v1/…: the HTTP interface of Prometheus, over the points of each symbol that has times.

So whatever asks Prometheus, Grafana above all, asks this service by another URL. Answers and refusals have the form
that Prometheus gives them: {"status":"error","errorType":"bad_data","error":"…"}; what is passed over there (parameters
that nobody knows) is passed over here.
"""

import math
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TypeAlias

import falcon.asgi
import numpy as np
import orjson

from api.access.guard import symbols_of
from api.access.tokens import READ
from api.body.reading import read_body
from api.http.exchange import REFUSED, request_id
from api.http.problems import INTERNAL_ERROR, Refusal, log_unexpected, status_of
from api.http.query import pairs
from api.http.request import Request
from api.operation.beside import Beside
from api.operation.settings import ServerSettings
from api.promql import written
from api.promql.budget import Budget
from api.promql.catalogue import METRICS, Catalogue, Labels
from api.promql.evaluate import Steps, evaluated
from api.promql.parser import NAME, parsed, parsed_selector
from api.promql.patterns import Effort
from api.promql.refusals import NoAnswer, NoQuery, shown
from api.promql.tokens import duration_ms
from api.promql.tree import KINDS, kind_of
from hft_mmap import Store
from hft_mmap.by_time import instant_ns
from hft_mmap.errors import InvalidRange

SPEAKS = "2.42.0"
"""The version of Prometheus whose answers these are."""
MOST_STEPS = 11_000
MOST_SELECTORS = 100
"""In `match[]`."""
_MOST_MS = 2**53
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_EVERY = f'{{{NAME}=~".+"}}'
_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KINDS: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "bad_data",
    HTTPStatus.UNPROCESSABLE_ENTITY: "execution",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}

Given: TypeAlias = Mapping[str, Sequence[str]]
"""The parameters of a request, each as often as it was given."""


class _Endpoint:
    """Answers GET, and POST with a form, and tells every refusal as Prometheus does."""

    def __init__(self, store: Store, settings: ServerSettings, beside: Beside) -> None:
        self._store = store
        self._max_body_bytes = settings.max_body_bytes
        self._beside = beside

    async def on_get(self, req: Request, resp: falcon.asgi.Response, **path: str) -> None:
        """Answer the question of the query."""
        await _told(self._respond(req, resp, b"", path), req, resp)

    on_head = on_get

    async def _posted(self, req: Request, resp: falcon.asgi.Response) -> None:
        kind = (req.content_type or "").partition(";")[0].strip().lower()
        if kind != _FORM:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"The body must be {_FORM}, not {shown(req.content_type or 'unnamed')}",
            )
        await self._respond(req, resp, await read_body(req, self._max_body_bytes), {})

    async def _respond(self, req: Request, resp: falcon.asgi.Response, form: bytes, path: Mapping[str, str]) -> None:
        catalogue = Catalogue(self._store, symbols_of(req.scope, READ))
        resp.data = await self._beside.answer(
            "promql", partial(self._read_and_answer, (form, req.scope["query_string"]), path, catalogue)
        )

    def _read_and_answer(self, parts: tuple[bytes, ...], path: Mapping[str, str], catalogue: Catalogue) -> bytes:
        """Return the answer; in a thread, as a form may be long, and a pattern slow."""
        given: dict[str, list[str]] = {name: [value] for name, value in path.items()}
        for part in parts:
            for name, value in pairs(part):
                given.setdefault(name, []).append(value)
        return self._answer(given, catalogue)

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        """Return the answer. Raises NoQuery, NoAnswer, errors of the store."""
        raise NotImplementedError


async def _told(work: Awaitable[None], req: Request, resp: falcon.asgi.Response) -> None:
    """Do the work; tell what it raises in the form of Prometheus."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it is, the client knows one form of it
        status, text = _status(error), str(error)
        if status is None:
            log_unexpected(error, request_id(req.scope), req.scope["path"])
            status, text = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
        if isinstance(error, Refusal):
            resp.set_headers(dict(error.headers))
        resp.status = req.scope[REFUSED] = status.value
        resp.content_type = _JSON
        resp.set_header("X-Request-ID", request_id(req.scope))
        resp.data = orjson.dumps({"status": "error", "errorType": _KINDS.get(status, "bad_data"), "error": text})


def _status(error: Exception) -> HTTPStatus | None:
    if isinstance(error, NoQuery):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, NoAnswer):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return status_of(error)


class _Posted(_Endpoint):
    """An endpoint that takes a form as well."""

    async def on_post(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the question of the form."""
        await _told(self._posted(req, resp), req, resp)

    def _evaluated(self, given: Given, steps: Steps, catalogue: Catalogue, *, ranged: bool) -> bytes:
        expression = parsed(_one(given, "query"))
        if ranged and (kind := kind_of(expression)) not in {"scalar", "vector"}:
            raise NoQuery(f'invalid expression type "{KINDS[kind]}" for range query, must be Scalar or instant Vector')
        budget = Budget(self._beside.hold)  # whose room is free again when it is forgotten, with the answer made
        value = evaluated(expression, steps, catalogue, budget)
        return written.answer(value, steps, ranged=ranged, warnings=catalogue.warnings)


class Query(_Posted):
    """Answers an expression at one time."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        at = _time("time", given["time"][0]) if _has(given, "time") else time.time_ns() // 10**6
        steps = Steps(np.array([at], dtype=np.int64), at, at)
        return self._evaluated(given, steps, catalogue, ranged=False)


class QueryRange(_Posted):
    """Answers an expression at every step from one time to another."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        begin, end = (_time(name, _one(given, name)) for name in ("start", "end"))
        if end < begin:
            raise NoQuery('invalid parameter "end": end timestamp must not be before start time')
        step = _step(_one(given, "step"))
        if (end - begin) // step > MOST_STEPS:
            raise NoQuery(
                f"exceeded maximum resolution of {MOST_STEPS:,} points per timeseries: give a longer step, of "
                f"{-(-(end - begin) // MOST_STEPS) / 1000:g} s or more"
            )
        steps = Steps(np.arange(begin, end + 1, step, dtype=np.int64), begin, end)
        return self._evaluated(given, steps, catalogue, ranged=True)


class SeriesOf(_Posted):
    """Answers which series the selectors mean."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        if not _has(given, "match[]"):
            raise NoQuery("no match[] parameter provided: give a selector, such as match[]=price")
        found = [dict(labels) for labels in _series(given, catalogue)]
        return _document(found[: _limit(given)], catalogue)


class LabelNames(_Posted):
    """Answers which labels series have."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        names = {name for labels in _series(given, catalogue) for name, _ in labels}
        return _document(sorted(names)[: _limit(given)], catalogue)


class LabelValues(_Endpoint):
    """Answers which values a label has."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        label = given["name"][0]
        if not _LABEL.fullmatch(label):
            raise NoQuery(f"invalid label name: {shown(label)}")
        values = {value for labels in _series(given, catalogue) for name, value in labels if name == label}
        return _document(sorted(values)[: _limit(given)], catalogue)


class MetricsMetadata(_Endpoint):
    """Answers what the metrics are."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        wanted = given["metric"][0] if _has(given, "metric") else None
        names = [name for name in METRICS if wanted in {None, name}][: _limit(given)]
        return _document({name: [{"type": "gauge", "help": METRICS[name], "unit": ""}] for name in names}, catalogue)


class BuildInformation(_Endpoint):
    """Answers what version of Prometheus this service speaks like."""

    def _answer(self, given: Given, catalogue: Catalogue) -> bytes:
        del given
        about = {"version": SPEAKS, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""}
        return _document({**about, "application": "hft-mmap"}, catalogue)


def _series(given: Given, catalogue: Catalogue) -> list[Labels]:
    """Return the labels of the series that the selectors mean, all of them where there is none. Raises NoQuery."""
    texts = given.get("match[]", [_EVERY])
    if len(texts) > MOST_SELECTORS:
        raise NoAnswer(f"{len(texts):,} selectors are asked for; at most {MOST_SELECTORS} are answered")
    effort = Effort()
    selectors = [parsed_selector(text, effort) for text in texts]
    return sorted({found.labels for selector in selectors for found in catalogue.find(selector.matchers)})


def _document(data: object, catalogue: Catalogue) -> bytes:
    told = {"warnings": catalogue.warnings} if catalogue.warnings else {}
    return orjson.dumps({"status": "success", "data": data, **told})


# -- parameters -------------------------------------------------------------------------------------------------------


def _has(given: Given, name: str) -> bool:
    return bool(given.get(name, [""])[0])


def _one(given: Given, name: str) -> str:
    if not _has(given, name):
        raise NoQuery(f'invalid parameter "{name}": it is missing')
    return given[name][0]


def _limit(given: Given) -> int | None:
    """Return how many are asked for at most; None, or 0, for all."""
    if not _has(given, "limit"):
        return None
    text = given["limit"][0]
    if not re.fullmatch("[0-9]{1,18}", text):
        raise NoQuery(f'invalid parameter "limit": it must be a whole number from 0, not {shown(text)}')
    return int(text) or None


def _time(name: str, text: str) -> int:
    """Return a time, seconds since 1970 or RFC 3339, in milliseconds."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        found = round(seconds * 1000) if abs(seconds) < _MOST_MS else _MOST_MS
    else:
        try:
            found = instant_ns(text, name) // 10**6 if not text[-1:].isalpha() or text[-1] in "zZ" else _MOST_MS
        except InvalidRange:
            found = _MOST_MS
    if abs(found) >= _MOST_MS:
        raise NoQuery(
            f'invalid parameter "{name}": cannot parse {shown(text)} to a valid timestamp: give seconds since 1970, or '
            "RFC 3339 with a zone"
        )
    return found


def _step(text: str) -> int:
    """Return a step, seconds or a duration as 5m, in milliseconds."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        found = int(seconds * 1000) if math.isfinite(seconds) and abs(seconds) < _MOST_MS / 1000 else 0
    else:
        found = duration_ms(text) or 0
    if not 0 < found < _MOST_MS:
        raise NoQuery(
            f'invalid parameter "step": {shown(text)} is no duration above 0 (zero or negative query resolution step '
            "widths are not accepted): give seconds, of 1 ms or more, or a duration such as 5m"
        )
    return found


def resources(store: Store, settings: ServerSettings, beside: Beside) -> Mapping[str, object]:
    """Return the resource behind each route of this interface."""
    kinds: Mapping[str, type[_Endpoint]] = {
        "query": Query, "query_range": QueryRange, "series": SeriesOf, "labels": LabelNames,
        "label/{name}/values": LabelValues, "metadata": MetricsMetadata, "status/buildinfo": BuildInformation,
    }  # fmt: skip
    return {f"/api/v1/{route}": kind(store, settings, beside) for route, kind in kinds.items()}
