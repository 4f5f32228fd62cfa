"""The dashboard, the API page, and what they are made of: files of this package, read once and answered from memory.

Each is kept as it is and compressed, under the hash of its bytes: a browser asks again every time and is told in 304
that nothing has changed, so an upgrade is seen at once.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files

import falcon.asgi

from api.problems import Refusal, shown
from api.request import Request

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOLDERS = ("static", "static/vendor")
_PLACE_OF_ROOT = b"{{root}}"
_HEADERS = {
    "Cache-Control": "no-cache",  # may be kept, must be asked about
    # Nothing inline, nothing evaluated, nobody else's: a price feed that smuggled markup in could still not run it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the forms it is answered in."""

    content_type: str
    plain: bytes
    compressed: bytes
    tag: str


@cache
def names() -> frozenset[str]:
    """Return the names of all files that /static/{name} has."""
    found = (entry.name for folder in _FOLDERS for entry in files("api").joinpath(folder).iterdir())
    return frozenset(name for name in found if _suffix(name) in _TYPES and _suffix(name) != ".html")


@cache
def asset(name: str, root: str = "") -> Asset:
    """Return the file `name` of the package; its links begin with `root`. Read and compressed once, in 2 ms at most."""
    for folder in _FOLDERS:
        file = files("api").joinpath(folder, name)
        if file.is_file():
            break
    content = file.read_bytes().replace(_PLACE_OF_ROOT, root.encode())
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return Asset(_TYPES[_suffix(name)], content, gzip.compress(content, mtime=0), tag)


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


def _answer(req: Request, resp: falcon.asgi.Response, found: Asset) -> None:
    resp.set_headers(_HEADERS)
    resp.set_header("ETag", found.tag)
    if found.tag.encode() in (req.header(b"if-none-match") or b""):
        resp.status = HTTPStatus.NOT_MODIFIED
        return
    resp.content_type = found.content_type
    if b"gzip" in (req.header(b"accept-encoding") or b""):
        resp.set_header("Content-Encoding", "gzip")
        resp.data = found.compressed
    else:
        resp.data = found.plain


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
