"""A query as a tree: what its parts are, and of what kind each is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["scalar", "vector", "matrix", "string"]
KINDS: Mapping[Kind, str] = {
    "scalar": "scalar", "vector": "instant vector", "matrix": "range vector", "string": "string",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as it is written."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label has to be. `equal` is the text that it has to be the same as, None where it is another question."""

    label: str
    matches: Callable[[str], bool]
    equal: str | None


@dataclass(frozen=True, slots=True)
class Selector:
    """Series at each step, or over the `range_ms` before it; at `at_ms` in place of the step, `offset_ms` earlier."""

    matchers: tuple[Matcher, ...]
    range_ms: int | None = None
    offset_ms: int = 0
    at_ms: int | Literal["start", "end"] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function of some arguments."""

    name: str
    arguments: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Negated:
    """The negative of something."""

    of: "Expression"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two sides, and what stands between them; `as_bool`: a comparison gives 0 or 1, and leaves nothing out."""

    sign: str
    left: "Expression"
    right: "Expression"
    as_bool: bool = False


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Series made one for each group: by these labels, or by all but these; `parameter` is the k of topk."""

    name: str
    of: "Expression"
    parameter: "Expression | None"
    labels: tuple[str, ...]
    without: bool


Expression: TypeAlias = Number | Text | Selector | Call | Negated | Binary | Aggregation


class Signature(NamedTuple):
    """What a function takes and gives."""

    takes: tuple[Kind, ...]
    gives: Kind


COMPARISONS = ("==", "!=", "<=", "<", ">=", ">")
ARITHMETIC = ("+", "-", "*", "/", "%", "^")
OVER_TIME = (
    "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time",
    "stddev_over_time", "stdvar_over_time", "present_over_time", "delta",
)  # fmt: skip
MATHS = ("abs", "ceil", "exp", "floor", "ln", "log10", "log2", "sgn", "sqrt")
FUNCTIONS: Mapping[str, Signature] = {
    **dict.fromkeys(OVER_TIME, Signature(("matrix",), "vector")),
    "quantile_over_time": Signature(("scalar", "matrix"), "vector"),
    "absent_over_time": Signature(("matrix",), "vector"),
    "absent": Signature(("vector",), "vector"),
    **dict.fromkeys(MATHS, Signature(("vector",), "vector")),
    "scalar": Signature(("vector",), "scalar"),
    "vector": Signature(("scalar",), "vector"),
    "time": Signature((), "scalar"),
}
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "topk", "bottomk")
RANKED = AGGREGATIONS[-2:]


def kind_of(one: Expression) -> Kind:
    """Return what an expression is."""
    if isinstance(one, (Number, Text)):
        return "scalar" if isinstance(one, Number) else "string"
    if isinstance(one, Selector):
        return "vector" if one.range_ms is None else "matrix"
    if isinstance(one, Call):
        return FUNCTIONS[one.name].gives
    if isinstance(one, Negated):
        return kind_of(one.of)
    if isinstance(one, Binary):
        return "scalar" if kind_of(one.left) == kind_of(one.right) == "scalar" else "vector"
    return "vector"
