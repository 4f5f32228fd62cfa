"""Which trade each point of a series is, in a file that a killed program leaves behind.

A line "INDEX NUMBER SYMBOL" says that the point INDEX is the trade NUMBER, and each point behind it the next number,
up to the next line of the symbol; so there is a line where numbers skip, and no other. Lines are on the disk before
their points are given away. After a restart the total of the series says which of them were stored: the file never
needs to agree with the store, only to begin before it.
"""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_POSITION = "\t"
"""What stands before the name of a source; no symbol has one."""
_MOST_LINES = 100_000
"""So many are written before those that nobody needs any more are left out."""


class Journal:
    """The numbers of points, by symbol. One program at a time has the file."""

    def __init__(self, path: Path) -> None:
        """Read what is there. ValueError for a line that is none, and where another program has the file."""
        self._path = path
        self._lock = path.with_name(path.name + ".lock").open("w")  # the file itself is replaced now and then
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError(f"{path} is used by another program: give each one of its own") from None
        self._marks: dict[str, list[tuple[int, int]]] = {}
        self._unwritten: list[str] = []
        self._lines = 0
        self._safe: Mapping[str, int] = {}
        try:
            self._read()
        except ValueError:
            self._lock.close()
            raise
        self._rewrite()
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()
        self._lock.close()

    def begin(self, symbol: str, total: int) -> int | None:
        """Return the number of the last point of a series that ends at `total`, None where nobody wrote it down.

        What was written of later points is forgotten: they were not stored.
        """
        marks = [(index, number) for index, number in self._marks.get(symbol, []) if index < total]
        self._marks[symbol] = marks
        if not marks:
            return None
        index, number = marks[-1]
        last = number + total - 1 - index
        self.note(symbol, total - 1, last)
        return last

    def position(self, source: str) -> int:
        """Return how far a source was taken, 0 where nobody wrote it down."""
        marks = self._marks.get(_POSITION + source)
        return marks[-1][1] if marks else 0

    def reached(self, source: str, number: int) -> None:
        """Have it written that everything of a source up to `number` is stored."""
        self.note(_POSITION + source, 0, number)

    def note(self, symbol: str, index: int, number: int) -> None:
        """Have it written, with the next `write`, that the point `index` is the trade `number`."""
        self._mark(symbol, index, number)
        self._unwritten.append(f"{index} {number} {symbol}\n")

    def write(self, totals: Mapping[str, int]) -> None:
        """Put on the disk what was noted; totals: the points of each series that are stored."""
        if not self._unwritten:
            return
        self._file.writelines(self._unwritten)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._lines += len(self._unwritten)
        self._unwritten.clear()
        if self._lines > _MOST_LINES:
            self._drop_old(totals)

    def _read(self) -> None:
        whole = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        # What stands behind the last end of a line was being written when the program was killed.
        for place, line in enumerate(whole.split("\n")[:-1], start=1):
            index, _, rest = line.partition(" ")
            number, _, symbol = rest.partition(" ")
            if not (index.isdecimal() and number.isdecimal() and symbol):
                raise ValueError(f"{self._path}:{place}: not INDEX NUMBER SYMBOL: {line!r}")
            self._mark(symbol, int(index), int(number))

    def _mark(self, symbol: str, index: int, number: int) -> None:
        marks = self._marks.setdefault(symbol, [])
        while marks and marks[-1][0] >= index:  # of points that were not stored, before a restart
            marks.pop()
        marks.append((index, number))

    def _drop_old(self, totals: Mapping[str, int]) -> None:
        """Leave out what lies before the points that were stored the last time: a power loss may take newer ones."""
        for symbol, total in self._safe.items():
            marks = self._marks[symbol]
            older = sum(index < total for index, _ in marks)
            del marks[: max(older - 1, 0)]
        self._safe = dict(totals)
        self._file.close()
        self._rewrite()
        self._file = self._path.open("a", encoding="utf-8")

    def _rewrite(self) -> None:
        """Put a file with what is needed in the place of the file, whole or not at all."""
        other = self._path.with_name(self._path.name + ".new")
        with other.open("w", encoding="utf-8") as file:
            for symbol, marks in self._marks.items():
                file.writelines(f"{index} {number} {symbol}\n" for index, number in marks)
            file.flush()
            os.fsync(file.fileno())
        other.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        self._lines = 0
