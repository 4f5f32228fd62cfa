"""What an import tells: how far it is, and what it did."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """How far an import is. done: from 0 to 1, None where nobody knows.

    rows: read. stored: points appended. found: points that an earlier run had stored. skipped: bad rows. others: rows
    of other symbols. first_skipped: what was wrong with the first of them. absent: values that say that there is no
    price. late: points stored with the time of the one before them, latest_ns later at most. columns: what is stored
    beside prices. left_out: series that were there without times, sizes or both, which the files have.
    """

    file: str = ""
    done: float | None = None
    rows: int = 0
    stored: int = 0
    found: int = 0
    skipped: int = 0
    others: int = 0
    absent: int = 0
    first_skipped: str | None = None
    late: int = 0
    latest_ns: int = 0
    columns: tuple[str, ...] = ()
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. complete: False if it was stopped. totals: the total of each series after it.

    seconds: until everything was stored and visible; sync_seconds: after that, until it was on the disk. already: an
    earlier run had finished it, and nothing was read.
    """

    complete: bool
    progress: Progress
    totals: dict[str, int]
    seconds: float
    sync_seconds: float
    already: bool = False


def ignore(_progress: Progress) -> None:
    """Tell nobody."""
