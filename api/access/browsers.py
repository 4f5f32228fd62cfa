"""What web pages of others may not do by way of a browser that reaches this service.

A browser lets any page send requests to any address, this machine's 127.0.0.1 included, and a page can point a name of
its own at 127.0.0.1 (DNS rebinding), after which the browser takes both for one origin. So a service without tokens
answers only to names that are its own, and no request that a page of another site has made is answered at all, but for
those that open a page of ours in a window. Programs send neither of what gives such a request away, and pass.
"""

import ipaddress
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from api.http.exchange import Receive, Scope, Send
from api.http.problems import Refusal, shown

Application: TypeAlias = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
Refuse: TypeAlias = Callable[[Scope, Send, Refusal], Coroutine[Any, Any, None]]
IsPage: TypeAlias = Callable[[Scope], bool]
"""Says whether a request is for a route that holds no data."""

HEADERS = [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")]
"""Of every answer: no page of another site can embed it, as a script, a picture or an object, and learn from that."""

_OURS = frozenset({b"same-origin", b"none"})  # none: typed by the user, or a bookmark
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]*)?", re.IGNORECASE)
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to listen on; as a name they lead any page to this machine
_MOST_KNOWN = 256


def check_site(scope: Scope, is_page: IsPage) -> Refusal | None:
    """Return what to refuse a request with that a page of another site has made, else None.

    By Sec-Fetch-Site, which browsers send with every request to this machine or over TLS. "same-site" is another one as
    well: all ports of localhost are one site.
    """
    fetch = {name: value for name, value in scope["headers"] if name.startswith(b"sec-fetch-")}
    site = fetch.get(b"sec-fetch-site")
    if site is None or site in _OURS:
        return None
    opens_window = fetch.get(b"sec-fetch-mode") == b"navigate" and fetch.get(b"sec-fetch-dest") == b"document"
    if opens_window and scope.get("method") == "GET" and is_page(scope):
        return None
    detail = f"Pages of other sites may not use this service (Sec-Fetch-Site: {shown(site.decode('latin-1'))})"
    return Refusal(HTTPStatus.FORBIDDEN, detail)


def for_own_pages(app: Application, refuse: Refuse, door: "OwnPages") -> Application:
    """Return the application that lets through to `app` what `door` allows, and hands the rest to `refuse`."""
    decide = door.refusal

    def answer(scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        refusal = decide(scope)
        return app(scope, receive, send) if refusal is None else refuse(scope, send, refusal)

    return answer


class OwnPages:
    """Decides, for a service without tokens, what neither strange names nor pages of other sites may ask.

    The service is known by loopback names, by the address that a connection came to, and by `names`. Who connects by a
    Unix socket is no browser, and may name it as he likes. A connection asks as soon as it has the head of a request,
    before it keeps anything of a body.
    """

    def __init__(self, names: Iterable[str], is_page: IsPage) -> None:
        self._names = frozenset(map(_same, names)) - _EVERYWHERE
        self._is_page = is_page
        self._known: set[bytes] = set()  # values of Host that were found to be own ones

    def refusal(self, scope: Scope) -> Refusal | None:
        """Return what to refuse a request with, by its head, else None."""
        # PERF: 0.2 us for a request of five headers.
        known = self._known
        for name, value in scope.get("headers", ()):
            if name == b"host":
                if value not in known and (refusal := self._of_name(scope, value)) is not None:
                    return refusal
            elif name == b"sec-fetch-site" and value not in _OURS:
                refusal = check_site(scope, self._is_page)
                if refusal is not None:
                    return refusal
        return None

    def admits(self, scope: Scope) -> bool:
        """Return whether a body is kept for the request."""
        return self.refusal(scope) is None

    def _of_name(self, scope: Scope, host: bytes) -> Refusal | None:
        address, port = scope.get("server") or (None, 0)
        if port is None or not host:  # a Unix socket; or an empty name, which no page has
            return None
        text = host.decode("latin-1")
        if not self._is_own(text, address):
            detail = (
                f"This service has no tokens, so it answers only to the names of this machine, and {shown(text)} is "
                "none of them: put the name into server.host_names, or set auth.tokens_file"
            )
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, detail)
        if len(self._known) < _MOST_KNOWN:
            self._known.add(host)
        return None

    def _is_own(self, host: str, address: str | None) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = _same(match["v6"] or match["name"])
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        return (address is not None and name == _same(address)) or _is_loopback(name)


def _same(name: str) -> str:
    """Return a name or an address as it is compared: one spelling for each."""
    name = name.lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def pages(access: Mapping[str, Mapping[str, str]], find: Callable[[str], str | None], needed: str) -> IsPage:
    """Return what says of a request whether its route needs no more than `needed`; `find` knows routes by path."""

    def is_page(scope: Scope) -> bool:
        path: str = scope["path"]
        route = find(path[:-1] if len(path) > 1 and path[-1] == "/" else path or "/")
        return route is not None and access[route].get("GET") == needed

    return is_page
