"""The examples of a Markdown document: its fenced blocks, the commands in them, and what they should print.

```console     a line "$ command" is run by bash, the lines below it are what it prints;
               a line that ends with a backslash goes on in the next
```python      is executed; a line with print(…) ends with a comment, "  # text", that says what it prints

In the expected output "…" stands for any text inside a line, and a line "…" alone for any lines. A comment
`<!-- not run: reason -->` right above a block leaves it out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ELLIPSIS = "…"
EXECUTED = frozenset({"console", "python"})
# What only shows something. A command belongs into a console block, so `sh`, `bash` and the like are not among them.
SHOWN = frozenset({"", "text", "json", "toml", "ini", "mermaid", "yaml", "nginx", "haproxy"})

_FENCE = re.compile(r"(`{3,}|~{3,})\s*(\S*)\s*$")
_NOT_RUN = re.compile(r"<!--\s*not run:(.*?)-->\s*$")
_PROMPT = "$ "
_PRINT = re.compile(r"\bprint\(.*?\)(?:  # (?P<text>.+))?$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where its text begins, its language, its text, and why it is not run (None: it is)."""

    path: Path
    line: int
    language: str
    text: str
    not_run: str | None = None

    @property
    def executed(self) -> bool:
        """Whether a test runs this block."""
        return self.language in EXECUTED and self.not_run is None


@dataclass(frozen=True, slots=True)
class Step:
    """One command and the output that the document shows for it."""

    line: int
    command: str
    expected: str


def blocks(path: Path, text: str | None = None) -> Iterator[Block]:
    """Yield the fenced blocks of the document at `path` in their order; ValueError for one that is never closed."""
    lines = (path.read_text(encoding="utf-8") if text is None else text).splitlines()
    number, above = 0, ""
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            above = lines[number] if lines[number].strip() else above
            number += 1
            continue
        first = number + 1
        number = next((n for n in range(first, len(lines)) if lines[n].rstrip() == opening[1]), -1)
        if number < 0:
            raise ValueError(f"{path}:{first}: the block is never closed")
        reason = _NOT_RUN.match(above)
        yield Block(path, first + 1, opening[2], "\n".join(lines[first:number]), reason and reason[1].strip())
        number, above = number + 1, ""


def steps(block: Block) -> list[Step]:
    """Return the commands of a console block; ValueError for output above the first one."""
    found: list[Step] = []
    lines = iter(enumerate(block.text.splitlines(), start=block.line))
    for number, line in lines:
        if line.startswith(_PROMPT):
            command = line.removeprefix(_PROMPT)
            while command.endswith("\\"):
                command += "\n" + next(lines, (0, ""))[1]
            found.append(Step(number, command, ""))
        elif found:
            last = found[-1]
            found[-1] = Step(last.line, last.command, f"{last.expected}{line}\n")
        else:
            raise ValueError(f"{block.path}:{number}: a console block begins with a line '$ command'")
    return found


def printed(block: Block) -> str:
    """Return what a python block should print; ValueError for a print that does not say."""
    expected = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if match := _PRINT.search(line):
            if match["text"] is None:
                raise ValueError(f"{block.path}:{number}: print(…) without a comment '  # what it prints'")
            expected += match["text"] + "\n"
    return expected


def matches(expected: str, actual: str) -> bool:
    """Return whether `actual` is what the document shows; space at the ends of lines and of the whole is no matter."""
    pattern = ""
    for line in expected.strip("\n").splitlines():
        if line.strip() == ELLIPSIS:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.rstrip().split(ELLIPSIS)) + "\n"
    text = "".join(f"{line.rstrip()}\n" for line in actual.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None
