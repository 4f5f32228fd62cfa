r"""Regular expressions of matchers, as RE2 has them, in time that is linear in the text.

A stranger writes them, and Python's `re` may take years for one that he chose well; here the states of all ways through
the pattern go on together, each at most once a character, and the sets are remembered. A pattern has to match the whole
text. Without `\b`, classes of Unicode (`\pL`), `\Q…\E`, and flags other than a leading `(?i)` and `(?s)`.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from api.promql.refusals import NoAnswer, NoQuery, shown

MOST_STATES = 2_000
"""Of one pattern that is more than a list of texts."""
MOST_STEPS = 5_000_000
"""States that the patterns of one query may go through, over all texts that are held against them; some seconds."""
_MOST_SETS = 5_000
_MOST_REPEATS = 1_000
_SPECIAL = frozenset("\\.+*?()|[]{}^$")
_LITERALS = re.compile(r"(?:[^\\.+*?()|\[\]{}^$]|\\[^\w\s])*(?:\|(?:[^\\.+*?()|\[\]{}^$]|\\[^\w\s])*)*")
_FLAGS = re.compile(r"\(\?([is]+)\)")
_REPEAT = re.compile(r"\{([0-9]{1,9})(,([0-9]{0,9}))?\}")
_CLASSES: dict[str, tuple[tuple[int, int], ...]] = {
    "d": ((48, 57),), "w": ((48, 57), (65, 90), (95, 95), (97, 122)), "s": ((9, 10), (12, 13), (32, 32)),
}  # fmt: skip
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_LAST = 0x10FFFF

Ranges: TypeAlias = tuple[tuple[int, int], ...]


class Effort:
    """What the patterns of one query have taken together."""

    def __init__(self) -> None:
        self._steps = 0

    def take(self, steps: int) -> None:
        """Count steps. Raises NoAnswer beyond MOST_STEPS."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise NoAnswer("the patterns of the query take too long for so many symbols: give simpler ones")


class _Chars(NamedTuple):
    """One character out of these."""

    ranges: Ranges


class _Sequence(NamedTuple):
    """One part after the other."""

    parts: "tuple[_Part, ...]"


class _Choice(NamedTuple):
    """One of these."""

    parts: "tuple[_Part, ...]"


class _Repeated(NamedTuple):
    """So many times; `most` None: any number."""

    part: "_Part"
    least: int
    most: int | None


class _End(NamedTuple):
    """Where the text begins, or ends."""

    at_begin: bool


_Part: TypeAlias = _Chars | _Sequence | _Choice | _Repeated | _End


def matcher(pattern: str, effort: Effort) -> Callable[[str], bool]:
    """Return what says whether all of a text matches. NoQuery for what is no pattern, NoAnswer beyond limits."""
    if _LITERALS.fullmatch(pattern) and "\\|" not in pattern:
        # PERF: what Grafana makes of a choice of values, thousands perhaps.
        return {re.sub(r"\\(.)", r"\1", one) for one in pattern.split("|")}.__contains__
    return _Machine(*_Reader(pattern).read(), effort).matches


