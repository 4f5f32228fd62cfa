"""Which of the slots of all shards a symbol has; docs/cluster.md says what that is for."""

import re
from zlib import crc32

MOST_SLOTS = 1024
"""Slots of all shards together; the slot of a symbol is its CRC-32 modulo this."""
_LISTED = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def slot_of(symbol: str) -> int:
    """Return the slot of a symbol, which a router finds as well."""
    return crc32(symbol.encode()) % MOST_SLOTS


def parse_slots(listed: str) -> frozenset[int]:
    """Return the slots that "0-511, 600" lists; ValueError."""
    found: set[int] = set()
    for part in listed.split(","):
        match = _LISTED.fullmatch(part.strip())
        low = int(match[1]) if match else MOST_SLOTS
        high = int(match[2]) if match and match[2] else low
        if not low <= high < MOST_SLOTS:
            raise ValueError(f"must list slots from 0 to {MOST_SLOTS - 1}, such as 0-511, 600, not {listed!r}")
        found |= set(range(low, high + 1))
    return frozenset(found)
