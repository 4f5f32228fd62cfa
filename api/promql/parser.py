"""From the text of a query to its tree. What Prometheus knows and is not answered here is refused by its name."""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

from api.promql.patterns import Effort, matcher
from api.promql.refusals import NoAnswer, shown
from api.promql.tokens import UNITS_MS, Word, duration_ms, no_query, number_of, text_of, words
from api.promql.tree import (
    AGGREGATIONS,
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    KINDS,
    RANKED,
    Aggregation,
    Binary,
    Call,
    Expression,
    Kind,
    Matcher,
    Negated,
    Number,
    Selector,
    Text,
    kind_of,
)

NAME = "__name__"
"""The label that is the name of a metric."""
MOST_CHARS = 100_000
MOST_DEPTH = 50
"""Parentheses, functions and signs in one another."""
MOST_PARTS = 200
_MOST_MS = 100 * UNITS_MS["y"]
"""A hundred years: nanoseconds of times and of what lies between two of them stay in 64 bits."""
_MOST_MOMENT_MS = 2**53

_UNARY = 4
_STRENGTH: Mapping[str, int] = {
    "or": 1, "and": 1, "unless": 1, "==": 2, "!=": 2, "<=": 2, "<": 2, ">=": 2, ">": 2, "+": 3, "-": 3,
    "*": _UNARY, "/": _UNARY, "%": _UNARY, "atan2": _UNARY, "^": 5,
}  # fmt: skip
"""How strongly signs bind; those that are not ANSWERED are known to be told."""
ANSWERED = (*ARITHMETIC, *COMPARISONS)
_OTHER_AGGREGATIONS = frozenset({"stddev", "stdvar", "group", "count_values", "quantile", "limitk", "limit_ratio"})
_MATCHES = ("=", "!=", "=~", "!~")
_At: TypeAlias = int | Literal["start", "end"] | None


def parsed(query: str, effort: Effort | None = None) -> Expression:
    """Return the tree of `query`. Raises NoQuery for what is none, NoAnswer for what is not answered here.

    `effort` counts what its patterns take, with those of others.
    """
    if len(query) > MOST_CHARS:
        raise NoAnswer(f"the query has {len(query):,} characters; at most {MOST_CHARS:,} are answered")
    parser = _Parser(query, effort or Effort())
    found = parser.expression()
    parser.expect("end")
    return found


def parsed_selector(query: str, effort: Effort) -> Selector:
    """Return the selector that `query` is, as `match[]` has it."""
    found = parsed(query, effort)
    if not isinstance(found, Selector) or found.range_ms is not None:
        raise no_query(0, f'{shown(query)} is no series selector, such as price{{symbol="ABC-USD"}}')
    return found


