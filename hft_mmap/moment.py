"""A series as it stood at one moment: what every question is asked of."""

from dataclasses import dataclass

from hft_mmap.files.view import View


@dataclass(frozen=True, slots=True)
class Moment:
    """A series as it stood at one moment: it held the points [start, total), which `view` maps."""

    symbol: str
    view: View
    start: int
    total: int
