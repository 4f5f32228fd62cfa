"""Which cases there are. A suite is imported only when one of its cases is asked for."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import import_module

from perf.case import Case

SUITES = (
    "floor", "kernels", "store", "reading", "answers", "ticks",
    "decode", "protocol", "http_app", "http_socket", "process", "naive", "symbols",
)  # fmt: skip


def suite(name: str) -> list[Case]:
    """Return the cases of one suite, in the order they are run in."""
    cases: list[Case] = import_module(f"perf.suites.{name}").cases()
    assert all(case.suite == name for case in cases)
    return cases


def everything() -> list[Case]:
    """Return the cases of all suites."""
    return [case for name in SUITES for case in suite(name)]


def find(name: str) -> Case:
    """Return the case of that name; KeyError if there is none."""
    for case in suite(name.partition(".")[0]):
        if case.name == name:
            return case
    raise KeyError(name)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Say whether a name is asked for: by a shell pattern, or by its beginning ("store", "store.append")."""
    literal = [pattern.replace("[", "[[]") for pattern in patterns]
    return not patterns or any(
        name.startswith(pattern) or fnmatchcase(name, escaped)
        for pattern, escaped in zip(patterns, literal, strict=True)
    )
