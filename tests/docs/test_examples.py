"""The examples of the documents do what the documents say."""

from pathlib import Path

import pytest

from tests.docs.markdown import EXECUTED, SHOWN, Block, blocks
from tests.docs.session import DOCUMENTED_ADDRESS, reading
from tests.service import ROOT

CONTRIB = ROOT / "contrib" / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), CONTRIB]
MAX_NOT_RUN = 6


def name(path: Path) -> str:
    """Return the name of a document as the project's pages call it."""
    return str(path.relative_to(ROOT))


def not_run() -> list[Block]:
    """Return every block that is left out."""
    return [block for path in DOCUMENTS for block in blocks(path) if block.not_run is not None]


@pytest.mark.timeout(400)  # a document is some twenty commands, each of which starts Python, on a busy machine
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if any(b.executed for b in blocks(path))], ids=name)
def test_every_example_does_what_the_document_says(path: Path, tmp_path: Path) -> None:
    """Followed from top to bottom, beside a fresh service, each command and each block of Python does its part."""
    examples = [block for block in blocks(path) if block.executed]
    served = any(DOCUMENTED_ADDRESS in block.text for block in examples)
    if path == CONTRIB:  # whose recordings lie in the checkout
        (tmp_path / "contrib").symlink_to(CONTRIB.parent)
    # Those with many commands; elsewhere, as in README.md, each is a real process with a start of its own.
    with reading(tmp_path, with_service=served, forking=path.name in {"import-export.md", "security.md"}) as reader:
        for block in examples:
            reader.run(block)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_no_command_hides_in_a_block_that_is_never_run(path: Path) -> None:
    """A block is in a language that is executed, or in one that only shows something; a prompt needs `console`."""
    for block in blocks(path):
        where = f"{name(path)}:{block.line}"
        assert block.language in EXECUTED | SHOWN, where
        assert block.language == "console" or not block.text.startswith("$ "), where


def test_what_is_not_run_has_its_reason_and_is_little() -> None:
    """Leaving an example out is for what a test cannot do: install packages, start under systemd.

    docs/operations.md is about little else; `make test-install` and tests/systemd do what its blocks do. So is
    docs/cluster.md, and tests/cluster does.
    """
    left_out = not_run()
    assert [f"{name(block.path)}:{block.line}" for block in left_out if not block.not_run] == []
    assert len([block for block in left_out if block.path.name not in {"operations.md", "cluster.md"}]) <= MAX_NOT_RUN


def test_the_readme_has_its_pair() -> None:
    """The ten prices and the statistics of them are in the README, and are run."""
    commands = "\n".join(block.text for block in blocks(ROOT / "README.md") if block.executed)
    assert '"values":[150.1,150.5,151.0,149.8,150.2,151.1,151.2,152.0,151.5,151.9]' in commands
    assert '{"min":149.8,"max":152.0,"last":151.9,"avg":150.93,"var":0.5201' in commands
    assert "kill -9" in commands
