"""docs/notebook.ipynb shows what it says that it shows."""

from pathlib import Path

from tests.docs import notebook


def test_the_notebook_shows_what_it_has(tmp_path: Path) -> None:
    """Each output, tables and pictures included; `python -m tests.docs.notebook` writes them anew."""
    kept = [cell["outputs"] for cell in notebook.read()["cells"] if cell["cell_type"] == "code"]
    assert any("text/html" in one.get("data", {}) for outputs in kept for one in outputs)
    assert notebook.outputs(tmp_path) == kept
