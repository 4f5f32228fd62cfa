"""docs/durability.md promises nothing that no test shows."""

import ast
import re

import pytest

from tests.service import ROOT

DOCUMENT = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
NAME = re.compile(r"`(test_\w+)`")
ROWS = [line.strip("|").split("|") for line in DOCUMENT.splitlines() if line.startswith("|")][2:]


def existing() -> set[str]:
    """Return the names of all test functions of the project."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip() for row in ROWS])
def test_each_cell_of_the_table_names_its_test(row: list[str]) -> None:
    """Fault by fault, there is a promise with a test for each of the three tiers, and what survives beside it."""
    assert [len(NAME.findall(cell)) for cell in row[:4]] == [0, 1, 1, 1]
    assert row[4].strip()


def test_every_test_that_is_named_exists() -> None:
    """A test that is renamed takes its name in the document along."""
    assert set(NAME.findall(DOCUMENT)) - existing() == set()
