"""InfluxDB's line protocol, compiled: where the symbol of each line lies, its price, size, side and time.

    measurement,tag=value,tag=value field=1.5,field=2i,field="text" 1700000000000000000

Each line gives a row of PLACES and one of NUMBERS. Nothing is copied: a name is told by where it begins and ends, and a
number that takes more than 19 digits, or an exponent, to read is left to who calls (`SLOW`).
"""

import numpy as np
from numba import int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.kernels import OPTIONS

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Floats = NDArray[np.float64]

# The roles of names, and of the words of a side.
TAG, PRICE, SIZE, SIDE, BOUGHT, SOLD = range(6)

# Of each line: where it begins and ends; its symbol; its price, its size and its time as text; how it is told; its
# number among the symbols.
BEGIN, END, NAME, NAME_END, PRICE_AT, PRICE_END, SIZE_AT, SIZE_END, SIGN, TIME_AT, TIME_END, TOLD, SERIES = range(13)
PLACES = 13
PRICE_IS, SIZE_IS, NUMBERS = range(3)

# How a line is told.
FINE, SLOW, NO_FIELDS, NO_PRICE, NO_NUMBER, NO_SIZE, NO_SIDE, NO_TIME = range(8)

_NEWLINE, _SPACE, _COMMA, _EQUALS, _BACKSLASH, _QUOTE, _HASH, _RETURN = 10, 32, 44, 61, 92, 34, 35, 13
_DIGITS = 15  # of a whole number that float64 has, and so has its quotient by a power of ten, rounded once
_POWERS = 10.0 ** np.arange(23)
_MOST_PROBES = 16
_TEXT, _GIVEN = types.Array(types.uint8, 1, "C", readonly=True), types.Array(int64, 1, "C", readonly=True)
_ROWS, _ROW_NUMBERS = int64[:, ::1], types.float64[:, ::1]
_READ = types.UniTuple(int64, 2)(
    _TEXT, _TEXT, _GIVEN, _GIVEN, int64, int64[::1], _ROWS, _ROW_NUMBERS, int64[::1]
)  # fmt: skip


@njit(**OPTIONS)
def _name_end(text: Bytes, at: int, first: int, second: int) -> int:
    """Return where the name ends that begins at `at`: before one of two bytes, a space or a new line, unescaped."""
    n = len(text)
    while at < n:
        c = text[at]
        if c == _BACKSLASH and at + 1 < n and text[at + 1] != _NEWLINE:
            at += 2
            continue
        if c == first or c == second or c == _SPACE or c == _NEWLINE:
            break
        at += 1
    return min(at, n)


@njit(**OPTIONS)
def _line_end(text: Bytes, at: int) -> int:
    while at < len(text) and text[at] != _NEWLINE:
        at += 1
    return at


@njit(**OPTIONS)
def _role(text: Bytes, begin: int, end: int, words: Bytes, ends: Places, roles: Places, low: bool) -> int:  # noqa: FBT001
    """Return the number of the word that stands there, -1 if there is none such; low: in any case."""
    start = 0
    for k in range(len(ends)):
        stop = ends[k]
        if stop - start == end - begin and (roles[k] >= BOUGHT) == low:
            i = 0
            while i < stop - start:
                c = text[begin + i]
                if low and 65 <= c <= 90:
                    c += 32
                if c != words[start + i]:
                    break
                i += 1
            if i == stop - start:
                return k
        start = stop
    return -1


