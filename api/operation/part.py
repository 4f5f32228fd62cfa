"""What an application needs to know where its service is a part of something larger: a replica of a shard."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from api.http.exchange import Receive, Scope, Send
from hft_mmap import Ticks

Application: TypeAlias = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class PartError(Exception):
    """The settings of a replica can't be used on this machine, or with this log."""


class Part(Protocol):
    """A replica, as `api.cluster.service` makes it."""

    def appender(self) -> Any:  # noqa: ANN401 - of `api.body`, which lies above this
        """Return how batches are appended."""
        ...

    def around(self, app: Application, reads: Callable[[Scope], bool]) -> Application:
        """Return `app`, with what its answers say of the log; `reads` says whether a route answers with points."""
        ...

    def told(self) -> dict[str, object]:
        """Return what GET /cluster tells."""
        ...

    async def limit(self, max_data_retention: int, cleanup_keep_count: int) -> int:
        """Have every replica keep so many points a symbol; return the record that says so. ValueError, Refusal."""
        ...

    async def move(self, step: str, symbol: str, number: int, point: Ticks | None) -> dict[str, object]:
        """Take a step of a move of a symbol to another shard; return what is answered. HftMmapError, Refusal."""
        ...

    def counts(self) -> dict[str, float]:
        """Return the numbers of /metrics."""
        ...

    async def start(self) -> None:
        """Begin to follow the log."""
        ...

    async def close(self) -> None:
        """End."""
        ...
