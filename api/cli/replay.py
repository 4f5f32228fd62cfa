"""A recording of real prices, stretched to any number of points and replayed without an end.

The recording (recorded/closes.csv) has the closes of some three thousand days. Between two of them lie as many points
as one asks for, which a seeded random walk makes: it begins at the one close and ends at the next. At its end the
recording goes backwards, at its beginning forwards again, so that no price jumps. Which price a point has depends on
nothing but its index and the seed: a replay goes on anywhere, and sends the same again where an answer was lost.
"""

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

_DECIMALS = 4
_BEGIN_NS = 946_857_600 * 10**9  # 2000-01-03, the first day of the recording
_DAY_NS = 86_400 * 10**9
_BLOCK = 4096  # sizes that are made together
_OF_SIZES = 1
_WITHIN_A_DAY = 0.5  # the walk between two closes moves by so much of what closes move by


@cache
def recorded() -> dict[str, NDArray[np.float64]]:
    """Return the closes of each symbol, oldest first; read once, in some 10 ms."""
    _, head, *rows = files("api.cli").joinpath("recorded", "closes.csv").read_text(encoding="ascii").splitlines()
    symbols = head.split(",")[1:]
    columns = zip(*(row.split(",")[1:] for row in rows), strict=True)
    return {
        symbol: np.array([float(close) for close in column if close])
        for symbol, column in zip(symbols, columns, strict=True)
    }


class Replay:
    """The endless series of one symbol: `points_a_day` points from one close to the next."""

    def __init__(self, symbol: str, points_a_day: int, seed: int) -> None:
        self.closes = recorded()[symbol]
        self.points_a_day = points_a_day
        self._seed = [seed, *symbol.encode()]
        self._step = _WITHIN_A_DAY * np.std(np.diff(np.log(self.closes))) / np.sqrt(points_a_day)
        self._share_of_day = np.arange(points_a_day) / points_a_day

    def prices(self, first: int, points: int) -> NDArray[np.float64]:
        """Return the prices of the points from `first` on; the first of each day is the recorded close. 0.1 us each."""
        end = first + points
        days = range(first // self.points_a_day, -(-end // self.points_a_day))
        if not points:
            return np.empty(0)
        begin = days.start * self.points_a_day
        taken: NDArray[np.float64] = np.concatenate([self._day(day) for day in days])[first - begin : end - begin]
        return taken

    def times(self, first: int, points: int) -> NDArray[np.int64]:
        """Return when the points from `first` on came, in nanoseconds since 1970: a recorded day lasts a day."""
        day, place = np.divmod(np.arange(first, first + points, dtype=np.int64), self.points_a_day)
        times: NDArray[np.int64] = _BEGIN_NS + day * _DAY_NS + place * _DAY_NS // self.points_a_day
        return times

    def sizes(self, first: int, points: int) -> NDArray[np.float64]:
        """Return how much was traded at the points from `first` on, made up: whole lots, bought or sold."""
        begin, end = first // _BLOCK, -(-(first + points) // _BLOCK)
        blocks = [self._lots(block) for block in range(begin, end)]
        skip = first - begin * _BLOCK
        return np.concatenate([np.empty(0), *blocks])[skip : skip + points]

    def _lots(self, block: int) -> NDArray[np.float64]:
        draw = np.random.default_rng([*self._seed, _OF_SIZES, block])
        lots: NDArray[np.float64] = np.ceil(draw.lognormal(3.0, 1.2, _BLOCK)) * draw.choice([-1.0, 1.0], _BLOCK)
        return lots

    def _day(self, day: int) -> NDArray[np.float64]:
        start, end = np.log(self._close(day)), np.log(self._close(day + 1))
        walk = np.cumsum(np.random.default_rng([*self._seed, day]).normal(0.0, self._step, self.points_a_day))
        # A bridge: the walk less what would lead it past the next close. The first point has not moved yet.
        path = np.concatenate([[0.0], walk[:-1]]) - self._share_of_day * walk[-1]
        prices = np.exp(start + (end - start) * self._share_of_day + path)
        prices[0] = self._close(day)
        rounded: NDArray[np.float64] = np.round(prices, _DECIMALS)
        return rounded

    def _close(self, day: int) -> float:
        last = len(self.closes) - 1
        there = day % (2 * last)
        return float(self.closes[min(there, 2 * last - there)])