@njit(**OPTIONS)
def _number(text: Bytes, begin: int, end: int) -> tuple[float, int]:
    """Return the number that stands there, and FINE, SLOW or NO_NUMBER."""
    at, sign = begin, 1.0
    if end - begin > 1 and (text[end - 1] == 105 or text[end - 1] == 117):  # 12i, 12u
        end -= 1
    if at < end and (text[at] == 45 or text[at] == 43):
        sign = -1.0 if text[at] == 45 else 1.0
        at += 1
    whole, digits, behind, point, seen = np.int64(0), 0, 0, False, False
    while at < end:
        c = text[at]
        if 48 <= c <= 57:
            seen = True
            if digits or c != 48:
                digits += 1
            if digits > _DIGITS:
                return 0.0, SLOW
            whole = whole * 10 + (np.int64(c) - 48)
            behind += point
        elif c == 46 and not point:
            point = True
        elif (c == 101 or c == 69) and seen:
            return 0.0, SLOW
        else:
            return 0.0, NO_NUMBER
        at += 1
    if not seen:
        return 0.0, NO_NUMBER
    if behind > 22:
        return 0.0, SLOW
    return sign * (whole / _POWERS[behind]), FINE


@njit(**OPTIONS)
def _read_line(
    text: Bytes, at: int, words: Bytes, ends: Places, roles: Places, places: Places, numbers: Floats
) -> int:  # fmt: skip
    """Read the line that begins at `at` into its two rows; return where it ends."""
    n = len(text)
    places[:] = -1
    places[BEGIN], places[TOLD], places[SIGN] = at, FINE, 0
    numbers[:] = np.nan
    end = _name_end(text, at, _COMMA, _COMMA)
    places[NAME], places[NAME_END] = at, end
    side = side_end = -1
    while end < n and text[end] == _COMMA:
        at = end + 1
        end = _name_end(text, at, _COMMA, _EQUALS)
        if end >= n or text[end] != _EQUALS:
            places[TOLD] = NO_FIELDS
            return _line_end(text, end)
        key = _role(text, at, end, words, ends, roles, False)  # noqa: FBT003
        at = end + 1
        end = _name_end(text, at, _COMMA, _COMMA)
        if key >= 0 and roles[key] == TAG:
            places[NAME], places[NAME_END] = at, end
        elif key >= 0 and roles[key] == SIDE:
            side, side_end = at, end
    if end >= n or text[end] != _SPACE:
        places[TOLD] = NO_FIELDS
        return _line_end(text, end)
    while end < n and text[end] == _SPACE:
        end += 1
    price = size = len(ends)
    while True:
        at = end
        end = _name_end(text, at, _COMMA, _EQUALS)
        if end >= n or text[end] != _EQUALS or end == at:
            places[TOLD] = NO_FIELDS
            return _line_end(text, end)
        key = _role(text, at, end, words, ends, roles, False)  # noqa: FBT003
        at = end + 1
        quoted = at < n and text[at] == _QUOTE
        if quoted:
            end = at + 1
            while end < n and text[end] != _QUOTE:
                end += 2 if text[end] == _BACKSLASH else 1
            if end >= n:
                places[TOLD] = NO_FIELDS
                return n
            end += 1
        else:
            end = _name_end(text, at, _COMMA, _COMMA)
            if text[min(end, n) - 1] == _RETURN:
                end -= 1
        if key >= 0:
            if roles[key] == PRICE and key < price:
                price, places[PRICE_AT], places[PRICE_END] = key, at, end
            elif roles[key] == SIZE and key < size:
                size, places[SIZE_AT], places[SIZE_END] = key, at, end
            elif roles[key] == SIDE:
                side, side_end = at + quoted, end - quoted
        if end >= n or text[end] != _COMMA:
            break
        end += 1
    while end < n and (text[end] == _SPACE or text[end] == _RETURN):
        end += 1
    if end < n and text[end] != _NEWLINE:
        places[TIME_AT] = end
        end = _line_end(text, end)
        stop = end
        while text[stop - 1] == _SPACE or text[stop - 1] == _RETURN:
            stop -= 1
        places[TIME_END] = stop
    _take_numbers(text, words, ends, roles, places, numbers, side, side_end)
    return end


