"""What one append takes where points have a time or a size: columns beside the prices, checked as a whole.

A time is a whole number of nanoseconds since 1970 UTC. A size is a finite number; its sign is the aggressor's: + for
bought, - for sold. Which of the two a series has, its first batch says, and every later batch has the same.
"""

import operator
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import Prices, arrow_array, as_row, check_prices, is_arrow_only, nulls_of
from hft_mmap.errors import ColumnsDiffer, InvalidSizes, InvalidTimes, InvalidValues, LateTimes
from hft_mmap.files.layout import SIZE, TIME, Kind, bits_of
from hft_mmap.files.view import View
from hft_mmap.tree.kernels import MAX_PRICE, VALID
from hft_mmap.tree.ticks import UNKNOWN_TIME, check_sizes, clamp_times, has_unknown

Times: TypeAlias = NDArray[np.integer] | NDArray[np.datetime64] | Sequence[int] | Sequence[datetime] | Any
"""Whole numbers, or datetime64, or datetimes that know their time zone; also as Series of pandas, polars, pyarrow."""
Sizes: TypeAlias = Prices

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""What a unit of times is in nanoseconds."""
MOST_NS = 2**63 - 1
_NAMED = ("", " and times", " and sizes", ", times and sizes")
_INT64 = np.dtype(np.int64)


class Appended(NamedTuple):
    """What became of a batch: the total after it, how many of its times were late, and by how much the latest was.

    A late point is stored with the time of the point before it.
    """

    total: int
    late: int = 0
    latest_ns: int = 0


class Ticks(NamedTuple):
    """Prices with what stands beside them; None where the series has no such column."""

    prices: NDArray[np.float64]
    times: NDArray[np.int64] | None = None
    sizes: NDArray[np.float64] | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The columns."""
        times = () if self.times is None else (TIME,)
        return times if self.sizes is None else (*times, SIZE)

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """What goes into each column, in the order of `kinds`."""
        return tuple(column for column in (self.times, self.sizes) if column is not None)

    def cut(self, begin: int, end: int) -> "Ticks":
        """Return the rows [begin, end)."""
        return Ticks(
            self.prices[begin:end],
            None if self.times is None else self.times[begin:end],
            None if self.sizes is None else self.sizes[begin:end],
        )

    def is_same(self, other: "Ticks") -> bool:
        """Say whether all rows are those of `other`, which has the same columns."""
        mine, theirs = (self.prices, *self.columns), (other.prices, *other.columns)
        return all(map(np.array_equal, mine, theirs))


_ticks = partial(tuple.__new__, Ticks)


def as_ticks(prices: Prices, times: Times | None, sizes: Sizes | None, time_unit: str = "ns") -> Ticks:
    """Return a batch as arrays of one length, not yet looked at; a caller's own arrays are taken as they are.

    InvalidValues, InvalidTimes, InvalidSizes for what is no row of numbers, or of another length.
    """
    row = as_row(prices)
    if times is not None and not (time_unit == "ns" and _are_int64(times)):
        times = as_times(times, time_unit)
    if sizes is not None:
        sizes = as_sizes(sizes)
    _check_lengths(row, times, sizes)
    return _ticks((row, times, sizes))


def _check_lengths(
    prices: NDArray[np.float64], times: NDArray[np.int64] | None, sizes: NDArray[np.float64] | None
) -> None:
    """Refuse columns that are not of the length of the prices; InvalidTimes, InvalidSizes."""
    n = len(prices)
    if times is not None and len(times) != n:
        message = f"times must have one number for each of the {n} values, not {len(times)}"
        raise InvalidTimes(message)
    if sizes is not None and len(sizes) != n:
        message = f"sizes must have one number for each of the {n} values, not {len(sizes)}"
        raise InvalidSizes(message)


def as_sizes(sizes: Sizes) -> NDArray[np.float64]:
    """Return `sizes` as a contiguous float64 array; InvalidSizes unless they are one row of real numbers."""
    try:
        return as_row(sizes)
    except InvalidValues as error:
        text = str(error)
        raise InvalidSizes("sizes" + text.removeprefix("values") if text.startswith("values") else text) from error


