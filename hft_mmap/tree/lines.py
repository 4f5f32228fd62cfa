"""InfluxDB's line protocol, compiled: where the symbol of each line lies, its price, size, side and time.

    measurement,tag=value,tag=value field=1.5,field=2i,field="text" 1700000000000000000

Each line gives a row of PLACES, a price, a size and a time. Nothing is copied: a name is told by where it begins and
ends, and a number that takes more than 15 digits, or an exponent, to read is left to who calls (`SLOW`).
"""

from typing import Any, TypeAlias

import numpy as np
from numba import float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.kernels import MAX_PRICE, OPTIONS
from hft_mmap.tree.pointers import int64_pointer, uint8_pointer

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Floats = NDArray[np.float64]
Pointer: TypeAlias = Any
"""Bytes or numbers by their address. PERF: to pass an array counts its references, 10 ns each time."""
# Of each word that means something, in a table of its own: where it begins and ends, its role, and the next word of the
# same place; the first of each place stands in a column of HEADS rows. -1 for none.
WORD, WORD_END, ROLE, NEXT, FIRST = range(5)
WORD_COLUMNS = 5

# The roles of names, and of the words of a side.
TAG, PRICE, SIZE, SIDE, BOUGHT, SOLD = range(6)
_OF_TAGS, _OF_FIELDS, _OF_SIDES = 1 << TAG | 1 << SIDE, 1 << PRICE | 1 << SIZE | 1 << SIDE, 1 << BOUGHT | 1 << SOLD

# Of each line: where it begins; its symbol, price, size, side and time as text; the sign of its side; how it is told;
# its number among the symbols.
BEGIN, NAME, NAME_END, PRICE_AT, PRICE_END, SIZE_AT, SIZE_END, SIDE_AT, SIDE_END, TIME_AT, SIGN, TOLD, SERIES = range(
    13
)
PLACES = 13

# How a line is told.
FINE, SLOW, NO_FIELDS, NO_PRICE, NO_NUMBER, NO_SIZE, NO_SIDE, NO_TIME, BAD_PRICE, BAD_SIZE, BAD_TIME = range(11)

# Of all lines: how many are not FINE, and how many SLOW; names; lines without a size, and with an earlier time than the
# one before it.
NOT_FINE, SLOWLY, NAMES, BARE, EARLIER = range(5)
COUNTS = 5

# Of the last line whose tags were read: where it begins, and how long they are; from there, its symbol and its side.
LEAD, LENGTH, LEAD_NAME, LEAD_SIDE = 0, 1, 2, 4
LEADS = 6

HEADS = 64
"""Places of words; a power of two."""
_NEWLINE, _SPACE, _COMMA, _EQUALS, _BACKSLASH, _QUOTE, _HASH, _RETURN = 10, 32, 44, 61, 92, 34, 35, 13
_PLUS, _MINUS, _POINT, _ZERO, _NINE, _EXPONENTS, _SUFFIXES = 43, 45, 46, 48, 57, (69, 101), (105, 117)
_DIGITS = 15  # of a whole number that float64 has, and so has its quotient by a power of ten, rounded once
_POWERS = 10.0 ** np.arange(23)
_MOST_BEHIND = len(_POWERS) - 1
_TIME_DIGITS = 19
_MOST_NS = 2**63 - 1
_MOST_TENTH, _MOST_LAST = divmod(_MOST_NS, 10)
_MOST_PROBES = 16
_NO_WORD = 2**31
# What ends a name, or makes it longer than it looks.
_ENDS = np.zeros(256, np.bool_)
_ENDS[[_NEWLINE, _SPACE, _COMMA, _EQUALS, _BACKSLASH]] = True

_TEXT, _GIVEN = types.Array(types.uint8, 1, "C", readonly=True), types.Array(int64, 2, "C", readonly=True)
_INTEGERS, _NUMBERS = int64[::1], float64[::1]
_READ = int64(
    _TEXT, _TEXT, _GIVEN, int64, int64, int64, float64, _INTEGERS, int64[:, ::1], _NUMBERS, _NUMBERS, _INTEGERS,
    _INTEGERS,
)  # fmt: skip


@njit([int64(int64, int64, int64)], **OPTIONS)
def place_of(first: int, last: int, length: int) -> int:
    """Return in which of HEADS places a word is to be found, by its first byte, its last one and its length."""
    return (first + 3 * last + 7 * length) & (HEADS - 1)


