"""What a question finds of the groups of a series: which files have proved themselves, and where their nodes lie."""

import os
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import FormatError
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.group import GroupFile
from hft_mmap.files.layout import Group, Layout
from hft_mmap.files.memory import identity_of
from hft_mmap.files.view import View
from hft_mmap.tree.group_roots import OF_BORDER, ROOT_FIELDS, TRADE_ROOT, place_of_trades, summarise_chunk
from hft_mmap.tree.groups import EXTREMES, GROUP_ROWS, MOMENTS, RETURNS, ROWS_OF_GROUP, TRADES
from hft_mmap.tree.kernels import FAN_OUT, NODE_FIELDS
from hft_mmap.tree.trade_nodes import summarise_chunk_of_trades

FEW_POINTS = 1024
"""So many are read one by one before anybody looks whether a group covers them by now."""
_LOOK_S = 0.02
_FOLDED_FROM = (
    (RETURNS, {"rv", "volatility", "path"}),
    (EXTREMES, {"drawdown", "runup"}),
    (MOMENTS, {"skew", "kurtosis", "slope", "r2"}),
    (TRADES, {"volume", "signed_volume", "vwap", "twap", "gap"}),
)


class Known:
    """What a process knows of one group of a chunk: its file, if one has proved itself, and when it looked last."""

    __slots__ = ("file", "looked_s")

    def __init__(self) -> None:
        """Know nothing."""
        self.file: GroupFile | None = None
        self.looked_s = -1.0


def known_of(chunk: Chunk, group: Group) -> Known:
    """Return what this process knows of a group of `chunk`."""
    found: Known = chunk.groups.setdefault(group.bit, Known())
    return found


def proved(chunk: Chunk, group: Group, end: int) -> GroupFile | None:
    """Return the group of `chunk`, proved as far as it goes now, None if there is none that has proved itself.

    end: how many points of the chunk are published. Looks at the disk at most every 20 ms.
    """
    known, now = known_of(chunk, group), monotonic()
    if now - known.looked_s < _LOOK_S:
        return known.file
    known.looked_s = now
    # What is missing, or not of this chunk, or has another name by now, leaves what was proved before as it is.
    with suppress(OSError, FormatError):
        file = known.file
        if file is None or identity_of(os.stat(file.path)) != file.file:
            file = GroupFile(chunk, group)
        if file.look(chunk, end) and file.proved.covered:
            known.file = file
    return known.file


class Stored:
    """Where the groups of the chunks of a view lie, as `tree.further` takes it; it keeps the files mapped."""

    __slots__ = ("_words", "address", "covered", "files", "groups", "least", "looked_s", "places", "roots")

    def __init__(self, view: View) -> None:
        """Know of none."""
        self.places = np.zeros((GROUP_ROWS, len(view.chunks)), dtype=np.int64)
        self.roots = np.zeros(ROOT_FIELDS * len(view.chunks))  # of full chunks, as `tree.group_roots` has them
        self._words = np.array([self.places.ctypes.data, self.roots.ctypes.data, len(view.chunks)], dtype=np.int64)
        self.address = self._words.ctypes.data
        """What compiled code takes: where the STORED_ words of `tree.group_roots` lie."""
        self.files: dict[tuple[int, int], GroupFile] = {}
        self.groups = view.layout.groups
        """Those that the series can have."""
        self.covered: dict[int, int] = {group.bit: view.first for group in self.groups}
        """Up to which point, from the first of the view on, all are covered; in the order of `groups`."""
        self.least = view.first
        """Up to which point each of them does."""
        self.looked_s: dict[int, float] = {}  # when was looked last for more of each group

    def with_files(self, view: View, found: dict[tuple[int, int], GroupFile]) -> "Stored":
        """Return another that knows of the same, and of the files that were `found`, by row and chunk."""
        fresh = Stored(view)
        fresh.places[:], fresh.roots[:], fresh.files = self.places, self.roots, self.files | found
        fresh.looked_s = self.looked_s
        for (row, k), file in found.items():
            fresh.places[row : row + 2, k] = file.address, file.proved.covered
            fresh.places[row + 2, k] = _has_root(view, k, file, fresh.roots)
        for group in self.groups:
            covered = fresh.places[_row_of(group) + 1]
            partly = np.flatnonzero(covered < view.layout.points)
            first = int(partly[0]) if len(partly) else len(covered) - 1
            fresh.covered[group.bit] = view.first + first * view.layout.points + int(covered[first])
        fresh.least = min(fresh.covered.values())
        return fresh


_NONE = Stored(View.empty(Layout.of(FAN_OUT), 0))
"""What is known of the groups of a view that nobody has asked for them."""


