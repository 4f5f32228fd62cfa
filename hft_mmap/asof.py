"""The newest point at or before a place: one, or one for each of many times."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap import by_time
from hft_mmap.answers import Point
from hft_mmap.asked import checked_index, out_of_range
from hft_mmap.errors import InvalidRange, OutOfRange
from hft_mmap.files.layout import SIZE, TIME, Kind
from hft_mmap.moment import Moment
from hft_mmap.named import Column, Columns, Indexes
from hft_mmap.ticks import Times, ticks_of
from hft_mmap.tree.cuts import pick
from hft_mmap.tree.fold import TABLE_ADDRESSES

NOWHERE = -1
"""The index of a point that there is not."""
_MISSING = {"index": NOWHERE, "time": 0}


def asof(moment: Moment, at: object, tolerance: object = None) -> Point | None:
    """Return the newest point at or before `at`, an index or a time; see `Series.asof`."""
    if by_time.is_instant(at):
        if tolerance is None:
            return point_of(moment, by_time.until(moment, at))
        lasting, time = by_time.duration_ns(tolerance, "tolerance"), by_time.instant_ns(at, "at")
        by_time.check_times(moment)
        found = by_time.first_from(moment, time + 1) - 1
        is_near = found >= moment.start and time - moment.view.time_of(found) <= lasting
        return point_of(moment, found) if is_near else None
    if tolerance is not None:
        raise InvalidRange("tolerance is how long before a time a point may be: give at as a time, or no tolerance")
    index = min(asked := checked_index("at", at), moment.total - 1)
    if asked > index >= moment.start and len(moment.view.times):
        behind = f"at is {asked}, an index behind the newest point of {moment.symbol}, {index}"
        raise InvalidRange(f"{behind}; a time in nanoseconds since 1970 has its unit: {asked}ns")
    if index < moment.start:
        raise out_of_range(moment, max(index, 0), max(index, 0) + 1)
    return point_of(moment, index)


def point_of(moment: Moment, index: int) -> Point:
    """Return one kept point, with its time and size where the series has them."""
    (price,), times, sizes = ticks_of(moment.view, index, index + 1)
    return Point(
        index, float(price), None if times is None else int(times[0]), None if sizes is None else float(sizes[0])
    )


def many(moment: Moment, times: Times, tolerance: object = None) -> Columns:
    """Return index, time, value, and size where there is one, as of each of `times`; see `Series.asof_many`."""
    lasting = None if tolerance is None else by_time.duration_ns(tolerance, "tolerance")
    asked = by_time.many_ns("times", times)
    by_time.check_times(moment)
    index = by_time.firsts_behind(moment, asked) - 1
    missing = index < moment.start
    index[missing] = moment.start
    columns: dict[str, Column] = {
        "index": index, "time": picked(moment, index, TIME), "value": picked(moment, index)
    }  # fmt: skip
    if len(moment.view.sizes):
        columns["size"] = picked(moment, index, SIZE)
    if lasting is not None:
        # NOTE: two times may be further apart than an int64 holds; as unsigned numbers they never are.
        away = asked.view(np.uint64) - columns["time"].view(np.uint64)
        missing |= away > np.uint64(min(lasting, 2**64 - 1))
    if missing.any():
        for name, column in columns.items():
            column[missing] = _MISSING.get(name, np.nan)
    return Columns(columns)


def times_of(moment: Moment, index: Indexes) -> Indexes:
    """Return the time of each of the points `index`; OutOfRange for one that is not kept, ColumnsDiffer."""
    by_time.check_times(moment)
    bad = np.flatnonzero((index < moment.start) | (index >= moment.total))
    if len(bad):
        raise out_of_range(moment, int(index[bad[0]]), int(index[bad[0]]) + 1)
    return picked(moment, index, TIME)


def indexes_of(moment: Moment, times: Indexes) -> Indexes:
    """Return the newest point at or before each of `times`; OutOfRange where none is kept, ColumnsDiffer."""
    by_time.check_times(moment)
    index = by_time.firsts_behind(moment, times) - 1
    bad = np.flatnonzero(index < moment.start)
    if len(bad):
        k = int(bad[0])
        raise OutOfRange(
            f"no point of {moment.symbol} that is kept lies at or before {times[k]} ns, which is time[{k}]",
            moment.start, moment.total,
        )  # fmt: skip
    return index


def picked(moment: Moment, index: Indexes, kind: Kind | None = None) -> NDArray[Any]:
    """Return what the points `index`, all of them kept, have in a column, or their prices."""
    view = moment.view
    addresses = view.table[TABLE_ADDRESSES:] if kind is None else view.times if kind is TIME else view.sizes
    found = np.empty(len(index), dtype=np.float64 if kind is None else kind.dtype)
    pick(addresses, view.layout.points, view.first, np.ascontiguousarray(index), found.view(np.int64))
    return found
