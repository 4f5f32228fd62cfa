"""A query cut into words: numbers, durations, texts, names and signs."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from api.promql.refusals import NoQuery, shown

UNITS_MS = {
    "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "y": 365 * 86_400_000,
}  # fmt: skip
"""A year has 365 days, as in Prometheus."""
_MOST_DIGITS = 15
_WORDS = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+)(?![\w.])
    |(?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<sign>==|!=|=~|!~|<=|>=|[-+*/%^<>=(){}\[\],@:])""",
    re.VERBOSE,
)
_DURATION = re.compile(
    "".join(f"(?:([0-9]{{1,{_MOST_DIGITS}}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))
)
_UNITS = ("y", "w", "d", "h", "m", "s", "ms")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


class Word(NamedTuple):
    """One word: what it is (number, duration, text, name, sign, or end), how it is written, and where."""

    kind: str
    text: str
    at: int


def words(query: str) -> Iterator[Word]:
    """Yield the words of a query, and the end. Raises NoQuery for what is none."""
    at = 0
    while at < len(query):
        match = _WORDS.match(query, at)
        if match is None:
            raise no_query(at, f"unexpected {shown(query[at : at + 20])}")
        kind = match.lastgroup or ""
        if kind != "space":
            yield Word(kind, match[0], at)
        at = match.end()
    yield Word("end", "the end of the query", at)


def no_query(at: int, why: str) -> NoQuery:
    """Return the refusal of a text that is no query."""
    return NoQuery(f"1:{at + 1}: parse error: {why}")


def duration_ms(text: str) -> int | None:
    """Return "1h30m" in milliseconds, the longest unit first and each once; None for what is no duration."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    return sum(int(number) * UNITS_MS[unit] for number, unit in zip(match.groups(), _UNITS, strict=True) if number)


def number_of(text: str) -> float:
    """Return a number as it is written: decimal, 0x1F, or octal behind a 0."""
    if text[:2] in {"0x", "0X"}:
        return float(int(text, 16))
    if len(text) > 1 and text[0] == "0" and re.fullmatch("[0-7]+", text):
        return float(int(text, 8))
    return float(text)


def text_of(word: Word) -> str:
    """Return the text that stands in quotes. Raises NoQuery for an escape that there is not."""
    quote, inner = word.text[0], word.text[1:-1]
    if quote == "`":
        return inner

    def plain(match: re.Match[str]) -> str:
        code = match[1]
        if code in _ESCAPED:
            return _ESCAPED[code]
        if code == quote:
            return quote
        try:
            if code[0] in "xuU" and len(code) > 1:
                return chr(int(code[1:], 16))
            if len(code) > 1:
                return chr(int(code, 8))
        except ValueError:
            pass
        raise no_query(word.at, f"unknown escape sequence \\{code} in {shown(word.text)}")

    return _ESCAPE.sub(plain, inner)