@njit(**OPTIONS)
def _word(text: Pointer, begin: int, end: int, words: Pointer, table: Pointer, wanted: int) -> int:
    """Return the number of the word that stands there, -1 if there is none with one of the `wanted` roles."""
    if begin >= end:
        return -1
    place = place_of(int64(text[begin]), int64(text[end - 1]), end - begin)
    k = table[place * WORD_COLUMNS + FIRST]
    while k >= 0:
        start = table[k * WORD_COLUMNS + WORD]
        if table[k * WORD_COLUMNS + WORD_END] - start == end - begin and wanted >> table[k * WORD_COLUMNS + ROLE] & 1:
            i = 0
            while i < end - begin and text[begin + i] == words[start + i]:
                i += 1
            if i == end - begin:
                return int(k)
        k = table[k * WORD_COLUMNS + NEXT]
    return -1


@njit(**OPTIONS)
def _name_end(text: Pointer, n: int, at: int, also: int) -> int:
    """Return where the name ends that begins at `at`: before a comma, `also`, a space or a new line, unescaped."""
    while at < n:
        c = text[at]
        if _ENDS[c]:
            if c == _BACKSLASH and at + 1 < n and text[at + 1] != _NEWLINE:
                at += 2
                continue
            if c != _BACKSLASH and (c != _EQUALS or also == _EQUALS):
                break
        at += 1
    return min(at, n)


@njit(**OPTIONS)
def _line_end(text: Pointer, n: int, at: int) -> int:
    while at < n and text[at] != _NEWLINE:
        at += 1
    return at


@njit(**OPTIONS)
def _number(text: Pointer, begin: int, end: int) -> tuple[float, int]:
    """Return the number that stands there, and FINE, SLOW or NO_NUMBER."""
    at, sign = begin, 1.0
    if end - begin > 1 and text[end - 1] in _SUFFIXES:  # 12i, 12u
        end -= 1
    if at < end and (text[at] == _MINUS or text[at] == _PLUS):
        sign = -1.0 if text[at] == _MINUS else 1.0
        at += 1
    whole, digits, behind, seen, point = 0, 0, 0, False, False
    while at < end:
        c = text[at]
        if _ZERO <= c <= _NINE:
            seen = True
            digits += 1 if digits or c != _ZERO else 0
            if digits > _DIGITS:
                return 0.0, SLOW
            whole = whole * 10 + (int64(c) - _ZERO)
            behind += point
        elif c == _POINT and not point:
            point = True
        else:
            return 0.0, SLOW if c in _EXPONENTS and seen else NO_NUMBER
        at += 1
    if behind > _MOST_BEHIND:
        return 0.0, SLOW
    return sign * (whole / _POWERS[behind]), FINE if seen else NO_NUMBER


@njit(**OPTIONS)
def _tags(text: Pointer, n: int, at: int, words: Pointer, table: Pointer, row: Pointer) -> int:
    """Read measurement and tags; return where the fields begin, -1 if there are none."""
    end = _name_end(text, n, at, _COMMA)
    row[NAME], row[NAME_END] = at, end
    while end < n and text[end] == _COMMA:
        at = end + 1
        end = _name_end(text, n, at, _EQUALS)
        if end >= n or text[end] != _EQUALS:
            return -1
        key = _word(text, at, end, words, table, _OF_TAGS)
        at = end + 1
        end = _name_end(text, n, at, _COMMA)
        if key >= 0:
            first = NAME if table[key * WORD_COLUMNS + ROLE] == TAG else SIDE_AT
            row[first], row[first + 1] = at, end
    begin = end
    while end < n and text[end] == _SPACE:
        end += 1
    return end if end > begin else -1


@njit(**OPTIONS)
def _known_tags(text: Pointer, n: int, at: int, lead: Pointer, row: Pointer) -> int:
    """Return the same as _tags for a line that begins as the last one whose tags were read, -1 for another.

    PERF: so do most lines of a request, and to read tags is half of what a line costs.
    """
    length = lead[LENGTH]
    if not length or at + length > n:
        return -1
    i, other = 0, lead[LEAD]
    while i < length and text[at + i] == text[other + i]:
        i += 1
    if i < length:
        return -1
    row[NAME], row[NAME_END] = at + lead[LEAD_NAME], at + lead[LEAD_NAME + 1]
    if lead[LEAD_SIDE] >= 0:
        row[SIDE_AT], row[SIDE_END] = at + lead[LEAD_SIDE], at + lead[LEAD_SIDE + 1]
    end = at + length
    while end < n and text[end] == _SPACE:
        end += 1
    return int(end)


@njit(**OPTIONS)
def _remember(lead: Pointer, at: int, end: int, row: Pointer) -> None:
    """Keep what the tags of the line at `at` say, which end before `end`; nothing where they are none."""
    lead[LEAD], lead[LENGTH] = at, max(end - at, 0)
    lead[LEAD_NAME], lead[LEAD_NAME + 1] = row[NAME] - at, row[NAME_END] - at
    lead[LEAD_SIDE], lead[LEAD_SIDE + 1] = row[SIDE_AT] - at if row[SIDE_AT] >= 0 else -1, row[SIDE_END] - at


