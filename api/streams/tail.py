"""The bars that server-sent events have: those that have changed since the event before."""

import asyncio
from functools import partial

from api.http.path_points import check_path_points, reads_path
from api.operation.beside import Beside
from api.routes.bars import columns_of, names_of
from hft_mmap import Series, SymbolNotFound, by_time
from hft_mmap.candles import Cut, cut_by_clock, cut_by_points
from hft_mmap.files.proved import groups_of, read_from
from hft_mmap.moment import Moment

MOST_BARS = 1_000
"""Of one event; of more the newest are sent, and whoever wants the others asks /bars."""


class Tail:
    """The newest bars of one series, for one reader: `bar` points each, or as long as `bar` says."""

    def __init__(self, series: Series, bar: int | str, beside: Beside) -> None:
        """Begin with the newest bar. Raises ColumnsDiffer for bars by time of a series without times."""
        self.symbol = series.symbol
        self._bar = bar
        self._beside = beside
        self._told: int | None = None
        moment = series.moment()
        if isinstance(bar, str) and moment.start < moment.total:
            by_time.check_times(moment)

    async def since(self, series: Series, total: int) -> dict[str, object] | None:
        """Return the bars with points that came since this was asked last, as they stood at `total`.

        The newest bar alone at first. None where the series holds no point. Raises Refusal where too many wait.
        """
        told = self._told if self._told is not None and self._told <= total else total - 1
        self._told = total
        work = partial(self._made, series, told, total)
        # In threads, as for /bars.
        if reads_path(names_of(series)):
            return await self._beside.answer("path", work)
        return await asyncio.to_thread(work)

    def _made(self, series: Series, told: int, total: int) -> dict[str, object] | None:
        try:
            moment = series.moment()
        except SymbolNotFound:
            return None
        end = min(total, moment.total)
        if end <= moment.start:
            return None
        names = names_of(series)
        cut = self._cut(moment, min(max(told, moment.start), end - 1), end)
        check_path_points(end - max(int(cut.starts[0]), read_from(moment.view, groups_of(names))))
        return columns_of(moment, cut, names)

    def _cut(self, moment: Moment, first: int, end: int) -> Cut:
        """Return the bars from that of point `first` to that of the point before `end`, at most MOST_BARS."""
        bar = self._bar
        if isinstance(bar, int):
            begin = max(first // bar, (end - 1) // bar - MOST_BARS + 1) * bar
            return cut_by_points(moment, bar, max(begin, moment.start), end)
        length = by_time.duration_ns(bar)
        begin, newest = (moment.view.time_of(index) // length * length for index in (first, end - 1))
        begin = max(begin, newest - (MOST_BARS - 1) * length)
        return cut_by_clock(moment, bar, f"{max(begin, 0)}ns", end)
