"""Which symbols a scope is for: `read:ES.*` is the scope `read`, of the symbols that begin with `ES.`.

`*` stands for any characters, or none; everything else for itself, letter case included. What a line of the tokens file
can't have in it, and `*` itself, is written as in an address: `%20` a space, `%2C` a comma, `%23` a #, `%2A` a star.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

MOST_PATTERNS = 64
"""Patterns of one token."""
_MAX_CHARS = 256
_MAX_STARS = 16
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Patterns:
    """The patterns of one scope of a token, as they are written, and the question whether a symbol is one of theirs."""

    __slots__ = ("_found", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """ValueError says what is wrong with one."""
        self.texts = tuple(texts)
        self._found: re.Pattern[str] | None = None
        for text in self.texts:
            _literals(text)

    def __eq__(self, other: object) -> bool:
        """Return whether both are written the same."""
        return isinstance(other, Patterns) and self.texts == other.texts

    __hash__ = None  # type: ignore[assignment]

    def matches(self, symbol: str) -> bool:
        """Say whether `symbol` is one of those that they stand for."""
        # PERF: 64 patterns take 1.5 us as one expression, 12 us where each begins with a star, and 50 to 2,000 us one
        # after the other in Python. It is made at its first use, because the 16 kB of the longest take 40 ms, and a
        # reload of a thousand of them would be felt.
        if self._found is None:
            self._found = re.compile("|".join(map(_expression, self.texts)), re.DOTALL)
        return self._found.fullmatch(symbol) is not None


def _expression(text: str) -> str:
    """Return the pattern as a regular expression: each star takes as little as it can, and never changes its mind.

    So it is one pass over the symbol, however many stars there are.
    """
    first, *rest = _literals(text)
    if not rest:
        return re.escape(first)
    between = "".join(f"(?>.*?{re.escape(part)})" for part in rest[:-1] if part)
    return f"{re.escape(first)}{between}.*{re.escape(rest[-1])}"


def _literals(text: str) -> list[str]:
    """Return what stands between the stars of a pattern; ValueError says what is wrong with it."""
    if not 0 < len(text) <= _MAX_CHARS:
        raise ValueError(f"a pattern of symbols has 1 to {_MAX_CHARS} characters, such as ES.* in read:ES.*")
    if text.count("*") > _MAX_STARS:
        raise ValueError(f"a pattern of symbols has at most {_MAX_STARS} stars")
    if _BROKEN_PERCENT.search(text):
        raise ValueError("a percent sign in a pattern needs two hexadecimal digits behind it; %25 is the sign itself")
    try:
        return [unquote_to_bytes(part).decode() for part in text.split("*")]
    except UnicodeDecodeError:
        raise ValueError("a pattern of symbols must be UTF-8 once its percent signs are decoded") from None
