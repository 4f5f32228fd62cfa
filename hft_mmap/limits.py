"""The limits of a store and its durability tier: every one named, validated as a whole."""

from dataclasses import dataclass
from enum import StrEnum

from hft_mmap.errors import InvalidValues
from hft_mmap.files.layout import Layout, groups_named


class Late(StrEnum):
    """What becomes of a point whose time lies before that of the point before it.

    CLAMP: it is stored with the time of the point before it: when it was known. REFUSE: its batch is refused.
    """

    CLAMP = "clamp"
    REFUSE = "refuse"


class Durability(StrEnum):
    """When an append counts as done.

    PROCESS: the points are in the page cache; they survive kill -9 and restarts of the service. INTERVAL: they are
    also put on the disk every `sync_interval_ms`; a power loss takes at most the points since then. SYNC: the answer
    waits until they are on the disk; concurrent appends share one flush.
    """

    PROCESS = "process"
    INTERVAL = "interval"
    SYNC = "sync"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store may hold. ValueError names the field, the value and what is allowed.

    max_data_retention: points a series may keep; an append that would pass it moves `start` first.
    cleanup_keep_count: points that such a cleanup keeps (fewer if the batch would not fit beside them).
    max_symbols: series a store may hold, those set aside included.
    starting_capacity: points allocated on the disk when a series is created.
    chunk_points: points of one chunk file in series created from now on; 64^k times a small number.
    late: what becomes of points that come late, where they have times.
    negative_prices: whether prices may be negative, as those of spreads, of rates, of oil in April 2020.
    groups: what is kept of the path of the points that are appended from now on (`Store.summarise`), by name.
    """

    max_data_retention: int = 150_000_000
    cleanup_keep_count: int = 100_000_000
    max_symbols: int = 10
    starting_capacity: int = 1_000_000
    chunk_points: int = 4_194_304
    late: Late = Late.CLAMP
    groups: tuple[str, ...] = ()
    negative_prices: bool = False

    def __post_init__(self) -> None:
        """Check every field and each against the others."""
        for name, least in (
            ("max_data_retention", 1), ("cleanup_keep_count", 0), ("max_symbols", 1), ("starting_capacity", 0),
            ("chunk_points", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                message = f"{name} must be a whole number from {least}, not {value!r}"
                raise ValueError(message)
        given: object = self.negative_prices
        if not isinstance(given, bool):
            message = f"negative_prices must be True or False, not {given!r}"
            raise ValueError(message)  # noqa: TRY004 - as of every other field
        if self.cleanup_keep_count > self.max_data_retention:
            message = (
                f"cleanup_keep_count ({self.cleanup_keep_count}) must be at most max_data_retention "
                f"({self.max_data_retention})"
            )
            raise ValueError(message)
        Layout.of(self.chunk_points)
        object.__setattr__(self, "late", Late(self.late))
        object.__setattr__(self, "groups", tuple(group.name for group in groups_named(self.groups)))

    def check_batch(self, n: int) -> None:
        """Refuse a batch of `n` values that could not be kept even alone; InvalidValues."""
        if n > self.max_data_retention:
            message = (
                f"batch of {n} values is larger than max_data_retention "
                f"({self.max_data_retention}): send smaller batches"
            )
            raise InvalidValues(message)
