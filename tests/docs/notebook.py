"""Runs docs/notebook.ipynb as Jupyter does, in an empty folder; `python -m tests.docs.notebook` writes its outputs.

A cell shows what its last line is, by `_repr_html_` where that has one, and what it prints.
"""

import ast
import json
import os
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from tests.service import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def read() -> dict[str, Any]:
    """Return the notebook as it is kept."""
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def run(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell, with the names of those before it; return its outputs."""
    body = ast.parse(source)
    last = ast.Expression(body.body.pop().value) if isinstance(body.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(body, "cell", "exec"), names)  # noqa: S102
        shown = None if last is None else eval(compile(last, "cell", "eval"), names)  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if shown is not None:
        html = shown._repr_html_() if hasattr(shown, "_repr_html_") else None
        data = {"text/html": _lines(html)} if html else {}
        data["text/plain"] = _lines(repr(shown))
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def outputs(directory: Path) -> list[list[dict[str, Any]]]:
    """Return what each cell with code shows, when all are run in `directory`."""
    before, names = Path.cwd(), {"__name__": "__main__"}
    os.chdir(directory)
    try:
        return [run("".join(cell["source"]), names) for cell in read()["cells"] if cell["cell_type"] == "code"]
    finally:
        os.chdir(before)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        found = outputs(Path(directory))
    notebook = read()
    for cell, shown in zip((one for one in notebook["cells"] if one["cell_type"] == "code"), found, strict=True):
        cell["outputs"] = shown
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
