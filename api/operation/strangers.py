"""Bounds the log lines of refusals that whoever reaches the port can cause, without any token.

Of each client address and status the first `FIRST_LINES` of a minute have a line each; the rest of that minute is
counted, and told in one line when it ends. A client with many addresses has no more room than `MAX_KEYS` of them:
what comes from others shares one count. /metrics counts every refusal, whether it has a line or not.
"""

import asyncio
from collections.abc import Callable

import structlog

FIRST_LINES = 20
PERIOD_S = 60.0
MAX_KEYS = 64

_Key = tuple[str | None, int]
_OTHERS = "others"


class RefusalLines:
    """Decides which refusals have a line of their own. For one thread, that of the event loop."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object] | None = None) -> None:
        """Count anew each time that `call_later` calls back; it is that of the running loop unless given."""
        self._call_later = call_later
        self._counts: dict[_Key, int] = {}

    def due(self, client: str | None, status: int) -> bool:
        """Count a refusal; return whether it is to have a line. Costs less than 1 us."""
        if not self._counts:
            (self._call_later or asyncio.get_running_loop().call_later)(PERIOD_S, self.summarise)
        key = (client, status)
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            key = (_OTHERS, 0)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count <= FIRST_LINES

    def summarise(self) -> None:
        """Write one line for each client and status that had more refusals than lines, and start anew."""
        counts, self._counts = self._counts, {}
        log = structlog.get_logger()
        for (client, status), count in counts.items():
            if count > FIRST_LINES:
                log.info("refusals", client=client, status=status or None, without_line=count - FIRST_LINES)


refusal_lines = RefusalLines()
"""Those of this process, whose log is one as well."""
