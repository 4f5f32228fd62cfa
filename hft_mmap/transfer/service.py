"""Points to a running service, by its client: each batch with its offset, sent again until it is answered."""

import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from hft_mmap.errors import HftMmapError, LateTimes
from hft_mmap.ticks import Appended, Ticks, check_ticks
from hft_mmap.transfer.errors import Interrupted, MissingPackage, ServiceRefused
from hft_mmap.transfer.sink import Room, never

if TYPE_CHECKING:
    from hft_mmap.client import Client

DEFAULT_BATCH_VALUES = 100_000
"""What a service takes in one batch unless its settings say otherwise."""
FIRST_ANSWER_S = 3.0
"""How long a service is waited for that never answered: more often than not the address is wrong."""
_LOOK_S = 0.05
"""How often an import that waits for the service looks whether it should stop."""

Answer = TypeVar("Answer")


def journal_directory() -> Path:
    """Return where journals are kept that belong to no data directory: hft-mmap/imports in the user's state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "hft-mmap", "imports")


def _client(url: str, token: str | None, ca: str | None) -> "Client":
    try:
        from hft_mmap.client import Client, Retry  # noqa: PLC0415 - only who sends to a service needs httpx
    except ModuleNotFoundError as error:
        raise MissingPackage(str(error)) from error
    try:
        verify = True if ca is None else ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ServiceRefused(f"{ca} holds no certificate in PEM that could be trusted: {error}") from error
    except OSError as error:
        raise ServiceRefused(f"{ca} can't be read: {error.strerror}") from error
    try:
        return Client(url, token=token, retry=Retry(give_up_s=0), verify=verify)
    except ValueError as error:
        raise ServiceRefused(f"{url!r} is no address of a service: {error}") from error


class ServiceSink:
    """A service that is asked over one connection."""

    def __init__(
        self, url: str, token: str | None = None, *, ca: str | None = None, batch_values: int = DEFAULT_BATCH_VALUES,
        negative_prices: bool = False,
    ) -> None:  # fmt: skip
        """Talk to the service at `url` ("http://127.0.0.1:8080", "unix:/path"), by `token` if it wants one.

        ca: a PEM file with what signed its certificate. negative_prices: whether the service takes them; else they are
        bad rows. Nothing is sent yet. ServiceRefused if that is no such address
        or file, MissingPackage without httpx.
        """
        self._client = _client(url, token, ca)
        self._has_answered = False
        self.name = url.rstrip("/")
        self.journals = journal_directory()
        self._batch_values = batch_values
        self._negative_prices = negative_prices
        self.stop = never

    def bounds(self, symbol: str) -> tuple[int, int]:
        """Return (start, total) of a series as the service tells them, (0, 0) if it has none."""
        for entry in self._until_answered(self._client.symbols):
            if entry.symbol == symbol:
                return entry.start, entry.total
        return 0, 0

    def room(self) -> Room:
        """Return which symbols the service has; how many it may have only it knows."""
        known = frozenset(entry.symbol for entry in self._until_answered(self._client.symbols))
        return Room(known, takes_negative=self._negative_prices)

    def newest(self, symbol: str, count: int) -> Ticks:
        """Return the newest points; errors as the client has them."""
        return self._until_answered(partial(self._client.ticks, symbol, last=count))

    def columns(self, symbol: str) -> tuple[str, ...] | None:
        """Return what the points of a series have beside their prices, None where it has none."""
        total = self._until_answered(partial(self._client.total, symbol))
        return self._until_answered(partial(self._client.columns, symbol)) if total else None

    def append(self, symbol: str, batch: Ticks, offset: int) -> Appended:
        """Send points in batches that the service takes; OffsetConflict, and the errors of hft_mmap.client."""
        done = Appended(offset)
        count = len(batch.prices)
        for begin in range(0, count, self._batch_values):
            some = batch.cut(begin, min(begin + self._batch_values, count))
            send = partial(self._client.append_ticks, symbol, check_ticks(some, signed=True), offset=offset + begin)
            try:
                added = self._until_answered(send)
            except LateTimes as error:
                error.index += begin
                raise
            done = Appended(added.total, done.late + added.late, max(done.latest_ns, added.latest_ns))
        return done

    def _until_answered(self, ask: Callable[[], Answer]) -> Answer:
        """Ask as often as the client would by itself, and between two tries whether to stop; Interrupted then.

        `ask` may be repeated: it is a question, or a batch with its offset.
        """
        from hft_mmap.client.retry import Retry, Tries  # noqa: PLC0415 - as in `_client`

        tries = Tries(Retry() if self._has_answered else Retry(give_up_s=FIRST_ANSWER_S), repeatable=True)
        while True:
            try:
                answer = ask()
            except HftMmapError as failure:
                try:
                    end = monotonic() + tries.pause_s(failure)
                except HftMmapError as last:
                    last.add_note(self.name)  # the errors of the client do not know it
                    raise
            except (ValueError, KeyError, TypeError) as error:  # no JSON, or not ours
                raise ServiceRefused(f"{self.name}: what answers there is no service of hft-mmap") from error
            else:
                self._has_answered = True
                return answer
            while (left := end - monotonic()) > 0:
                if self.stop():
                    raise Interrupted("stopped while the service did not answer")
                sleep(min(left, _LOOK_S))

    def settle(self) -> None:
        """Do nothing: each answer has said how safe the points are, by the durability tier of the service."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
