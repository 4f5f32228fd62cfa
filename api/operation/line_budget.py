"""Bounds the log lines that clients can cause, by caller and kind; everything else is bounded by the number of series.

A caller is the holder of a token, by name; all others together are one, the strangers. Each caller may cause so many
bytes a minute, and within them so many lines of each kind: an event, with the status that it tells, and for strangers
the address that they came from. Lines that name no caller (a store that cleans up, a library that warns) share a pot of
their own. What goes beyond is counted, and told in one line for each kind when the minute is over. /metrics counts the
requests themselves, whether they have a line or not.

It stands where every line passes, so no line escapes by being written somewhere else.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from structlog import DropEvent
from structlog.typing import EventDict, WrappedLogger

PERIOD_S = 60.0
MAX_KINDS = 256
"""So many kinds of lines a caller has; what comes after them in the same minute shares one more."""
OTHERS = "others"
POT = "_pot"
"""The field by which an event that was let through carries its pot to whoever knows the length of its line."""


class Allowance(NamedTuple):
    """What one caller may cause in a minute: lines of each kind, and bytes of all of them together."""

    lines: int
    bytes: int


STRANGERS = Allowance(20, 500_000)
TOKEN = Allowance(200, 1_000_000)
SERVICE = Allowance(100, 300_000)

_TOKEN, _STRANGERS, _SERVICE = "tokens", "strangers", "service"
_ALLOWANCES = {_STRANGERS: STRANGERS, _TOKEN: TOKEN, _SERVICE: SERVICE}

_TOLD_ONCE = frozenset(
    {
        "failed", "fewer_connections", "file_system", "lost", "read_only", "recovery", "reload_failed", "reloaded",
        "removed", "series_created", "series_removed", "series_renamed", "series_restored", "serving",
        "set_aside", "stopped", "stopping", "system_limit",
    }
)  # fmt: skip
"""Told once in the life of a series or of the process, or when its operator asks: no client makes them more."""


class Held(NamedTuple):
    """What a group of callers has caused in this minute, in bytes, and may; and lines left out since the start."""

    group: str
    bytes: int
    limit: int
    share: int
    left_out: int


Kind = tuple[str, str | None, int | None]
"""Event, address of a stranger, status."""


@dataclass(slots=True)
class Pot:
    """What one caller has caused in this minute."""

    allowance: Allowance
    bytes: int = 0
    lines: dict[Kind, int] = field(default_factory=dict)
    left_out: dict[Kind, int] = field(default_factory=dict)

    def admit(self, kind: Kind) -> bool:
        """Count one line; return whether it is to be written."""
        if kind not in self.lines and len(self.lines) >= MAX_KINDS:
            kind = (OTHERS, None, None)
        count = self.lines[kind] = self.lines.get(kind, 0) + 1
        if count <= self.allowance.lines and self.bytes < self.allowance.bytes:
            return True
        self.left_out[kind] = self.left_out.get(kind, 0) + 1
        return False


class LineBudget:
    """A processor of structlog that drops the lines beyond the budget. For all threads.

    PERF: 1 us a line.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """Begin a minute with the first line; `now` is a clock in seconds."""
        self._now = now
        self._lock = threading.Lock()
        self._ends_at: float | None = None
        self._pots: dict[tuple[str, str | None], Pot] = {}
        self._left_out = dict.fromkeys(_ALLOWANCES, 0)

    def __call__(self, _logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        """Return the event, with its pot in the field POT. Raises DropEvent where its caller has no line left."""
        # Who sets the level to debug has asked for every request.
        if method == "debug" or (event_dict["event"] in _TOLD_ONCE and "logger" not in event_dict):
            return event_dict
        owner, kind, allowance = _account(event_dict)
        with self._lock:
            if self._ends_at is None:
                self._ends_at = self._now() + PERIOD_S
            pot = self._pots.get(owner)
            if pot is None:
                pot = self._pots[owner] = Pot(allowance)
            if not pot.admit(kind):
                self._left_out[owner[0]] += 1
                raise DropEvent
        event_dict[POT] = pot
        return event_dict

    def seconds_left(self) -> float | None:
        """Return when `summaries` is due; None if nothing was counted."""
        ends_at = self._ends_at
        return None if ends_at is None else max(ends_at - self._now(), 0.0)

    def held(self) -> Iterator[Held]:
        """Yield what each group of callers holds; of tokens, a share for each that has a line in this minute."""
        with self._lock:
            pots, left_out = dict(self._pots), dict(self._left_out)
        for group, allowance in _ALLOWANCES.items():
            sizes = [pot.bytes for (owner, _), pot in pots.items() if owner == group]
            yield Held(group, sum(sizes), allowance.bytes * max(len(sizes), 1), allowance.bytes, left_out[group])

    def summaries(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of a line for each kind that had lines left out, and begin anew."""
        with self._lock:
            pots, self._pots, self._ends_at = self._pots, {}, None
        for (who, caller), pot in pots.items():
            for (event, client, status), count in pot.left_out.items():
                named = {"caller": caller} if who == _TOKEN else {"client": client} if who == _STRANGERS else {}
                yield {"of": event, "status": status, **named, "without_line": count}


def _account(event: EventDict) -> tuple[tuple[str, str | None], Kind, Allowance]:
    """Return who has caused a line, which kind of line it is, and what its caller may cause."""
    # What a library says may have any text in it; its name stands for it.
    name = str(event.get("logger") or event["event"])
    status = event.get("status")
    caller = event.get("caller")
    if caller:
        return (_TOKEN, caller), (name, None, status), TOKEN
    if "client" in event or "caller" in event:
        return (_STRANGERS, None), (name, event.get("client"), status), STRANGERS
    return (_SERVICE, None), (name, None, status), SERVICE