@njit(**OPTIONS)
def _value_end(text: Pointer, n: int, at: int) -> int:
    """Return where the value of a field ends that begins at `at`, -1 if it is a text without its end."""
    if at >= n or text[at] != _QUOTE:
        end = _name_end(text, n, at, _COMMA)
        return end - 1 if end > at and text[end - 1] == _RETURN else end
    at += 1
    while at < n and text[at] != _QUOTE:
        at += 2 if text[at] == _BACKSLASH else 1
    return at + 1 if at < n else -1


@njit(**OPTIONS)
def _fields(text: Pointer, n: int, at: int, words: Pointer, table: Pointer, row: Pointer) -> int:
    """Read the fields; return where they end, -1 if they are none. Of several names the first of the list counts."""
    price = size = _NO_WORD
    while True:
        end = _name_end(text, n, at, _EQUALS)
        if end >= n or text[end] != _EQUALS or end == at:
            return -1
        key = _word(text, at, end, words, table, _OF_FIELDS)
        at = end + 1
        end = _value_end(text, n, at)
        if end < 0:
            return -1
        role = table[key * WORD_COLUMNS + ROLE] if key >= 0 else -1
        if role == PRICE and key < price:
            price, row[PRICE_AT], row[PRICE_END] = key, at, end
        elif role == SIZE and key < size:
            size, row[SIZE_AT], row[SIZE_END] = key, at, end
        elif role == SIDE:
            quoted = 1 if text[min(at, n - 1)] == _QUOTE else 0
            row[SIDE_AT], row[SIDE_END] = at + quoted, end - quoted
        if end >= n or text[end] != _COMMA:
            return end
        at = end + 1


@njit(**OPTIONS)
def _time(text: Pointer, n: int, at: int, row: Pointer) -> tuple[int, int]:
    """Read the time that may stand at `at`; return it, and where the line ends. Notes NO_TIME."""
    while at < n and (text[at] == _SPACE or text[at] == _RETURN):
        at += 1
    if at >= n or text[at] == _NEWLINE:
        return 0, at
    row[TIME_AT] = at
    negative = text[at] == _MINUS
    at += negative
    found, begin, last = int64(0), at, min(at + _TIME_DIGITS - 1, n)
    while at < last and _ZERO <= text[at] <= _NINE:  # as many digits as are below any limit
        found = found * 10 + (int64(text[at]) - _ZERO)
        at += 1
    fits = True
    if at - begin == _TIME_DIGITS - 1 and at < n and _ZERO <= text[at] <= _NINE:
        fits = found < _MOST_TENTH or (found == _MOST_TENTH and text[at] <= _ZERO + _MOST_LAST)
        found = found * 10 + (int64(text[at]) - _ZERO)
        at += 1
    fits &= at > begin
    while at < n and (text[at] == _SPACE or text[at] == _RETURN):
        at += 1
    if not fits or (at < n and text[at] != _NEWLINE):
        row[TOLD] = NO_TIME
        at = _line_end(text, n, at)
    return -found if negative else found, at


@njit(**OPTIONS)
def _take_numbers(text: Pointer, words: Pointer, table: Pointer, lowest: float, row: Pointer) -> tuple[float, float]:
    """Return price and size of a line whose places are known, the size NaN where there is none; note its side."""
    if row[PRICE_AT] < 0:
        row[TOLD] = NO_PRICE
        return 0.0, np.nan
    price, row[TOLD] = _number(text, row[PRICE_AT], row[PRICE_END])
    if row[TOLD] == FINE and not lowest <= price <= MAX_PRICE:
        row[TOLD] = BAD_PRICE
    if row[SIZE_AT] < 0 or row[TOLD] > SLOW:
        return price, np.nan
    size, told = _number(text, row[SIZE_AT], row[SIZE_END])
    if told == NO_NUMBER:
        row[TOLD] = NO_SIZE
    elif told == SLOW:
        row[TOLD] = SLOW
    if row[SIDE_AT] >= 0:
        word = _word(text, row[SIDE_AT], row[SIDE_END], words, table, _OF_SIDES)
        if word < 0:
            row[TOLD] = NO_SIDE
        else:
            row[SIGN] = 1 if table[word * WORD_COLUMNS + ROLE] == BOUGHT else -1
            size = abs(size) * row[SIGN]
    return price, size


