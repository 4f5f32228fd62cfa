"""Who may do what: each request is held against the scopes of the token that it brings, before anything else sees it.

    no such token      401, with WWW-Authenticate: Bearer
    token, not enough  403, naming the scope that is missing, or the symbol that it is not for

Without a tokens file there is no guard at all, and nothing to pay for it. With one, whatever is not declared open needs
a token, paths that are no route included: a stranger learns nothing about what there is.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

from api.access.browsers import Application, Refuse, check_site
from api.access.tokens import ANY, NOBODY, OPEN, Token, Tokens
from api.http.exchange import CALLER, Receive, Scope, Send
from api.http.problems import Refusal, shown
from api.http.query import MOST_SYMBOLS, bad_query, pairs
from hft_mmap.errors import InvalidSymbol
from hft_mmap.files.names import validate_symbol

WEBSOCKET = "WEBSOCKET"
"""What a table of access calls the opening of a web socket, which has no method of its own."""
SUBPROTOCOL = "hft-mmap"
BEARER_SUBPROTOCOL = "hft-mmap.bearer."
"""Scripts in a browser can set no header of a web socket: they offer `hft-mmap` and `hft-mmap.bearer.TOKEN`."""

_MAX_TOLD_CHARS = 200

Access: TypeAlias = str | Mapping[str, str]
"""The scope that a route needs, or the scope that each of its methods does."""
Find: TypeAlias = Callable[[str], str | None]


def authorise(scope: Scope, needed: str) -> Refusal | None:
    """Return None if the caller of this request may do what needs the scope `needed`, or what to refuse it with.

    For a resource that decides only while it answers, such as a stream: asked again later, it also notices that the
    token was revoked. Without a tokens file everybody may do everything.
    """
    token: Token | None = scope.get(CALLER)
    if token is None:
        return None
    if token.revoked:
        return _revoked()
    return None if needed in token.scopes else _refusal(token, needed, sent=token is not NOBODY)


def check_symbol(scope: Scope, needed: str, symbol: str) -> None:
    """Raise Refusal (403) unless the caller of this request has the scope `needed` for `symbol`.

    What stands in a query, the door has asked already; this is for symbols in bodies, messages and paths. Also Refusal
    (401) where the token was revoked since the request came, and InvalidSymbol.
    """
    check_symbol_of(scope.get(CALLER), needed, symbol)


def check_symbol_of(token: Token | None, needed: str, symbol: str) -> None:
    """Raise Refusal unless the holder of `token` has the scope `needed` for `symbol`; see `check_symbol`."""
    if token is None:
        return
    if token.revoked:
        raise _revoked()
    # What is no symbol, and may be as long as a body, is held against no pattern.
    if token.only and not token.may(needed, validate_symbol(symbol)):
        raise _beyond(token, needed, symbol)


def check_revoked(scope: Scope) -> None:
    """Raise Refusal (401) if the token of this request was revoked since it came; its body may have taken a while."""
    token: Token | None = scope.get(CALLER)
    if token is not None and token.revoked:
        raise _revoked()


def symbols_of(scope: Scope, needed: str) -> Callable[[str], bool] | None:
    """Return what says whether the caller has the scope `needed` for a symbol; None where that is so for all."""
    token: Token | None = scope.get(CALLER)
    return partial(token.may, needed) if token is not None and needed in token.only else None


def guarded(app: Application, refuse: Refuse, door: "Door") -> Application:
    """Return the application that lets through to `app` what `door` allows, and hands the rest to `refuse`."""
    verified = door.verified

    def answer(scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        # PERF: 0.3 us for a request of five headers whose token was seen before; so this is no coroutine of its own,
        # which would take another 0.1 us, and no method.
        try:
            allowed = verified[scope["method"]][scope["path"]]
            for name, value in scope["headers"]:
                if name == b"authorization":
                    scope[CALLER] = token = allowed[value]
                    refusal = door.beyond(scope, token) if token.only else None
                    return app(scope, receive, send) if refusal is None else refuse(scope, send, refusal)
        except KeyError:
            pass
        refusal = door.refusal(scope)
        return app(scope, receive, send) if refusal is None else refuse(scope, send, refusal)

    return answer


class Door:
    """Decides about the first request with a token, and about every one that is out of the ordinary.

    A connection asks it as soon as it has the head of a request, before it keeps anything of a body.
    """

    def __init__(self, tokens: Tokens, access: Mapping[str, Mapping[str, str]], find: Find) -> None:
        """`access`: the scope that each method of each route needs; `find` returns the route that a path leads to."""
        self._tokens = tokens
        self._access = access
        self._find = find
        self.verified: dict[str, dict[str, dict[bytes, Token]]] = {}
        """By method and path: the Authorization headers that were let through, and whose they are."""
        for route, needed_by in access.items():
            for method, needed in needed_by.items():
                paths = (route, f"{route.rstrip('/')}/")
                self.verified.setdefault(method, {}).update(dict.fromkeys(paths, tokens.verified[needed]))

    def admits(self, scope: Scope) -> bool:
        """Return whether a body is kept for the request, by its head alone, with the caller left in the scope.

        Only for a token that may do what it asks: what is open to everybody needs no body. A connection also asks whose
        request is run at once, where strangers have had their turn.
        """
        allowed = self.verified.get(scope.get("method", WEBSOCKET), {}).get(scope["path"], {})
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = allowed.get(value)
                if token is None:
                    return self.refusal(scope) is None and scope[CALLER] is not NOBODY
                scope[CALLER] = token
                return not token.only or self.beyond(scope, token) is None
        return False

    def beyond(self, scope: Scope, token: Token) -> Refusal | None:
        """Return what to refuse a request with whose query names a symbol that the token is not for, or None."""
        needed = self._needed(scope)
        if needed in token.only:
            try:
                asked = [value for name, value in pairs(scope["query_string"]) if name == "symbol"]
            except Refusal as refusal:  # it is no query at all
                return refusal
            if len(asked) > MOST_SYMBOLS:
                return bad_query(f"{len(asked)} symbols; one request has at most {MOST_SYMBOLS:,}: send several")
            try:
                refused = next((one for one in asked if not token.may(needed, validate_symbol(one))), None)
            except InvalidSymbol as error:
                return bad_query(str(error))
            if refused is not None:
                return _beyond(token, needed, refused)
        return None

    def refusal(self, scope: Scope) -> Refusal | None:
        """Return None, with the caller left in the scope, or what to refuse the request with."""
        if scope["type"] == "lifespan":
            return None
        needed = self._needed(scope)
        token, sent = self._token(scope, needed)
        scope[CALLER] = token
        if needed not in token.scopes:
            return _refusal(token, needed, sent=sent)
        if token.only:
            return self.beyond(scope, token)
        # A page of another site that has a token was given it.
        return check_site(scope, lambda _: needed == OPEN) if token is NOBODY else None

    def _needed(self, scope: Scope) -> str:
        """Return the scope that a request needs; the router itself is asked, so that both mean the same route."""
        path: str = scope["path"]
        route = self._find(path[:-1] if len(path) > 1 and path[-1] == "/" else path or "/")
        if route is None:
            return ANY
        # A method that the route has not (405) is answered to those who may use the route in some way.
        return self._access[route].get(scope.get("method", WEBSOCKET), self._access[route]["OPTIONS"])

    def _token(self, scope: Scope, needed: str) -> tuple[Token, bool]:
        """Return the token of a request, or NOBODY, and whether one was sent at all."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self._tokens.of_header(value, needed), True
        for offered in scope.get("subprotocols", ()):
            if offered.startswith(BEARER_SUBPROTOCOL):
                return self._tokens.of(offered.removeprefix(BEARER_SUBPROTOCOL).encode()), True
        return NOBODY, False


