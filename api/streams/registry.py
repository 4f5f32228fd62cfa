"""The streams that are open: how many there may be at once, whose, and how they end when the service stops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from api.access.tokens import READ, WRITE, Token, Tokens
from api.http.exchange import CALLER, Scope
from api.http.problems import Refusal

RETRY_AFTER_S = 5


class Streams:
    """All open streams of one service. Belongs to the event loop.

    Where there are tokens, places are counted by token and by scope: a token may take half of them, unless it is the
    only one that may open a stream; and those who read, or those who write, leave a quarter to the others. Without
    tokens everybody is one caller.
    """

    def __init__(self, most: int, tokens: Tokens | None = None) -> None:
        """Have `most` places, for the holders of `tokens`."""
        self._most = most
        self._tokens = tokens
        self.refused = 0  # for want of a place
        self._open: dict[object, tuple[Callable[[], None], str, str]] = {}
        self._ending = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._most

    @property
    def share(self) -> int:
        """How many of them one caller may have."""
        alone = self._tokens is None or self._tokens.holders(READ, WRITE) <= 1
        return self._most if alone else max(self._most // 2, 1)

    @contextmanager
    def opened(self, end: Callable[[], None], scope: Scope, needed: str) -> Iterator[None]:
        """Count one stream for as long as the context lasts; `end` asks it to end, and does not wait.

        The request `scope` says whose it is; the stream needs the scope `needed`, READ or WRITE. Raises Refusal (503)
        when there is no place for one more, or the service stops.
        """
        self.check(scope, needed)
        place = object()
        self._open[place] = end, _name(scope), needed
        try:
            yield
        finally:
            del self._open[place]

    def check(self, scope: Scope, needed: str) -> None:
        """Raise Refusal (503) unless there is a place for one more stream of this caller."""
        if self._ending:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The service is stopping; try again after its restart")
        if len(self._open) >= self._most:
            raise self._full(f"{self._most} streams are open, as many as there may be (server.max_streams)")
        if self._tokens is None:
            return
        opened = list(self._open.values())
        mine, share = sum(name == _name(scope) for _, name, _ in opened), self.share
        if mine >= share:
            raise self._full(
                f"The token {_name(scope)} has {mine} streams open; one token has at most {share}, half of "
                f"server.max_streams: close some"
            )
        alike, share = sum(other == needed for _, _, other in opened), self._most - self._most // 4
        if alike >= share and self._tokens.holders(WRITE if needed == READ else READ):
            raise self._full(
                f"{alike} streams that {needed} are open; all tokens together have at most {share}, three quarters of "
                f"server.max_streams"
            )

    def _full(self, detail: str) -> Refusal:
        self.refused += 1
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{detail}; try again later", headers=headers)

    def end(self) -> None:
        """Ask every stream to end, and take no new ones."""
        self._ending = True
        for end, _, _ in list(self._open.values()):
            end()


def _name(scope: Scope) -> str:
    """Return whose request it is."""
    token: Token | None = scope.get(CALLER)
    return "" if token is None else token.name
