"""Prices in memory-mapped files with a wide segment tree over them: statistics of any window in microseconds.

>>> from hft_mmap import Store
>>> with Store("data") as store:  # doctest: +SKIP
...     store.append("ABC-USD", [150.1, 150.5, 151.0])
...     store.stats("ABC-USD", 1000)
"""

from hft_mmap.buckets import Buckets
from hft_mmap.counters import SeriesCounters, StoreCounters
from hft_mmap.errors import (
    DiskFull,
    FormatError,
    HftMmapError,
    InvalidRange,
    InvalidSymbol,
    InvalidValues,
    InvalidWindow,
    OffsetConflict,
    OutOfRange,
    SeriesReadOnly,
    SeriesSetAside,
    StoreClosed,
    StoreReadOnly,
    StoreUnusable,
    SymbolLimitReached,
    SymbolNotFound,
    WriteFailed,
)
from hft_mmap.limits import Durability, Limits
from hft_mmap.repair import RepairReport
from hft_mmap.series import Series, SeriesInfo
from hft_mmap.span import Span
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats
from hft_mmap.store import Reason, Store
from hft_mmap.verify import VerifyReport

__all__ = [
    "STANDARD_WINDOWS",
    "Buckets",
    "DiskFull",
    "Durability",
    "FormatError",
    "HftMmapError",
    "InvalidRange",
    "InvalidSymbol",
    "InvalidValues",
    "InvalidWindow",
    "Limits",
    "OffsetConflict",
    "OutOfRange",
    "Reason",
    "RepairReport",
    "Series",
    "SeriesCounters",
    "SeriesInfo",
    "SeriesReadOnly",
    "SeriesSetAside",
    "Span",
    "Store",
    "StoreClosed",
    "StoreCounters",
    "StoreReadOnly",
    "StoreUnusable",
    "SymbolLimitReached",
    "SymbolNotFound",
    "VerifyReport",
    "WindowStats",
    "WriteFailed",
]