def as_times(times: Times, unit: str = "ns") -> NDArray[np.int64]:
    """Return `times` as a contiguous int64 array of nanoseconds; InvalidTimes.

    unit: of whole numbers, one of UNITS_NS; datetimes have their own. Refused are floats, which can't hold nanoseconds,
    nulls, datetimes without a time zone, and what lies beyond 64 bits of nanoseconds (1677 to 2262).
    """
    if type(unit) is not str or unit not in UNITS_NS:
        message = f"time_unit must be one of {', '.join(UNITS_NS)}, not {unit!r}"
        raise InvalidTimes(message)
    if unit == "ns" and _are_int64(times) and not has_unknown(times):
        return times
    if isinstance(times, np.ndarray):
        return _from_array(times, unit)
    if isinstance(times, (str, bytes, bytearray)):
        message = f"times must be an array or a sequence of whole numbers, not {type(times).__name__}"
        raise InvalidTimes(message)
    if isinstance(times, Sequence):
        return _from_sequence(times, unit)
    kind = type(times)
    if not (hasattr(kind, "__array__") or is_arrow_only(times)):
        message = f"times must be an array or a sequence of whole numbers, not {kind.__name__}"
        raise InvalidTimes(message)
    try:
        taken: Any = arrow_array(times) if is_arrow_only(times) else times
        nulls, found = nulls_of(taken, ("is_null", "isna")), np.asarray(taken)
    except Exception as error:  # whatever a library raises that is not ours
        message = f"times, of type {kind.__name__}, can't be read as an array: {error}"
        raise InvalidTimes(message) from error
    if nulls.any():
        message = f"times[{int(nulls.argmax())}] is null: every point of a batch has its time"
        raise InvalidTimes(message)
    return _from_sequence(found.tolist(), unit) if found.dtype == object else _from_array(found, unit)


def _are_int64(times: object) -> TypeGuard[NDArray[np.int64]]:
    # PERF: as in `as_row`. Whether one is no time, who appends them looks at in compiled code, on the way.
    return (
        type(times) is np.ndarray
        and times.dtype is _INT64
        and times.ndim == 1
        and (flags := times.flags).c_contiguous
        and flags.aligned
    )


def _from_array(times: NDArray[Any], unit: str) -> NDArray[np.int64]:
    if isinstance(times, np.ma.MaskedArray) or times.ndim != 1:
        what = "a masked array" if isinstance(times, np.ma.MaskedArray) else f"the shape {times.shape}"
        message = f"times must be one row of whole numbers, not {what}"
        raise InvalidTimes(message)
    if times.dtype.kind == "M":
        bad = np.flatnonzero(np.isnat(times))
        if bad.size:
            message = f"times[{int(bad[0])}] is NaT: every point of a batch has its time"
            raise InvalidTimes(message)
        raw = np.ascontiguousarray(times).astype(np.dtype(f"M8[{np.datetime_data(times.dtype)[0]}]"), copy=False)
        found = raw.astype("M8[ns]").view(np.int64)
        wrong = np.flatnonzero(found.view("M8[ns]").astype(raw.dtype) != raw)
        if wrong.size:
            _raise_beyond(int(wrong[0]), times[wrong[0]])
        return np.ascontiguousarray(found)
    if times.dtype.kind not in "iu":
        message = f"times must be whole numbers or datetime64, not an array of {times.dtype}"
        raise InvalidTimes(message)
    most = MOST_NS // UNITS_NS[unit]
    if times.size and (int(times.max()) > most or int(times.min()) < -most):
        at = int(times.argmax()) if int(times.max()) > most else int(times.argmin())
        _raise_beyond(at, f"{times[at]} {unit}")
    found = np.require(times, dtype=np.int64, requirements=["C", "A"])
    return found if unit == "ns" else found * UNITS_NS[unit]


def _raise_beyond(at: int, value: object) -> None:
    message = f"times[{at}] is {value}, and times are from 1677 to 2262: 64 bits of nanoseconds since 1970"
    raise InvalidTimes(message)


def _from_sequence(times: Sequence[Any], unit: str) -> NDArray[np.int64]:
    found = [time_ns(time, unit, f"times[{i}]") for i, time in enumerate(times)]
    for i, time in enumerate(found):
        if not -MOST_NS <= time <= MOST_NS:
            _raise_beyond(i, times[i])
    return np.array(found, dtype=np.int64)


