"""What a file was found to be before anything of it is stored, and what about it is not certain."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.numerals import Numerals

OLDEST_FIRST, NEWEST_FIRST = "oldest first", "newest first"


class Choice(NamedTuple):
    """One answer to a doubt: an option as it is written, what it means, and the field of a plan that it sets.

    sets: further fields, which this field excludes.
    """

    option: str
    meaning: str
    field: str
    value: object
    sets: tuple[tuple[str, object], ...] = ()


class Doubt(NamedTuple):
    """Something that is not certain: the text names the options that decide it, which are the choices."""

    text: str
    choices: tuple[Choice, ...] = ()


class Doubtful(UnreadableFile):
    """A file can be read in more than one way; `doubts` has each of them, the text the first."""

    def __init__(self, file: str, doubts: list[Doubt]) -> None:
        """Compose the text."""
        super().__init__(f"{file}: {doubts[0].text}")
        self.file = file
        self.doubts = doubts


@dataclass(slots=True)
class Look:
    """What was found. None, or empty, where the format has no such thing, or where nobody knows.

    names: of the columns; prices, symbol, times: those that are meant. order: OLDEST_FIRST or NEWEST_FIRST.
    first_time, last_time: of the rows that were looked at; time_cells: those of the first row, as they stand there.
    clock: how times are read that are stored. size, side: the columns of sizes, and of who wanted a trade.
    unread: "times", "sizes": what is there, and was not asked for.
    symbols: that the rows looked at name. whole_numbers: prices are written without decimals, not even ".0".
    """

    file: str
    format: str = ""
    compression: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    names: list[str] = field(default_factory=list)
    numerals: Numerals | None = None
    whole_numbers: bool | None = None
    times: list[str] = field(default_factory=list)
    order: str | None = None
    first_time: str | None = None
    last_time: str | None = None
    symbol: str | None = None
    symbols: list[str] = field(default_factory=list)
    prices: list[str] = field(default_factory=list)
    clock: str | None = None
    size: str | None = None
    side: str | None = None
    unread: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    @property
    def begins(self) -> str | None:
        """The oldest time of the rows that were looked at."""
        return self.last_time if self.order == NEWEST_FIRST else self.first_time

    @property
    def ends(self) -> str | None:
        """The newest time of the rows that were looked at."""
        return self.first_time if self.order == NEWEST_FIRST else self.last_time

    def doubt(self, text: str, *choices: Choice) -> None:
        """Note something that is not certain."""
        self.doubts.append(Doubt(text, choices))

    def settle(self) -> None:
        """Make sure that everything is certain; Doubtful if not."""
        if self.doubts:
            raise Doubtful(self.file, self.doubts)
