"""The points that a producer has not sent yet."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import Prices, as_row, check_prices
from hft_mmap.errors import ColumnsDiffer, InvalidSizes
from hft_mmap.ticks import MOST_NS, Sizes, Ticks, Times, as_ticks, check_ticks
from hft_mmap.tree.kernels import MAX_PRICE

_SIGNS = {"buy": 1.0, "sell": -1.0}


class Buffer:
    """Points in the order in which they came, or in that of their times, and when the oldest came; it grows."""

    def __init__(self, max_points: int, max_age_s: float, reorder_s: float = 0.0, *, signed: bool = False) -> None:
        """Make room for a batch of `max_points`; signed: prices may be negative. ValueError unless both are above 0."""
        if max_points < 1 or max_age_s <= 0:
            message = f"max_points must be from 1 and max_age_s above 0, not {max_points} and {max_age_s}"
            raise ValueError(message)
        if not 0 <= reorder_s < float("inf"):
            message = f"reorder_s must be from 0, not {reorder_s}"
            raise ValueError(message)
        self._rows: list[Ticks] = []
        self._ones: tuple[list[float], list[int], list[float]] = [], [], []
        """Prices, times and sizes that came one by one, behind `_rows`."""
        self._filled = 0
        self._batch: Ticks | None = None
        self._max_points = max_points
        self._max_age_s = max_age_s
        self._oldest = 0.0
        self._reorder_s = reorder_s
        self._early: Ticks | None = None
        """Points that one with an earlier time may still come before, by their times; `_came`: when each came."""
        self._came: NDArray[np.float64] = np.empty(0)
        self._newest_ns: int | None = None
        self._like: Ticks | None = None
        self._signed, self._least = signed, -MAX_PRICE if signed else 0.0

    def __len__(self) -> int:
        """Return how many points wait."""
        return self._filled + len(self._came)

    @property
    def has_batch(self) -> bool:
        """Say whether as many points wait as a batch may have."""
        return self._filled >= self._max_points

    def add(self, value: object, time: object, size: object, side: str | None) -> None:
        """Take one point. side: "buy" or "sell", with a size from 0; None: the size has its sign.

        InvalidValues, InvalidTimes, InvalidSizes if something of it is none; ColumnsDiffer.

        PERF: what is plainly sound goes into lists; a row of one point is looked at in 10 us, one with columns in 30.
        """
        if side is not None:
            if side not in _SIGNS or not (isinstance(size, float | int) and size >= 0):
                message = f'side must be "buy" or "sell", beside a size from 0, not {side!r} beside {size!r}'
                raise InvalidSizes(message)
            size = _SIGNS[side] * size
        like = self._like
        if (
            like is None
            or (self._reorder_s and time is not None)
            or (like.times is None) is not (time is None)
            or (like.sizes is None) is not (size is None)
            or not (isinstance(value, float) and self._least <= value <= MAX_PRICE)
            or not (time is None or (type(time) is int and -MOST_NS <= time <= MOST_NS))
            or not (size is None or (isinstance(size, float) and -MAX_PRICE <= size <= MAX_PRICE))
        ):
            row: list[Any] = [value, time, size]
            times_, sizes_ = None if time is None else row[1:2], None if size is None else row[2:]
            self.put(checked(row[:1], times_, sizes_, signed=self._signed))
            return
        if not len(self):
            self._oldest = monotonic()
        prices, times, sizes = self._ones
        prices.append(value)
        if time is not None:
            times.append(time)
        if size is not None:
            sizes.append(size)
        self._filled += 1

    def put(self, rows: Ticks) -> None:
        """Take points. ColumnsDiffer unless they have the columns of those before them; none is taken then."""
        if not len(rows.prices):
            return
        if self._like is not None and rows.kinds != self._like.kinds:
            brings, has = (" and ".join(["prices", *(kind.name for kind in one.kinds)]) for one in (rows, self._like))
            message = f"this producer was given {has}, and now {brings}: every point of a series has the same"
            raise ColumnsDiffer(message)
        self._like = rows.cut(0, 0)
        if not len(self):
            self._oldest = monotonic()
        if not self._reorder_s or rows.times is None:
            self._add(rows)
            return
        together = rows if self._early is None else joined([self._early, rows])
        came = np.concatenate([self._came, np.full(len(rows.prices), monotonic())])
        order = np.argsort(_times(together), kind="stable")
        self._early, self._came = _taken(together, order), came[order]
        newest = int(rows.times.max())
        self._newest_ns = newest if self._newest_ns is None else max(newest, self._newest_ns)
        self._release()

    def _add(self, rows: Ticks) -> None:
        self._gather()
        self._rows.append(rows)
        self._filled += len(rows.prices)

    def _gather(self) -> None:
        """Make rows of the points that came one by one."""
        prices, times, sizes = self._ones
        if prices:
            # Plus nothing: -0.0 is 0.0.
            whole = Ticks(
                np.array(prices) + 0.0, np.array(times, np.int64) if times else None,
                np.array(sizes) + 0.0 if sizes else None,
            )  # fmt: skip
            self._rows.append(whole)
            self._ones = [], [], []

    def _release(self, *, all_points: bool = False) -> None:
        """Let go of the points before which none can come any more: by their times, or as they waited long enough."""
        rows = self._early
        if rows is None:
            return
        ripe = np.flatnonzero(self._came <= monotonic() - self._reorder_s)
        end = int(ripe[-1]) + 1 if len(ripe) else 0
        if self._newest_ns is not None:
            edge = self._newest_ns - round(self._reorder_s * 1e9)
            end = max(end, int(np.searchsorted(_times(rows), edge, side="right")))
        count = len(rows.prices)
        end = count if all_points else end
        if end:
            self._add(rows.cut(0, end))
            self._early, self._came = (rows.cut(end, count) if end < count else None), self._came[end:]

    def ready(self, *, all_points: bool) -> bool:
        """Return whether there is a batch to send: a full one, or any point that need not wait for others.

        all_points: none waits for others any more.
        """
        self._release(all_points=all_points)
        return self._filled > 0

    def batch(self) -> Ticks:
        """Return the next batch, always the same one until `sent` is called.

        It may have been stored though no answer came. With one point more or less it would overlap itself.
        """
        if self._batch is None:
            self._gather()
            whole = joined(self._rows)
            self._batch = whole.cut(0, min(self._filled, self._max_points))
            rest = whole.cut(len(self._batch.prices), self._filled)
            self._rows = [self._batch, rest] if len(rest.prices) else [self._batch]
        return self._batch

    def sent(self) -> None:
        """Forget the points that `batch` gave."""
        if self._batch is not None:
            self._filled -= len(self._batch.prices)
            self._rows, self._batch = self._rows[1:], None
        self._oldest = monotonic()

    def due_in_s(self) -> float | None:
        """Return how long the oldest point may still wait; None if there is no point."""
        if not len(self):
            return None
        wait_s = self._max_age_s if self._filled else self._max_age_s + self._reorder_s
        return max(self._oldest + wait_s - monotonic(), 0.0)


def _times(rows: Ticks) -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64) if rows.times is None else rows.times


def joined(rows: Sequence[Ticks]) -> Ticks:
    """Return points of the same columns as one."""
    if len(rows) == 1:
        return rows[0]
    times = [part.times for part in rows if part.times is not None]
    sizes = [part.sizes for part in rows if part.sizes is not None]
    return Ticks(
        np.concatenate([part.prices for part in rows]),
        np.concatenate(times) if times else None,
        np.concatenate(sizes) if sizes else None,
    )


def _taken(rows: Ticks, order: NDArray[np.intp]) -> Ticks:
    return Ticks(
        rows.prices[order], None if rows.times is None else rows.times[order],
        None if rows.sizes is None else rows.sizes[order],
    )  # fmt: skip


def checked(
    values: Prices, times: Times | None = None, sizes: Sizes | None = None, time_unit: str = "ns", *,
    signed: bool = False,
) -> Ticks:  # fmt: skip
    """Return points once each of them is known to be sound; InvalidValues, InvalidTimes, InvalidSizes otherwise.

    signed: prices may be negative. A wrong price is refused where it is given: in a batch it would take its neighbours
    down with it, much later.
    """
    if times is None and sizes is None:
        row = np.array(as_row(values))  # the caller's array may change before it is sent
        return Ticks(check_prices(row, signed=signed) if row.size else row)
    rows = as_ticks(values, times, sizes, time_unit)
    return check_ticks(rows, signed=signed) if len(rows.prices) else rows