def time_ns(time: object, unit: str = "ns", name: str = "time") -> int:
    """Return a whole number of units, a datetime64, or a datetime with a time zone as nanoseconds; InvalidTimes."""
    if isinstance(time, np.datetime64):
        if np.isnat(time):
            message = f"{name} is NaT, which is no time"
            raise InvalidTimes(message)
        return int(_from_array(np.array([time]), unit)[0])
    if isinstance(time, datetime):
        return _datetime_ns(time, name)
    try:
        found = None if isinstance(time, (bool, np.bool_)) else operator.index(time)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None:
        message = f"{name} must be a whole number or a datetime, not {type(time).__name__}"
        raise InvalidTimes(message)
    return found * UNITS_NS[unit]


def _datetime_ns(time: datetime, name: str) -> int:
    try:
        offset = time.utcoffset()
    except ValueError:  # the NaT of pandas is a datetime
        message = f"{name} is {time!r}, which is no time"
        raise InvalidTimes(message) from None
    if offset is None:
        message = f"{name} is {time.isoformat()}, which has no time zone: give one, such as datetime.UTC"
        raise InvalidTimes(message)
    # Not before it is a difference: the first and the last datetimes there are have no room for an offset.
    since = time.replace(tzinfo=None) - datetime(1970, 1, 1) - offset  # noqa: DTZ001 - of one zone
    whole = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return whole * 1_000 + int(getattr(time, "nanosecond", 0))  # those of pandas have one


def ticks_of(view: View, lo: int, hi: int) -> Ticks:
    """Return the points [lo, hi) with their columns, as read-only arrays; see `View.read`."""
    has = view.layout.kinds
    return Ticks(
        view.read(lo, hi),
        view.read_column(TIME, lo, hi) if TIME in has else None,
        view.read_column(SIZE, lo, hi) if SIZE in has else None,
    )


def check_ticks(batch: Ticks, *, signed: bool = False) -> Ticks:
    """Return `batch` with its prices and sizes checked, each array a copy that nobody else changes.

    signed: prices may be negative. InvalidValues, InvalidTimes, InvalidSizes name the first that is none.
    """
    _check_lengths(*batch)
    prices, sizes = check_prices(np.array(batch.prices), signed=signed), batch.sizes
    if sizes is not None:
        copy = np.empty(len(sizes))
        bad = check_sizes(sizes, copy)
        if bad != VALID:
            message = (
                f"sizes[{bad}] is {float(copy[bad])!r}: a size must be finite, and from -{MAX_PRICE:g} to {MAX_PRICE:g}"
            )
            raise InvalidSizes(message)
        sizes = copy
    return Ticks(prices, None if batch.times is None else as_times(np.array(batch.times)), sizes)


def clamped(batch: Ticks, before: int | None) -> tuple[Ticks, int, int]:
    """Return `batch` with the times that are stored behind one of `before`: how many came late, and by how much.

    before: None where no point is kept.
    """
    if batch.times is None:
        return batch, 0, 0
    out = np.empty(len(batch.times), dtype=np.int64)
    late, most = clamp_times(batch.times, UNKNOWN_TIME if before is None else before, out)
    return batch._replace(times=out), int(late), int(most)


def other_columns(symbol: str, has: tuple[Kind, ...], brings: tuple[Kind, ...]) -> ColumnsDiffer:
    """Return the error that says which columns a series has, and which a batch brings."""
    mine, theirs = (f"prices{_NAMED[bits_of(kinds)]}" for kinds in (has, brings))
    return ColumnsDiffer(
        f"{symbol} has {mine}, and the batch has {theirs}: the first batch of a series says which columns it has, and "
        "every later one brings the same; nothing was stored"
    )


def raise_late(batch: Ticks, before: int | None, symbol: str, total: int) -> None:
    """Raise LateTimes for the first late point of `batch`, which has one."""
    times = batch.times
    top = before if before is not None else UNKNOWN_TIME
    for i, time in enumerate(times.tolist() if times is not None else ()):
        if time < top:
            message = (
                f"times[{i}] is {time}, {top - time} ns before that of the point before it ({top}): late points of "
                f"{symbol} are refused, and nothing was stored; send them in order, or set store.late to clamp"
            )
            raise LateTimes(message, i, total)
        top = time