@njit(**OPTIONS)
def _series(text: Pointer, k: int, places: Pointer, found_at: Pointer, mask: int, seed: int, made: int) -> int:
    """Return the number of the symbol of line `k` among those before it, or `made` for a new one.

    A table that has no place left near where it should be counts it as new: who calls puts those of one name together.
    """
    begin, end = places[k * PLACES + NAME], places[k * PLACES + NAME_END]
    if (
        k
        and end - begin == places[(k - 1) * PLACES + NAME_END] - places[(k - 1) * PLACES + NAME]
        and places[(k - 1) * PLACES + SERIES] >= 0
    ):
        other, i = places[(k - 1) * PLACES + NAME], 0
        while i < end - begin and text[begin + i] == text[other + i]:
            i += 1
        if i == end - begin:
            return int(places[(k - 1) * PLACES + SERIES])
    found = np.uint64(seed)
    for i in range(begin, end):
        found = (found ^ np.uint64(text[i])) * np.uint64(1099511628211)
    found ^= found >> np.uint64(29)
    for probe in range(_MOST_PROBES):
        place = int64(found + np.uint64(probe)) & mask
        first = found_at[place]
        if first < 0:
            found_at[place] = k
            return made
        other = places[first * PLACES + NAME]
        if places[first * PLACES + NAME_END] - other == end - begin:
            i = 0
            while i < end - begin and text[begin + i] == text[other + i]:
                i += 1
            if i == end - begin:
                return int(places[first * PLACES + SERIES])
    return made


@njit(**OPTIONS)
def _time_ns(row: Pointer, time: int, unit_ns: int, now_ns: int) -> int:
    """Return a time in nanoseconds, now for a line without one. Notes BAD_TIME."""
    if row[TIME_AT] < 0:
        return now_ns
    if abs(time) > _MOST_NS // unit_ns and row[TOLD] <= SLOW:
        row[TOLD] = BAD_TIME
    return time * unit_ns


@njit([_READ], **OPTIONS)
def read_lines(
    text: Bytes, words: Bytes, table: Places, seed: int, unit_ns: int, now_ns: int, lowest: float, found_at: Places,
    places: Places, prices: Floats, sizes: Floats, times: Places, counts: Places,
) -> int:  # fmt: skip
    """Read all lines; return how many there are. O(bytes), 0.15 us a line of 80 bytes.

    words, table: the words, in the order in which they are preferred. unit_ns: of the times; now_ns: that of a line
    without one. lowest: the least price. found_at: -1s, a power of two, above lines. places, prices, sizes, times: a
    row for each line; sizes have the sign of their side, times are nanoseconds. Blank lines and comments have none.
    counts: COUNTS of all lines.
    """
    n, at, rows, made, before = len(text), 0, 0, 0, int64(-_MOST_NS)
    counts[:] = 0
    mask = len(found_at) - 1
    text_at, words_at = uint8_pointer(text.ctypes.data), uint8_pointer(words.ctypes.data)
    table_at, places_at = int64_pointer(table.ctypes.data), int64_pointer(places.ctypes.data)
    seen_at = int64_pointer(found_at.ctypes.data)
    leads = np.zeros(LEADS, np.int64)
    lead = int64_pointer(leads.ctypes.data)
    while at < n:
        c = text_at[at]
        if c == _NEWLINE or c == _SPACE or c == _RETURN:
            at += 1
            continue
        if c == _HASH:
            at = _line_end(text_at, n, at)
            continue
        row = int64_pointer(places.ctypes.data + rows * PLACES * 8)
        for i in range(PLACES):
            row[i] = -1
        row[BEGIN], row[TOLD], row[SIGN] = at, NO_FIELDS, 0
        price = size = np.nan
        time = int64(0)
        end = _known_tags(text_at, n, at, lead, row)
        if end < 0:
            end = _tags(text_at, n, at, words_at, table_at, row)
            _remember(lead, at, end, row)
        if end >= 0:
            end = _fields(text_at, n, end, words_at, table_at, row)
        if end >= 0:
            price, size = _take_numbers(text_at, words_at, table_at, lowest, row)
            time, at = _time(text_at, n, end, row)
            time = _time_ns(row, time, unit_ns, now_ns)
        else:
            at = _line_end(text_at, n, at)
        if row[TOLD] <= SLOW:
            row[SERIES] = _series(text_at, rows, places_at, seen_at, mask, seed, made)
            made += row[SERIES] == made
        prices[rows], sizes[rows], times[rows] = price, size, time
        counts[NOT_FINE] += row[TOLD] != FINE
        counts[SLOWLY] += row[TOLD] == SLOW
        counts[BARE] += row[SIZE_AT] < 0
        counts[EARLIER] += time < before
        before = time
        rows += 1
    counts[NAMES] = made
    return rows