def _beyond(token: Token, needed: str, symbol: str) -> Refusal:
    detail = f"The token {token.name} has the scope {_told(token)}; this needs {needed} for the symbol {shown(symbol)}"
    challenge = f'Bearer realm="hft-mmap", error="insufficient_scope", scope="{needed}"'
    return Refusal(HTTPStatus.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})


def _refusal(token: Token, needed: str, *, sent: bool) -> Refusal:
    if token is not NOBODY:
        detail = f"The token {token.name} has the scope {_told(token)}; this needs {needed}"
        challenge = f'Bearer realm="hft-mmap", error="insufficient_scope", scope="{needed}"'
        return Refusal(HTTPStatus.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})
    if sent:
        return _unauthorised("The token is not known: it is wrong, or was revoked", "invalid_token")
    return _unauthorised("A token is needed; send it with: -H 'Authorization: Bearer TOKEN'")


def _told(token: Token) -> str:
    """Return the scopes of a token, cut: its patterns may take 16 kB, and each line of a body may be refused."""
    text = token.told()
    return text if len(text) <= _MAX_TOLD_CHARS else f"{text[:_MAX_TOLD_CHARS]}…"


def _revoked() -> Refusal:
    return _unauthorised("The token was revoked, or its line was changed", "invalid_token")


def _unauthorised(detail: str, error: str = "") -> Refusal:
    challenge = 'Bearer realm="hft-mmap"' + (f', error="{error}"' if error else "")
    return Refusal(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})
