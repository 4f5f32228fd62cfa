"""Which series there are in a data directory: their names, listed once for as long as none comes or goes."""

import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path

from hft_mmap.errors import StoreUnusable
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.files.names import list_chunks, symbol_of
from hft_mmap.limits import Limits

_COUNTED_BY_LINKS = frozenset({"ext4", "xfs", "tmpfs"})
"""File systems on which a directory has two links, and one for each directory in it (or 1, where it has too many)."""
_LINKS = 2
_SETTLED_NS = 100_000_000
"""The clock of a file system stands still for up to 10 ms: a directory changed later than this may change unseen."""


class Listing:
    """The part of a store that knows which series there are. Made by `Store`."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Look at nothing yet."""
        self.path = path
        self.limits = limits
        self._file_system = ""
        self._listed: tuple[int, list[str]] | None = None
        self._copies: dict[str, str] = {}
        """Symbols that are no series, only a copy of the files of one, with the reason why they are not served."""
        self._linked = False
        """Whether a series lies elsewhere, and its name is a symbolic link, which no count of links tells of."""

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell a data directory that can't be read by its name."""
        try:
            yield
        except OSError as error:
            message = f"data directory {self.path} can't be read: {error}"
            raise StoreUnusable(message) from error

    def __contains__(self, symbol: object) -> bool:
        """Say whether there is a series of `symbol` on the disk, served or not."""
        return isinstance(symbol, str) and symbol in self._symbols()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the symbols on the disk, in their order."""
        return iter(self._symbols())

    def __len__(self) -> int:
        """Return how many symbols there are on the disk."""
        return len(self._symbols())

    def __bool__(self) -> bool:
        """Return True: an empty store is a store."""
        return True

    def _symbols(self, prefix: str = "") -> list[str]:
        """Return every symbol on the disk that begins with `prefix`, sorted; also those that another process made."""
        with self._reading():
            found = self._all_symbols()
        later = islice(found, bisect_left(found, prefix), None)
        return [one for one in takewhile(lambda symbol: symbol.startswith(prefix), later) if one not in self._copies]

    def _all_symbols(self) -> list[str]:
        """Return every symbol on the disk, sorted: as it was found last, where no name has come or gone since. OSError.

        A directory that is no series yet may become one without a change of any name, so it is looked at each time.
        """
        changed_ns = os.stat(self.path).st_ctime_ns  # which nobody can set, as they can mtime
        listed = self._listed
        if listed is not None and listed[0] == changed_ns:
            return listed[1]
        now_ns = time.time_ns()
        with os.scandir(self.path) as entries:
            kept = [(entry, symbol) for entry in entries if (symbol := symbol_of(entry.name)) is not None]
        self._linked = any(entry.is_symlink() for entry, _ in kept)
        names = [(entry.name, symbol) for entry, symbol in kept]
        found = sorted(symbol for name, symbol in names if self._symbol_in(name) is not None)
        settled = changed_ns + _SETTLED_NS < now_ns and len(found) == len(names)
        self._listed = (changed_ns, found) if settled else None
        return found

    def _may_be_full(self) -> bool:
        """Say whether there may be `max_symbols` symbols: by the links of the directory, not by a list. OSError.

        It has one for each directory in it, those that are no series among them; `_LINKS` are its own.
        """
        links = os.stat(self.path).st_nlink
        counted = self._file_system in _COUNTED_BY_LINKS and links >= _LINKS and not self._linked
        return not counted or links - _LINKS >= self.limits.max_symbols

    def _symbol_in(self, name: str) -> str | None:
        """Return the symbol that the entry `name` of the data directory holds a series of, or a damaged one, or None.

        A directory with neither head nor chunks has nothing to be lost: it is no series.
        """
        symbol = symbol_of(name)
        # PERF: with pathlib this takes 20 us a symbol, and as text 4 us.
        if symbol is None or os.path.isfile(f"{self.path}/{name}/{HEAD_NAME}"):  # noqa: PTH113
            return symbol
        directory = self.path / name
        return symbol if directory.is_dir() and list_chunks(directory) else None
