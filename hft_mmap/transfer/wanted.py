"""What is to be read of a file, as whoever imports it says; what is left open, the file has to say for certain."""

from datetime import date
from typing import NamedTuple

from hft_mmap.transfer.numerals import Numerals


class Beside(NamedTuple):
    """What is to be read beside the prices, as whoever imports says it.

    times: the columns that say when, one, or a date and a time; none: those that are found. time, size, side False:
    nothing of that is taken. form: how times are written, as strptime has it; unit: of numbers since 1970; zone: of
    times that say none; day: numbers are since its midnight. sizes, sides: columns; None: those that are found. bought,
    sold: what cells of a side mean that; none: the usual words.
    """

    times: tuple[str, ...] = ()
    time: bool = True
    form: str | None = None
    unit: str | None = None
    zone: str | None = None
    day: date | None = None
    sizes: str | None = None
    size: bool = True
    sides: str | None = None
    side: bool = True
    bought: tuple[str, ...] = ()
    sold: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """What is to be read: the columns of prices, and the column that has the symbol of each row.

    columns: none: "price", or the only column there is; several: the prices of columns[i] belong to targets[i].
    delimiter, encoding, decimal, thousands None: as the file shows. header: the first line of a CSV names the columns;
    without one they are called 1, 2, …; None: as the file shows. reverse: the newest row comes first, and all are
    turned round; None: that is refused where it is noticed. mixed: rows of several symbols may go to one series.
    skip_rows: lines in front of the first row; comment: lines that begin with it are none. text: numbers may be written
    as text in formats that have types. sheet: of a workbook; None: the only one that has rows. beside: times and sizes.
    """

    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    symbol_column: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    reverse: bool | None = None
    mixed: bool = False
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    skip_rows: int = 0
    comment: str | None = None
    sheet: str | None = None
    beside: Beside = Beside()

    @property
    def column(self) -> str | None:
        """The column of prices where there is one at most."""
        return self.columns[0] if self.columns else None

    @property
    def text(self) -> Numerals | None:
        """How numbers are written as text, where that was said; None where a text is no number."""
        if self.decimal is None and self.thousands is None:
            return None
        return Numerals.of(self.decimal, self.thousands)

    @property
    def watches(self) -> bool:
        """Whether to look that all rows are of one symbol."""
        return self.symbol_column is None and not self.mixed
