"""The streams that are open: how many there may be at once, and how they end when the service stops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from api.http.problems import Refusal


class Streams:
    """All open streams of one service. Belongs to the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[object, Callable[[], None]] = {}
        self._ending = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._most

    @contextmanager
    def opened(self, end: Callable[[], None]) -> Iterator[None]:
        """Count one stream for as long as the context lasts; `end` asks it to end, and does not wait.

        Raises Refusal (503) when there is no place for one more, or the service stops.
        """
        self.check()
        place = object()
        self._open[place] = end
        try:
            yield
        finally:
            del self._open[place]

    def check(self) -> None:
        """Raise Refusal (503) unless there is a place for one more stream."""
        if self._ending:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The service is stopping; try again after its restart")
        if len(self._open) >= self._most:
            detail = f"{self._most} streams are open, as many as there may be (server.max_streams); try again later"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "5"})

    def end(self) -> None:
        """Ask every stream to end, and take no new ones."""
        self._ending = True
        for end in list(self._open.values()):
            end()
