"""A store whose threads are stepped by hand, so that what it does follows from what is done with it."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from hft_mmap.durable.flusher import Committing
from hft_mmap.series import Series
from hft_mmap.store import Store


class SteppedFlusher:
    """The flusher without its thread: what is asked for is committed when `step` is called."""

    def __init__(self) -> None:
        """Prepare."""
        self.requests: SimpleQueue[Any] = SimpleQueue()
        self._held: list[Committing] = []

    def wake(self, series: Committing) -> None:
        """Have `series` committed at the next step."""
        self.requests.put(series)

    def look_after(self) -> None:
        """There is no thread that could be gone."""

    check = look_after

    def step(self) -> None:
        """Commit everything that was asked for."""
        asked = self._held
        while not self.requests.empty():
            asked.append(self.requests.get())
        self._held = [series for series in dict.fromkeys(asked) if not series.commit()]

    def stop(self) -> None:
        """Commit what was asked for."""
        self.step()


class SteppedLooker:
    """The looker without its thread: the next symbol is looked at when `step` is called."""

    def __init__(self, look: Callable[[], bool]) -> None:
        """Prepare."""
        self.step = look

    def look_after(self) -> None:
        """There is no thread that could be missing."""

    def stop(self) -> None:
        """There is none to be stopped."""


class SteppedStore(Store):
    """A store whose commits are made by hand, and that looks by hand at what nobody uses."""

    def _make_flusher(self, sync_interval_ms: int) -> Any:  # noqa: ANN401, ARG002 - another kind of flusher
        return SteppedFlusher()

    def _make_looker(self) -> Any:  # noqa: ANN401 - another kind of looker
        return SteppedLooker(self._look_at_next)

    @property
    def opened(self) -> list[Series]:
        """Return the series that are open."""
        return list(self._series.values())

    def goes_on(self, symbol: str) -> bool:
        """Say whether batches for `symbol` are taken, as far as is known without a look at it."""
        return symbol not in self._series or self._series[symbol].refusal is None

    def step(self) -> None:
        """Make the commits that were asked for."""
        self._flusher.step()  # type: ignore[union-attr]

    def look(self) -> None:
        """Look at the next symbol that nobody has used."""
        if self._looker is not None:
            self._looker.step()  # type: ignore[attr-defined]

    def abandon(self) -> None:
        """Close the files as the end of a process does: with no commit, and nothing else done."""
        for series in self.opened:
            series.leave_to_parent()
        self._series.clear()
