"""Parts of perf/README.md that are written by programs, each between two marks; the rest of the file is left alone."""

from dataclasses import dataclass
from pathlib import Path

from perf.lab import ROOT

README = ROOT / "perf" / "README.md"


@dataclass(frozen=True, slots=True)
class Section:
    """One such part: its name, and the command that writes it."""

    name: str
    command: str

    @property
    def begin(self) -> str:
        """Return the line above it."""
        return f"<!-- {self.name}: written by {self.command} -->"

    @property
    def end(self) -> str:
        """Return the line below it."""
        return f"<!-- {self.name}: end -->"

    def write(self, text: str, file: Path = README) -> None:
        """Put `text` between the marks."""
        file.write_text(self.replaced(text, file.read_text(encoding="utf-8")), encoding="utf-8")

    def replaced(self, text: str, document: str) -> str:
        """Return `document` with `text` between the marks."""
        before, begin, rest = document.partition(self.begin)
        _, end, after = rest.partition(self.end)
        assert begin, f"there is no line {self.begin}"
        assert end, f"there is no line {self.end}"
        return f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}"
