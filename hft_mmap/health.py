"""Why a store does not serve in full: what it remembers of failed writes, and how it finds out that they would succeed.

Nobody may have to send a batch for `/ready` to turn green again: a balancer sends none to a service that is not ready.
So what has failed is tried again, on bytes that nobody reads.
"""

import os
from pathlib import Path
from typing import NamedTuple

from hft_mmap.errors import HftMmapError

LOCKED_AFTER_S = 1.0
"""Appends of other processes hold a series for microseconds, very large ones for milliseconds."""


class Reason(NamedTuple):
    """Why the store does not serve in full.

    code: "set_aside", "removed", "read_only", "write_failed", "locked" or "disk_full"; symbol None: the store.
    """

    symbol: str | None
    code: str
    detail: str


class Loss(NamedTuple):
    """Points that were published, and were not there any more when the series was opened, or after a failed sync.

    points: how many; total: where the series ends since; why: how the loss shows.
    """

    symbol: str
    points: int
    total: int
    why: str


class Refusal(NamedTuple):
    """Why something refuses every call. The error is built each time: one that is raised again keeps what it met."""

    kind: type[HftMmapError]
    text: str

    def error(self) -> HftMmapError:
        """Return a new error that says so."""
        return self.kind(self.text)


class Trouble(NamedTuple):
    """What kept a batch from being written, and the `total` of the series then: once it has grown, that is over.

    code: "write_failed" or "locked". since_s: of the monotonic clock.
    """

    code: str
    total: int
    since_s: float
    detail: str


def try_to_create(directory: Path) -> None:
    """Make a file in `directory`, which never gets a name, and write to it; OSError as the system says."""
    fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, bytes(4096), 0)
    finally:
        os.close(fd)