def _row_of(group: Group) -> int:
    """Return the row of the addresses of a group."""
    return ROWS_OF_GROUP * (group.number - 1)


def _has_root(view: View, k: int, file: GroupFile, roots: NDArray[np.float64]) -> bool:
    """Write the root of a group into `roots`, if it covers all of chunk `k` and that is not the last; say whether."""
    layout, chunks, bit = view.layout, len(view.chunks), file.group.bit
    nodes = layout.nodes(layout.levels)
    if k + 1 >= chunks or file.proved.covered != layout.points or nodes > FAN_OUT:
        return False
    of_chunk, top = view.roots[NODE_FIELDS * k : NODE_FIELDS * (k + 1)], file.nodes(layout.levels).ctypes.data
    if bit == TRADES:
        begin = place_of_trades.py_func(chunks, k)  # called as it is, it would be compiled here: 80 ms
        summarise_chunk_of_trades(top, nodes, of_chunk, roots[begin : begin + OF_BORDER])
        roots[begin + OF_BORDER : begin + TRADE_ROOT] = _border(view, k)
        return True
    begin = {MOMENTS: 4 * k, RETURNS: 4 * (chunks + k), EXTREMES: 8 * chunks + 2 * k}[bit]
    out = roots[begin : begin + (2 if bit == EXTREMES else 4)]
    summarise_chunk(bit, view.chunks[k].address, np.array(layout.offsets), top, nodes, of_chunk, out)
    return True


def _border(view: View, k: int) -> tuple[float, float]:
    """Return the price before chunk `k` times the nanoseconds it held, and these; 0 where nothing says so."""
    if k == 0 or not len(view.times):
        return 0.0, 0.0
    place = view.chunks[k].first
    wait = float(view.time_of(place) - view.time_of(place - 1))
    return float(view.chunks[k - 1].values[-1]) * wait, wait


def stored_groups(view: View, lo: int, hi: int, total: int, wanted: int) -> Stored:
    """Return where the groups lie that help to fold `wanted` of ranges within [lo, hi), proved.

    total: how many points are published; no group that covers more is believed, as it may be of others that were lost.
    Whoever folds holds what is returned for as long. The first look at a group costs some 0.05 ns a point of a sealed
    chunk, and 0.5 ns of the newest one.
    """
    if not isinstance(view.groups, Stored):
        if hi - lo < FEW_POINTS:
            return _NONE
        view.groups = Stored(view)
    stored: Stored = view.groups
    if hi - max(lo, stored.least) < FEW_POINTS:  # PERF: 0.2 us in place of 1
        return stored
    found: dict[tuple[int, int], GroupFile] = {}
    for group, (bit, covered) in zip(stored.groups, stored.covered.items(), strict=True):
        if wanted & bit and hi - max(lo, covered) >= FEW_POINTS:
            # PERF: where there is no group, or none of older chunks, a look at each takes longer than some answers.
            now = monotonic()
            if now - stored.looked_s.get(bit, -1.0) >= _LOOK_S:
                stored.looked_s[bit] = now
                _look(view, group, (lo, hi, total), stored, found)
    if found:
        stored = stored.with_files(view, found)
        view.groups = stored
    return stored


def groups_of(names: Iterable[str]) -> int:
    """Return the groups of `tree.groups` that the statistics `names` follow from, added up; 0 for those of none."""
    wanted = set(names)
    return sum(bit for bit, members in _FOLDED_FROM if not members.isdisjoint(wanted))


def read_from(view: View, wanted: int) -> int:
    """Return from which point on all are read one by one to fold what is `wanted`, as far as groups are known.

    The end of the view where none is. Looks at no file: a question that reads too many finds the groups that there are,
    for those that follow.
    """
    known = view.groups if isinstance(view.groups, Stored) else None
    groups = view.layout.groups if known is None else known.groups
    covered = [view.first if known is None else known.covered[group.bit] for group in groups if wanted & group.bit]
    return min(covered, default=view.end)


def _look(
    view: View, group: Group, bounds: tuple[int, int, int], stored: Stored, found: dict[tuple[int, int], GroupFile]
) -> None:
    """Find the group of each chunk that holds enough of [lo, hi) which nobody knows to be covered."""
    (lo, hi, total), points, row = bounds, view.layout.points, _row_of(group)
    for k in range((lo - view.first) // points, (hi - 1 - view.first) // points + 1):
        chunk, covered = view.chunks[k], int(stored.places[row + 1, k])
        if min(hi - chunk.first, points) - max(lo - chunk.first, covered) >= FEW_POINTS:
            file = proved(chunk, group, min(total - chunk.first, points))
            if file is not None and file.proved.covered > covered:
                found[row, k] = file
