"""An event loop whose time passes only when everybody waits, and then at once: the same seed, the same history."""

import asyncio
import selectors
from typing import Any


class Deadlock(Exception):
    """Everybody waits, and nothing will ever happen."""


class _Skipping(selectors.SelectSelector):
    """Looks at no file, and takes no time."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let `timeout` seconds pass."""
        if timeout is None:
            raise Deadlock
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `time` begins with 0."""

    def __init__(self) -> None:
        self.selector = _Skipping()
        super().__init__(self.selector)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self.selector.now_s
