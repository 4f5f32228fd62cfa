"""Everything the store refuses, one class for each reason a caller may act on.

`str(error)` is meant for the user: what was refused, the value, the limit, what to do.
"""


class HftMmapError(Exception):
    """Base of every error of this package."""


class InvalidSymbol(HftMmapError, ValueError):
    """The symbol is no symbol: empty, too long, not text, or with control characters."""


class InvalidValues(HftMmapError, ValueError):
    """The batch holds something that is no price, nothing at all, or more than can ever be kept."""


class InvalidTimes(HftMmapError, ValueError):
    """What was given as a time, or as the times of a batch, is none."""


class InvalidSizes(HftMmapError, ValueError):
    """What was given as the sizes of a batch is not finite, no numbers, or of another length."""


class ColumnsDiffer(HftMmapError, ValueError):
    """The batch has other columns (times, sizes) than the series, or a column was asked for that it does not have."""


class LateTimes(HftMmapError):
    """A time of the batch lies before that of the point before it, and late points are refused (409)."""

    def __init__(self, message: str, index: int, total: int) -> None:
        """Keep the place in the batch, and where the series ends."""
        super().__init__(message, index, total)
        self.index = index
        self.total = total

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class InvalidWindow(HftMmapError, ValueError):
    """The window is not a whole number from 1."""


class InvalidRange(HftMmapError, ValueError):
    """The range of points, or the number or size of its buckets, is none."""


class InvalidStatistic(HftMmapError, ValueError):
    """No statistic has that name."""


class SymbolLimitReached(HftMmapError):
    """A new symbol was refused because the store holds as many as it may."""


class SymbolExists(HftMmapError):
    """A series of that symbol exists already."""


class SymbolNotFound(HftMmapError, KeyError):
    """No series of that symbol exists."""

    def __init__(self, symbol: str) -> None:
        """Remember the symbol; the text is fixed, clients match on it."""
        super().__init__(symbol)
        self.symbol = symbol

    def __str__(self) -> str:
        """Return the fixed text."""
        return f"Symbol not found: {self.symbol}"


class SymbolUnknown(SymbolNotFound):
    """A batch for a symbol that does not exist, in a store where batches make none."""

    def __str__(self) -> str:
        """Return the fixed text, then the setting and the ways to make a symbol."""
        return (
            f"{super().__str__()}; store.create_on_append is false, so a batch makes no symbol: make it with "
            "PUT /symbols/SYMBOL, Store.create or hft-mmap create"
        )


class OffsetConflict(HftMmapError):
    """The batch was meant for another place in the series; `total` is where the series really ends."""

    def __init__(self, message: str, total: int) -> None:
        """Keep the actual total, so that a producer can go on from there."""
        super().__init__(message, total)
        self.total = total

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class OutOfRange(HftMmapError, IndexError):
    """Points were asked for that the series does not hold; it holds [start, total)."""

    def __init__(self, message: str, start: int, total: int) -> None:
        """Keep the bounds, so that a reader can ask again."""
        super().__init__(message, start, total)
        self.start = start
        self.total = total

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class DiskFull(HftMmapError):
    """There is no space for the batch; nothing was stored, and reads go on."""


class WriteFailed(HftMmapError):
    """The disk refused the batch for another reason than space; nothing was stored, and reads go on."""


class SeriesBusy(HftMmapError):
    """Another process has held the series, or the making of symbols, for longer than the caller waits."""


class SeriesReadOnly(HftMmapError):
    """The disk failed under this series; it answers reads and refuses writes until the next start."""


class SeriesSetAside(HftMmapError):
    """The files of this series can't be trusted; it is not served, and its files are left as they are."""


class SeriesRemoved(SeriesSetAside):
    """This series was removed, renamed or replaced while it was open; what is appended would be nowhere."""


class StoreReadOnly(HftMmapError):
    """The store was opened with mode="r"."""


class StoreClosed(HftMmapError):
    """The store was closed."""


class StoreForked(StoreClosed):
    """The store was opened before this process was forked from its parent: it belongs to the parent."""


class StoreUnusable(HftMmapError):
    """The data directory can't be created, read or written."""


class FormatError(HftMmapError):
    """A file is not what it has to be: magic, version, checksum, size or owner differ."""