class _Parser:
    """Reads one query, word by word."""

    def __init__(self, query: str, effort: Effort) -> None:
        self._words = list(words(query))
        self._effort = effort
        self._next = 0
        self._depth = 0
        self._parts = 0

    def _peek(self, ahead: int = 0) -> Word:
        return self._words[min(self._next + ahead, len(self._words) - 1)]

    def _take(self) -> Word:
        word = self._peek()
        self._next += word.kind != "end"
        return word

    def _is(self, *texts: str) -> bool:
        """Say whether the next word is one of these signs or, in whatever case, names."""
        word = self._peek()
        return word.kind in {"sign", "name"} and word.text.lower() in texts

    def _took(self, *texts: str) -> str | None:
        return self._take().text.lower() if self._is(*texts) else None

    def expect(self, text: str) -> Word:
        """Take the sign `text`, or the end. Raises NoQuery."""
        word = self._peek()
        if (word.kind if text == "end" else word.text) != text:
            raise no_query(word.at, f"unexpected {shown(word.text)}, expected {text}")
        return self._take()

    def expression(self, least: int = 0) -> Expression:
        """Return what signs of at least this strength hold together."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise NoAnswer(f"the query has more than {MOST_DEPTH} parentheses or functions in one another")
        left = self._operand()
        while (sign := self._sign()) and _STRENGTH[sign] >= max(least, 1):
            word = self._take()
            if sign not in ANSWERED:
                raise NoAnswer(f"the operator {sign} is not answered here; answered are {' '.join(ANSWERED)}")
            as_bool = self._took("bool") is not None
            if as_bool and sign not in COMPARISONS:
                raise no_query(word.at, "bool modifier can only be used on comparison operators")
            if self._is("on", "ignoring", "group_left", "group_right"):
                raise NoAnswer(f"{self._peek().text} behind {sign} is not answered here: series pair up by all labels")
            # A power binds its right side first.
            right = self.expression(_STRENGTH[sign] + (sign != "^"))
            left = Binary(sign, left, right, as_bool)
            _check_sides(left, word)
        self._depth -= 1
        return left

    def _sign(self) -> str | None:
        word = self._peek()
        text = word.text.lower()
        return text if word.kind in {"sign", "name"} and text in _STRENGTH else None

    def _operand(self) -> Expression:
        self._count()
        if sign := self._took("+", "-"):
            word = self._peek()
            of = self.expression(_UNARY + 1)
            if kind_of(of) not in {"scalar", "vector"}:
                raise no_query(word.at, f"{sign} takes a scalar or an instant vector, not a {KINDS[kind_of(of)]}")
            return of if sign == "+" else Negated(of)
        in_parentheses = self._is("(")
        return self._modified(self._plain(), bare=not in_parentheses)

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise NoAnswer(f"the query has more than {MOST_PARTS:,} parts")

    def _plain(self) -> Expression:
        word = self._peek()
        if word.kind in {"number", "text"}:
            self._take()
            return Number(number_of(word.text)) if word.kind == "number" else Text(text_of(word))
        if self._took("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self._is("{"):
            return self._selector(None)
        if word.kind != "name":
            raise no_query(word.at, f"unexpected {shown(word.text)}")
        return self._called(word)

    def _called(self, word: Word) -> Expression:
        """Return what a name begins: a number, an aggregation, a function or a selector."""
        lower, follows = word.text.lower(), self._peek(1).text
        if lower in {"inf", "nan"}:
            self._take()
            return Number(math.inf if lower == "inf" else math.nan)
        if lower in {*AGGREGATIONS, *_OTHER_AGGREGATIONS} and follows.lower() in {"(", "by", "without"}:
            return self._aggregation()
        return self._call() if follows == "(" else self._selector(self._take().text)

    # -- selectors ----------------------------------------------------------------------------------------------------

    def _selector(self, name: str | None) -> Selector:
        matchers = [] if name is None else [Matcher(NAME, name.__eq__, name)]
        at = self._peek().at
        if self._took("{"):
            while not self._took("}"):
                matchers.append(self._matcher(named=name is not None))
                if not self._is("}"):
                    self.expect(",")
        if all(one.matches("") for one in matchers):
            raise no_query(at, "vector selector must contain at least one non-empty matcher")
        return Selector(tuple(matchers))

    def _matcher(self, *, named: bool) -> Matcher:
        self._count()
        label = self._take()
        if label.kind != "name" or ":" in label.text:
            raise no_query(label.at, f"unexpected {shown(label.text)} in label matching, expected a label")
        if named and label.text == NAME:
            raise no_query(label.at, "metric name must not be set twice")
        sign = self._take()
        if sign.text not in _MATCHES:
            raise no_query(
                sign.at, f"unexpected {shown(sign.text)} in label matching, expected one of {' '.join(_MATCHES)}"
            )
        word = self._take()
        if word.kind != "text":
            raise no_query(word.at, f"unexpected {shown(word.text)} in label matching, expected a text in quotes")
        value = text_of(word)
        matches = matcher(value, self._effort) if "~" in sign.text else value.__eq__
        if sign.text[0] == "!":
            return Matcher(label.text, lambda text: not matches(text), None)
        return Matcher(label.text, matches, value if sign.text == "=" else None)

    def _modified(self, of: Expression, *, bare: bool) -> Expression:
        """Return `of` with the range, the offset and the time that stand behind it."""
        if self._is("["):
            of = self._ranged(of, bare=bare)
        offset_ms: int | None = None
        at: _At = None
        while self._is("offset", "@"):
            word = self._take()
            if not (bare and isinstance(of, Selector)):
                raise no_query(word.at, f"{word.text} must be preceded by a selector")
            if (offset_ms if word.text != "@" else at) is not None:
                raise no_query(word.at, f"{word.text} may not be set multiple times")
            if word.text == "@":
                at = self._moment()
            else:
                sign = -1 if self._took("-") else 1
                offset_ms = sign * self._duration()
        if isinstance(of, Selector) and (offset_ms is not None or at is not None):
            return Selector(of.matchers, of.range_ms, offset_ms or 0, at)
        return of

    def _ranged(self, of: Expression, *, bare: bool) -> Selector:
        word = self.expect("[")
        range_ms = self._duration()
        if self._peek().text.startswith(":"):
            raise NoAnswer("a subquery, as [5m:1m], is not answered here")
        self.expect("]")
        if not (bare and isinstance(of, Selector)):
            raise no_query(word.at, "ranges only allowed for vector selectors")
        if range_ms == 0:
            raise no_query(word.at, "duration must be greater than 0")
        return Selector(of.matchers, range_ms)

    def _duration(self) -> int:
        word = self._take()
        found = duration_ms(word.text) if word.kind == "duration" else None
        if found is None or found > _MOST_MS:
            raise no_query(word.at, f"unexpected {shown(word.text)}, expected a duration such as 5m or 1h30m")
        return found

    def _moment(self) -> int | Literal["start", "end"]:
        if name := self._took("start", "end"):
            self.expect("(")
            self.expect(")")
            return "start" if name == "start" else "end"
        sign = -1 if self._took("-") else 1
        self._took("+")
        word = self._take()
        seconds = number_of(word.text) if word.kind == "number" else math.inf
        if not seconds * 1000 <= _MOST_MOMENT_MS:
            raise no_query(word.at, f"unexpected {shown(word.text)}, expected a time in seconds, start() or end()")
        return sign * round(seconds * 1000)

    # -- functions and aggregations -----------------------------------------------------------------------------------

    def _call(self) -> Call:
        word = self._take()
        if word.text not in FUNCTIONS:
            raise NoAnswer(
                f"the function {shown(word.text)} is not answered here; answered are {', '.join(sorted(FUNCTIONS))}"
            )
        arguments = self._arguments()
        takes = FUNCTIONS[word.text].takes
        if len(arguments) != len(takes):
            raise no_query(
                word.at, f"expected {len(takes)} argument(s) in call to {shown(word.text)}, got {len(arguments)}"
            )
        for kind, argument in zip(takes, arguments, strict=True):
            _check(kind, argument, word)
        return Call(word.text, arguments)

    def _arguments(self) -> tuple[Expression, ...]:
        self.expect("(")
        found: list[Expression] = []
        while not self._took(")"):
            found.append(self.expression())
            if not self._is(")"):
                self.expect(",")
        return tuple(found)

    def _aggregation(self) -> Aggregation:
        word = self._take()
        name = word.text.lower()
        if name in _OTHER_AGGREGATIONS:
            raise NoAnswer(f"the aggregation {name} is not answered here; answered are {', '.join(AGGREGATIONS)}")
        grouping = self._grouping()
        arguments = self._arguments()
        grouping = grouping or self._grouping()
        wanted = 1 + (name in RANKED)
        if len(arguments) != wanted:
            raise no_query(
                word.at, f"wrong number of arguments for aggregate expression, expected {wanted}, got {len(arguments)}"
            )
        _check("vector", arguments[-1], word)
        if name in RANKED:
            _check("scalar", arguments[0], word)
        without, labels = grouping or (False, ())
        return Aggregation(name, arguments[-1], arguments[0] if name in RANKED else None, labels, without)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        how = self._took("by", "without")
        if how is None:
            return None
        self.expect("(")
        labels: list[str] = []
        while not self._took(")"):
            word = self._take()
            if word.kind != "name" or ":" in word.text:
                raise no_query(word.at, f"unexpected {shown(word.text)} in grouping opts, expected a label")
            labels.append(word.text)
            if not self._is(")"):
                self.expect(",")
        return how == "without", tuple(labels)


def _check_sides(one: Binary, word: Word) -> None:
    """Raise NoQuery unless both sides of `word` are what it can stand between."""
    kinds = kind_of(one.left), kind_of(one.right)
    for kind in kinds:
        if kind not in {"scalar", "vector"}:
            raise no_query(word.at, f"operator {one.sign} takes scalars and instant vectors, not a {KINDS[kind]}")
    if kinds == ("scalar", "scalar") and one.sign in COMPARISONS and not one.as_bool:
        raise no_query(word.at, "comparisons between scalars must use BOOL modifier")


def _check(kind: Kind, argument: Expression, word: Word) -> None:
    """Raise NoQuery unless `argument` is of the kind that `word` takes."""
    if (found := kind_of(argument)) != kind:
        raise no_query(word.at, f"expected type {KINDS[kind]} in call to {shown(word.text)}, got {KINDS[found]}")