class _Reader:
    """Reads one pattern."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        flags = _FLAGS.match(pattern)
        self._at = flags.end() if flags else 0
        self._folds = flags is not None and "i" in flags[1]
        self._depth = 0

    def read(self) -> tuple[_Part, bool]:
        """Return the pattern, and whether upper and lower case are the same."""
        found = self._choice()
        if self._at < len(self._text):
            raise self._bad("unexpected )")
        return found, self._folds

    def _bad(self, why: str) -> NoQuery:
        return NoQuery(f"error parsing regexp {shown(self._text)} at character {self._at}: {why}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        found = self._peek()
        if not found:
            raise self._bad("it ends too early")
        self._at += 1
        return found

    def _choice(self) -> _Part:
        self._depth += 1
        if self._depth > 50:  # noqa: PLR2004 - more than anybody writes, and few enough for the stack
            raise self._bad("parentheses too deep")
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated())
        return _Sequence(tuple(parts))

    def _repeated(self) -> _Part:
        part = self._atom()
        bounds = self._bounds()
        if bounds is None:
            return part
        if self._peek() == "?":  # takes as little as it can: no matter where the whole text has to match
            self._at += 1
        if self._bounds() is not None:
            raise self._bad("a repetition of a repetition")
        return _Repeated(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (sign := self._peek()) in simple:
            self._at += 1
            return simple[sign]
        match = _REPEAT.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        least = int(match[1])
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise self._bad(f"a repetition is up to {_MOST_REPEATS} times, and from the less to the more")
        return least, most

    def _atom(self) -> _Part:
        sign = self._take()
        if sign == "(":
            return self._group()
        if sign == "[":
            return _Chars(self._class())
        if sign == ".":
            return _Chars(((0, 9), (11, _LAST)))
        if sign in {"^", "$"}:
            return _End(sign == "^")
        if sign == "\\":
            return _Chars(self._escape())
        if sign in {"*", "+", "?"}:
            raise self._bad(f"nothing that {sign} could repeat")
        return _Chars(((ord(sign), ord(sign)),))

    def _group(self) -> _Part:
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise NoAnswer(f"the group (? in the pattern {shown(self._text)} is not answered; (?: is")
            self._at += 2
        found = self._choice()
        if self._peek() != ")":
            raise self._bad("a ( without its )")
        self._at += 1
        return found

    def _escape(self) -> Ranges:
        sign = self._take()
        if sign.lower() in _CLASSES:
            ranges = _CLASSES[sign.lower()]
            return _others(ranges) if sign.isupper() else ranges
        if sign in _ESCAPED:
            sign = _ESCAPED[sign]
            return ((ord(sign), ord(sign)),)
        if sign.isalnum():
            raise NoAnswer(f"\\{sign} in the pattern {shown(self._text)} is not answered")
        return ((ord(sign), ord(sign)),)

    def _class(self) -> Ranges:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]" or not ranges:
            if self._text[self._at : self._at + 2] == "[:":
                raise NoAnswer(f"[: in the pattern {shown(self._text)} is not answered")
            sign = self._take()
            one = self._escape() if sign == "\\" else ((ord(sign), ord(sign)),)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""} and len(one) == 1:
                self._at += 1
                sign = self._take()
                ((_, last),) = self._escape() if sign == "\\" else ((ord(sign), ord(sign)),)
                if last < one[0][0]:
                    raise self._bad("a range of characters that ends before it begins")
                one = ((one[0][0], last),)
            ranges += one
        self._at += 1
        return _others(tuple(ranges)) if negated else tuple(ranges)


def _others(ranges: Ranges) -> Ranges:
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return (*found, (begin, _LAST)) if begin <= _LAST else tuple(found)


class _Machine:
    """A pattern as states. Each has the characters that lead on, or where it goes by itself."""

    def __init__(self, part: _Part, folds: bool, effort: Effort) -> None:  # noqa: FBT001 - as the reader gives it
        self._folds = folds
        self._effort = effort
        self._chars: list[Ranges | None] = []
        self._next: list[tuple[int, ...]] = []
        self._needs: list[_End | None] = []
        self._last = self._state(None)
        self._first = self._built(part, self._last)
        self._sets: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Say whether all of `text` matches. NoAnswer where this pattern has taken too much already."""
        states = self._followed({self._first}, at_begin=True)
        for sign in text:
            key = states, sign
            after = self._sets.get(key)
            if after is None:
                if len(self._sets) >= _MOST_SETS:
                    self._sets.clear()
                after = self._sets[key] = self._followed(self._led_by(states, sign))
            if not after:
                return False
            states = after
        return self._last in self._followed(states, at_begin=not text, at_end=True)

    def _led_by(self, states: Iterable[int], sign: str) -> set[int]:
        codes = {ord(one) for form in ((sign, sign.lower(), sign.upper()) if self._folds else (sign,)) for one in form}
        found: set[int] = set()
        for state in states:
            ranges = self._chars[state]
            self._effort.take(len(ranges or ()))
            if ranges is not None and any(low <= code <= high for code in codes for low, high in ranges):
                found.update(self._next[state])
        return found

    def _followed(self, states: Iterable[int], *, at_begin: bool = False, at_end: bool = False) -> frozenset[int]:
        """Return these states and those that they reach without a character."""
        found: set[int] = set()
        left = list(states)
        while left:
            state = left.pop()
            if state in found:
                continue
            found.add(state)
            needs = self._needs[state]
            if self._chars[state] is None and (needs is None or (at_begin if needs.at_begin else at_end)):
                left += self._next[state]
        self._effort.take(len(found))
        return frozenset(found)

    def _state(self, chars: Ranges | None, *after: int, needs: _End | None = None) -> int:
        if len(self._next) >= MOST_STATES:
            raise NoAnswer(f"a pattern has at most {MOST_STATES:,} characters, repetitions written out")
        self._chars.append(chars)
        self._next.append(after)
        self._needs.append(needs)
        return len(self._next) - 1

    def _built(self, part: _Part, after: int) -> int:
        """Return the state from which `part` leads to `after`."""
        self._effort.take(1)  # repetitions of nothing make no state
        if isinstance(part, _Chars):
            return self._state(part.ranges, after)
        if isinstance(part, _End):
            return self._state(None, after, needs=part)
        if isinstance(part, _Sequence):
            for one in reversed(part.parts):
                after = self._built(one, after)
            return after
        if isinstance(part, _Choice):
            return self._state(None, *[self._built(one, after) for one in part.parts])
        if part.most is None:
            around = self._state(None)
            self._next[around] = (self._built(part.part, around), after)
            after = around
        for _ in range((part.most or part.least) - part.least):
            after = self._state(None, self._built(part.part, after), after)
        for _ in range(part.least):
            after = self._built(part.part, after)
        return after
