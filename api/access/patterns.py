"""Which symbols a scope is for: `read:ES.*` is the scope `read`, of the symbols that begin with `ES.`.

`*` stands for any characters, or none; everything else for itself, letter case included. What a line of the tokens file
can't have in it, and `*` itself, is written as in an address: `%20` a space, `%2C` a comma, `%23` a #, `%2A` a star.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MOST_PATTERNS = 64
"""Patterns of one token."""
_MAX_CHARS = 256
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Pattern(NamedTuple):
    """A pattern: as it is written, and what stands between its stars."""

    text: str
    parts: tuple[str, ...]

    def matches(self, symbol: str) -> bool:
        """Say whether `symbol` is one of those it stands for; one pass over it, however many stars there are."""
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return symbol == first
        if not symbol.startswith(first):
            return False
        at = len(first)
        for part in self.parts[1:-1]:
            found = symbol.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return len(symbol) - len(last) >= at and symbol.endswith(last)


def parse_pattern(text: str) -> Pattern:
    """Return the pattern that is written as `text`; ValueError says what is wrong with it."""
    if not 0 < len(text) <= _MAX_CHARS:
        raise ValueError(f"a pattern of symbols has 1 to {_MAX_CHARS} characters, such as ES.* in read:ES.*")
    if _BROKEN_PERCENT.search(text):
        raise ValueError("a percent sign in a pattern needs two hexadecimal digits behind it; %25 is the sign itself")
    try:
        return Pattern(text, tuple(unquote_to_bytes(part).decode() for part in text.split("*")))
    except UnicodeDecodeError:
        raise ValueError("a pattern of symbols must be UTF-8 once its percent signs are decoded") from None