@njit(**OPTIONS)
def _take_numbers(
    text: Bytes, words: Bytes, ends: Places, roles: Places, places: Places, numbers: Floats, side: int, side_end: int
) -> None:  # fmt: skip
    """Read price, size and side of a line whose places are known."""
    if places[PRICE_AT] < 0:
        places[TOLD] = NO_PRICE
        return
    numbers[PRICE_IS], told = _number(text, places[PRICE_AT], places[PRICE_END])
    if told != FINE:
        places[TOLD] = told
    if places[SIZE_AT] >= 0:
        numbers[SIZE_IS], told = _number(text, places[SIZE_AT], places[SIZE_END])
        if told == NO_NUMBER:
            places[TOLD] = NO_SIZE
        elif told == SLOW and places[TOLD] == FINE:
            places[TOLD] = SLOW
        if side >= 0:
            word = _role(text, side, side_end, words, ends, roles, True)  # noqa: FBT003
            if word < 0:
                places[TOLD] = NO_SIDE
            else:
                places[SIGN] = 1 if roles[word] == BOUGHT else -1


@njit(**OPTIONS)
def _time(text: Bytes, begin: int, end: int) -> tuple[int, bool]:
    """Return the whole number that stands there, and whether one of at most 18 digits does."""
    at, negative = begin, False
    if at < end and text[at] == 45:
        negative = True
        at += 1
    if not 0 < end - at <= 19:
        return 0, False
    found = np.int64(0)
    while at < end:
        c = text[at]
        if not 48 <= c <= 57 or found > 922_337_203_685_477_579:
            return 0, False
        found = found * 10 + (np.int64(c) - 48)
        at += 1
    return -found if negative else found, True


@njit(**OPTIONS)
def _series(text: Bytes, k: int, places: Places, table: Places, seed: int, made: int) -> int:
    """Return the number of the symbol of line `k` among those before it, or `made` for a new one.

    A table that has no place left near where it should be counts it as new: who calls puts those of one name together.
    """
    begin, end = places[k, NAME], places[k, NAME_END]
    found = np.uint64(seed)
    for i in range(begin, end):
        found = (found ^ np.uint64(text[i])) * np.uint64(1099511628211)
    found ^= found >> np.uint64(29)
    mask = np.uint64(len(table) - 1)
    for probe in range(_MOST_PROBES):
        place = np.int64((found + np.uint64(probe)) & mask)
        first = table[place]
        if first < 0:
            table[place] = k
            return made
        other = places[first, NAME]
        if places[first, NAME_END] - other == end - begin:
            i = 0
            while i < end - begin and text[begin + i] == text[other + i]:
                i += 1
            if i == end - begin:
                return places[first, SERIES]
    return made


@njit([_READ], **OPTIONS)
def read_lines(
    text: Bytes, words: Bytes, ends: Places, roles: Places, seed: int, table: Places, places: Places, numbers: Floats,
    times: Places,
) -> tuple[int, int]:  # fmt: skip
    """Read all lines; return how many there are, and how many symbols they have.

    words: the names and words that mean something, one behind the other, in the order in which they are preferred;
    ends: where each ends; roles: what it means. table: -1s, a power of two of them and more than lines. places,
    numbers, times: a row for each line, times in their own unit. Blank lines and comments have none. O(bytes).
    """
    n, at, rows, made = len(text), 0, 0, 0
    while at < n:
        c = text[at]
        if c == _NEWLINE or c == _SPACE or c == _RETURN:
            at += 1
            continue
        if c == _HASH:
            at = _line_end(text, at)
            continue
        row = places[rows]
        at = _read_line(text, at, words, ends, roles, row, numbers[rows])
        row[END] = at
        times[rows] = 0
        if row[TIME_AT] >= 0:
            times[rows], told = _time(text, row[TIME_AT], row[TIME_END])
            if not told and (row[TOLD] == FINE or row[TOLD] == SLOW):
                row[TOLD] = NO_TIME
        if row[TOLD] == FINE or row[TOLD] == SLOW:
            row[SERIES] = _series(text, rows, places, table, seed, made)
            made += row[SERIES] == made
        rows += 1
    return rows, made
