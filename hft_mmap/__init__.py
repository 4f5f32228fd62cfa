"""Prices in memory-mapped files with a wide segment tree over them: statistics of any window in microseconds.

>>> from hft_mmap import Store
>>> with Store("data") as store:  # doctest: +SKIP
...     store.append("ABC-USD", [150.1, 150.5, 151.0])
...     store.stats("ABC-USD", 1000)
"""

from hft_mmap.answers import Passage, Point, Rank
from hft_mmap.counters import SeriesCounters, StoreCounters
from hft_mmap.durable.groups import GroupsReport
from hft_mmap.durable.repair import RepairReport
from hft_mmap.durable.verify import VerifyReport
from hft_mmap.errors import (
    ColumnsDiffer,
    DiskFull,
    FormatError,
    HftMmapError,
    InvalidRange,
    InvalidSizes,
    InvalidStatistic,
    InvalidSymbol,
    InvalidTimes,
    InvalidValues,
    InvalidWindow,
    LateTimes,
    OffsetConflict,
    OutOfRange,
    SeriesBusy,
    SeriesReadOnly,
    SeriesRemoved,
    SeriesSetAside,
    StoreClosed,
    StoreForked,
    StoreReadOnly,
    StoreUnusable,
    SymbolExists,
    SymbolLimitReached,
    SymbolNotFound,
    SymbolUnknown,
    WriteFailed,
)
from hft_mmap.health import Loss, Reason
from hft_mmap.limits import Durability, Late, Limits
from hft_mmap.named import STATISTICS, Columns
from hft_mmap.reader import SeriesInfo
from hft_mmap.series import Series
from hft_mmap.span import Span
from hft_mmap.stats import STANDARD_TIMES, STANDARD_WINDOWS, WindowStats
from hft_mmap.store import Store
from hft_mmap.ticks import Appended, Ticks, as_ticks
from hft_mmap.tree.buckets import Buckets

__version__ = "0.1.0"

__all__ = [
    "STANDARD_TIMES",
    "STANDARD_WINDOWS",
    "STATISTICS",
    "Appended",
    "Buckets",
    "Columns",
    "ColumnsDiffer",
    "DiskFull",
    "Durability",
    "FormatError",
    "GroupsReport",
    "HftMmapError",
    "InvalidRange",
    "InvalidSizes",
    "InvalidStatistic",
    "InvalidSymbol",
    "InvalidTimes",
    "InvalidValues",
    "InvalidWindow",
    "Late",
    "LateTimes",
    "Limits",
    "Loss",
    "OffsetConflict",
    "OutOfRange",
    "Passage",
    "Point",
    "Rank",
    "Reason",
    "RepairReport",
    "Series",
    "SeriesBusy",
    "SeriesCounters",
    "SeriesInfo",
    "SeriesReadOnly",
    "SeriesRemoved",
    "SeriesSetAside",
    "Span",
    "Store",
    "StoreClosed",
    "StoreCounters",
    "StoreForked",
    "StoreReadOnly",
    "StoreUnusable",
    "SymbolExists",
    "SymbolLimitReached",
    "SymbolNotFound",
    "SymbolUnknown",
    "Ticks",
    "VerifyReport",
    "WindowStats",
    "WriteFailed",
    "__version__",
    "as_ticks",
]
