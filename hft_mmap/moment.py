"""A series as it stood at one moment: what every question is asked of."""

from typing import NamedTuple

from hft_mmap.files.view import View


class Moment(NamedTuple):
    """A series as it stood at one moment: it held the points [start, total), which `view` maps."""

    symbol: str
    view: View
    start: int
    total: int
