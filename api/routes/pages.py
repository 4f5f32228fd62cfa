"""The dashboard, the API page, the OpenAPI document: files of this package, read once and answered from memory.

Each is kept as it is and compressed, under the hash of its bytes: a browser asks again every time and is told in 304
that nothing has changed, so an upgrade is seen at once.
"""

import gzip
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files

import falcon.asgi

from api.http.problems import Refusal, shown
from api.http.request import Request

_TYPES = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOLDERS = ("static", "static/vendor")
_NOT_BY_NAME = {".html", ".json"}  # served elsewhere, or not at all
_PLACE_OF_ROOT = b"{{root}}"
_HEADERS = {
    "Cache-Control": "no-cache",  # may be kept, must be asked about
    # Nothing inline, nothing evaluated, nobody else's: a price feed that smuggled markup in could still not run it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the forms it is answered in."""

    content_type: str
    plain: bytes
    compressed: bytes
    tag: str
    compressed_tag: str


@cache
def names() -> frozenset[str]:
    """Return the names of all files that /static/{name} has."""
    found = (entry.name for folder in _FOLDERS for entry in files("api").joinpath(folder).iterdir())
    return frozenset(name for name in found if _suffix(name) in _TYPES.keys() - _NOT_BY_NAME)


@cache
def asset(name: str, root: str = "") -> Asset:
    """Return the file `name` of the package; its links begin with `root`. Read and compressed once, in 2 ms at most."""
    for folder in _FOLDERS:
        file = files("api").joinpath(folder, name)
        if file.is_file():
            break
    return _made(name, file.read_bytes().replace(_PLACE_OF_ROOT, root.encode()))


@cache
def document() -> Asset:
    """Return the OpenAPI document of this service."""
    name = "openapi.json"
    return _made(name, files("api.routes").joinpath(name).read_bytes())


def _made(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:24]
    # A strong tag names bytes as they are sent, so each coding has its own.
    return Asset(
        _TYPES[_suffix(name)], content, gzip.compress(content, mtime=0), f'"{digest}"', f'"{digest}-gzip"'
    )  # fmt: skip


class Page:
    """Answers one HTML page."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the page, with links that are right under any prefix a proxy has put before it."""
        below = req.scope["path"].endswith("/") and req.path != "/"
        _answer(req, resp, asset(self._name, ".." if below else "."))

    on_head = on_get


class Static:
    """Answers the scripts, styles and pictures of the pages."""

    async def on_get(self, req: Request, resp: falcon.asgi.Response, name: str) -> None:
        """Answer one of the files, or 404."""
        if name not in names():
            raise Refusal(HTTPStatus.NOT_FOUND, f"No such file: {shown(name)}")
        _answer(req, resp, asset(name))

    on_head = on_get


class Document:
    """Answers the OpenAPI document."""

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer the document as it lies in the package."""
        _answer(req, resp, document())

    on_head = on_get


def takes_gzip(accepted: bytes) -> bool:
    """Say whether an Accept-Encoding takes gzip, and likes it no less than what is not coded (RFC 9110, 12.5.3)."""
    weights: dict[bytes, float] = {}
    for item in accepted.lower().split(b","):
        coding, *parameters = (part.strip() for part in item.split(b";"))
        weights[coding] = _weight(parameters)
    gzip_weight = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip_weight > 0 and gzip_weight >= weights.get(b"identity", 0.0)


def _weight(parameters: list[bytes]) -> float:
    """Return the weight among the parameters of a coding; 0, which refuses it, where it can't be read."""
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            with suppress(ValueError):
                return float(value)
            return 0.0
    return 1.0


def _answer(req: Request, resp: falcon.asgi.Response, found: Asset) -> None:
    packed = takes_gzip(req.header(b"accept-encoding") or b"")
    tag = found.compressed_tag if packed else found.tag
    resp.set_headers(_HEADERS)
    resp.set_header("ETag", tag)
    if _names(req.header(b"if-none-match") or b"", tag.encode()):
        resp.status = HTTPStatus.NOT_MODIFIED
        return
    resp.content_type = found.content_type
    if packed:
        resp.set_header("Content-Encoding", "gzip")
    resp.data = found.compressed if packed else found.plain


def _names(condition: bytes, tag: bytes) -> bool:
    """Say whether an If-None-Match names this tag; a weak one (W/) of the same value does too."""
    return condition.strip() == b"*" or tag in [one.strip().removeprefix(b"W/") for one in condition.split(b",")]


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
