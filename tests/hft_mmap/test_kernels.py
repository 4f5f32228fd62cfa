"""The kernels against exact rationals, over chunks so small that every level and every chunk border is met."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from hft_mmap.files.layout import Layout
from hft_mmap.stats import WindowStats, exact_window_stats
from hft_mmap.testing import RELATIVE_ERROR, UNDERFLOW, assert_close
from hft_mmap.tree.fold import (
    TABLE_ADDRESSES,
    TABLE_CHUNK_POINTS,
    TABLE_CHUNKS,
    TABLE_FIRST_POINT,
    TABLE_LEVEL_OFFSETS,
    TABLE_LEVELS,
    TABLE_ROOTS,
    fold_newest,
    fold_window,
    fold_windows,
)
from hft_mmap.tree.kernels import (
    FAN_OUT,
    MAX_PRICE,
    NODE_FIELDS,
    VALID,
    VALID_WITH_NEGATIVE_ZERO,
    find_invalid,
    find_invalid_signed,
    summarise_nodes,
    summarise_values,
)
from hft_mmap.tree.words import SALT, START

Floats = NDArray[np.float64]

CHUNK_POINTS = [64, 320, 4096, 8192]
LARGEST_SUBNORMAL = math.nextafter(2.0**-1022, 0)
KINDS = ["uniform", "far", "ticks", "wide", "huge", "subnormal", "near_underflow", "constant", "zero", "outlier"]


def prices(kind: str, n: int, seed: int) -> Floats:
    """Return `n` prices of a kind that is hard in a way of its own."""
    rng = np.random.default_rng(seed)
    found: Floats
    match kind:
        case "uniform":
            found = rng.uniform(100, 200, n)
        case "far":  # a spread of 1e-9 of the prices: E[x^2] - E[x]^2 has no correct digit left
            found = rng.uniform(1e9 - 1, 1e9 + 1, n)
        case "ticks":
            found = rng.integers(14_997, 15_004, n) / 100
        case "wide":
            found = np.exp(rng.uniform(-322, 322, n))
        case "huge":
            found = rng.uniform(0.999999999, 1.0, n) * MAX_PRICE
        case "subnormal":
            found = rng.uniform(0, LARGEST_SUBNORMAL, n)
        case "near_underflow":  # squares of deviations lie around the smallest normal number
            found = rng.uniform(0, 1e-153, n)
        case "constant":
            found = np.full(n, rng.uniform(0, 1000))
        case "zero":
            found = np.zeros(n)
        case _:  # one price that dwarfs the others
            found = rng.uniform(1, 2, n)
            found[rng.integers(n)] = 1e15
    return found


class Tree:
    """Values with their node levels in plain memory, and the table that the fold kernels take."""

    def __init__(self, values: Floats, points: int, first: int = 0) -> None:
        """Lay `values` out in chunks of `points`; the first value is point number `first`, a multiple of `points`."""
        layout = Layout.of(points)
        chunks = -(-len(values) // points)
        self.buffers = np.full((chunks, layout.size // 8), np.nan)
        self.table = np.zeros(TABLE_ADDRESSES + chunks, dtype=np.int64)
        self.table[TABLE_CHUNK_POINTS] = points
        self.table[TABLE_FIRST_POINT] = first
        self.table[TABLE_LEVELS] = layout.levels
        self.table[TABLE_LEVEL_OFFSETS : TABLE_LEVEL_OFFSETS + layout.levels + 1] = np.array(layout.offsets) // 8
        roots = []
        for i, buffer in enumerate(self.buffers):
            part = values[i * points : (i + 1) * points]
            buffer[: len(part)] = part
            self.table[TABLE_ADDRESSES + i] = buffer.ctypes.data
            for level in range(1, layout.levels + 1):
                nodes = nodes_of(buffer, layout, level, len(part) // FAN_OUT**level)
                begin = layout.offsets[level] // 8
                buffer[begin : begin + nodes.size] = nodes.ravel()
            if i < chunks - 1:
                root = np.empty((1, NODE_FIELDS))
                top = layout.levels
                address = buffer.ctypes.data + layout.offsets[top]
                summarise_nodes(address, FAN_OUT**top, layout.nodes(top), 0, root)
                roots.append(root[0])
        self.roots = np.concatenate(roots) if roots else np.empty(0)
        self.table[TABLE_CHUNKS] = chunks
        self.table[TABLE_ROOTS] = self.roots.ctypes.data

    def fold(self, lo: int, hi: int) -> WindowStats:
        """Return the statistics of the points [lo, hi)."""
        low, high, last, avg, var = fold_window(self.table, self.roots, lo, hi)
        return WindowStats(low, high, last, avg, var, hi - lo)

    def newest(self, words: NDArray[np.int64], window: int) -> WindowStats | None:
        """Return the statistics of the newest `window` points where `words` begin with total, start, or None."""
        found = fold_newest(self.table.ctypes.data, words.ctypes.data, window)
        return WindowStats(*found) if found[5] else None


def nodes_of(buffer: Floats, layout: Layout, level: int, count: int) -> Floats:
    """Return the first `count` nodes of `level`, from what lies below it in `buffer`."""
    nodes = np.empty((count, NODE_FIELDS))
    if level == 1:
        summarise_values(buffer.ctypes.data, 0, nodes)
    else:
        below = buffer.ctypes.data + layout.offsets[level - 1]
        summarise_nodes(below, FAN_OUT ** (level - 1), FAN_OUT, 0, nodes)
    return nodes


def assert_node_close(node: Floats, values: Floats) -> None:
    """Assert that a node summarises `values`: min and max to the bit, the mean and m2 within the tolerance."""
    exact = exact_window_stats(values.tolist(), len(values))
    low, high, mean_minus_min, m2 = node.tolist()
    assert (low, high) == (exact.min, exact.max)
    assert math.isclose(low + mean_minus_min, exact.avg, rel_tol=RELATIVE_ERROR, abs_tol=UNDERFLOW)
    assert math.isclose(m2, exact.var * len(values), rel_tol=RELATIVE_ERROR, abs_tol=UNDERFLOW * len(values))


# -- validation -------------------------------------------------------------------------------------------------------


@given(npst.arrays(np.float64, st.integers(0, 100), elements=st.floats()))
def test_the_first_value_that_is_no_price_is_found(values: Floats) -> None:
    """find_invalid names the first of NaN, infinity, negative or above 1e140, and tells -0.0 from prices."""
    bad = [i for i, x in enumerate(values.tolist()) if not 0 <= x <= MAX_PRICE]
    negative_zero = any(x == 0 and math.copysign(1, x) < 0 for x in values.tolist())
    expected = bad[0] if bad else VALID_WITH_NEGATIVE_ZERO if negative_zero else VALID
    assert find_invalid(values) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, -5e-324, math.nextafter(MAX_PRICE, math.inf)])
@pytest.mark.parametrize("place", [0, 1, 63, 64, 998, 999])
def test_one_bad_value_anywhere_is_found(bad: float, place: int) -> None:
    """A single value that is no price is found at the beginning, in the middle and at the end of a batch."""
    values = np.full(1000, 5.0)
    values[place] = bad
    assert find_invalid(values) == place


@given(npst.arrays(np.float64, st.integers(0, 100), elements=st.floats()))
def test_the_first_value_that_is_no_price_of_any_sign_is_found(values: Floats) -> None:
    """find_invalid_signed names the first of NaN, infinity or beyond 1e140, and tells -0.0 from prices."""
    bad = [i for i, x in enumerate(values.tolist()) if not abs(x) <= MAX_PRICE]
    negative_zero = any(x == 0 and math.copysign(1, x) < 0 for x in values.tolist())
    expected = bad[0] if bad else VALID_WITH_NEGATIVE_ZERO if negative_zero else VALID
    assert find_invalid_signed(values) == expected


@pytest.mark.parametrize("good", [0.0, 5e-324, 1.0, MAX_PRICE])
def test_the_limits_of_a_price_are_prices(good: float) -> None:
    """Zero, the smallest subnormal and the largest price are valid, in arrays that can't be written to as well."""
    values = np.full(10, good)
    values.flags.writeable = False
    assert find_invalid(values) == VALID


# -- nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", CHUNK_POINTS)
def test_nodes_of_every_level_summarise_what_lies_below(points: int, kind: str) -> None:
    """A node holds min, max, mean and m2 of its 64^level values, whatever they are."""
    values = prices(kind, points, seed=points)
    layout = Layout.of(points)
    buffer = Tree(values, points).buffers[0]
    for level in range(1, layout.levels + 1):
        nodes = nodes_of(buffer, layout, level, layout.nodes(level))
        for index in {0, layout.nodes(level) // 2, layout.nodes(level) - 1}:
            width = FAN_OUT**level
            assert_node_close(nodes[index], values[index * width : (index + 1) * width])


@given(st.lists(st.floats(0, MAX_PRICE), min_size=64, max_size=64))
@example([0.0] * 63 + [5e-324])
@example([MAX_PRICE] * 32 + [0.0] * 32)
def test_a_leaf_summarises_any_64_prices(values: list[float]) -> None:
    """The four lanes of the leaf kernel agree with the definition for any prices, in any order."""
    array = np.array(values) + 0.0
    node = np.empty((1, NODE_FIELDS))
    summarise_values(array.ctypes.data, 0, node)
    assert_node_close(node[0], array)


def test_nodes_do_not_depend_on_how_they_are_batched() -> None:
    """Nodes made in one call, one by one, or in pieces are the same bits."""
    values = prices("far", 64 * 50, seed=1)
    whole = np.empty((50, NODE_FIELDS))
    summarise_values(values.ctypes.data, 0, whole)
    for step in (1, 7, 49):
        pieces = []
        for first in range(0, 50, step):
            piece = np.empty((min(step, 50 - first), NODE_FIELDS))
            summarise_values(values.ctypes.data, first, piece)
            pieces.append(piece)
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_any_window_is_exact(points: int, kind: str, data: st.DataObject) -> None:
    """min, max and last are exact and avg and var within 1e-12 for any [lo, hi), over several chunks."""
    n = data.draw(st.integers(1, 3 * points + 70), label="n")
    hi = data.draw(st.integers(1, n), label="hi")
    lo = data.draw(st.integers(0, hi - 1), label="lo")
    values = prices(kind, n, data.draw(st.integers(0, 2**32 - 1), label="seed"))
    assert_close(Tree(values, points).fold(lo, hi), exact_window_stats(values[lo:hi].tolist(), hi - lo))


@given(data=st.data(), values=st.lists(st.floats(0, MAX_PRICE).map(lambda x: x + 0.0), min_size=1, max_size=300))
def test_a_window_over_any_prices_is_exact(data: st.DataObject, values: list[float]) -> None:
    """Prices that have nothing to do with each other, subnormal or huge, are no exception."""
    hi = data.draw(st.integers(1, len(values)))
    lo = data.draw(st.integers(0, hi - 1))
    assert_close(Tree(np.array(values), 64).fold(lo, hi), exact_window_stats(values[lo:hi], hi - lo))


@pytest.mark.parametrize("points", CHUNK_POINTS)
def test_every_border_of_a_window_is_met(points: int) -> None:
    """Windows that begin and end on, before and after the borders of nodes and chunks have all of their points."""
    n = 2 * points + 65
    values = prices("ticks", n, seed=3)
    tree = Tree(values, points)
    borders = [0, 1, 63, 64, 65, points - 64, points - 1, points, points + 1, points + 64, 2 * points, n - 1, n]
    for lo in borders:
        for hi in (border for border in borders if border > lo):
            assert_close(tree.fold(lo, hi), exact_window_stats(values[lo:hi].tolist(), hi - lo))


def test_points_are_counted_from_the_first_chunk_that_is_mapped() -> None:
    """A table that starts at a later chunk, as after a cleanup, answers for the same point numbers."""
    values = prices("uniform", 64 * 10, seed=4)
    whole = Tree(values, 64)
    later = Tree(values[64 * 7 :], 64, first=64 * 7)
    assert later.fold(64 * 7 + 5, 64 * 10) == whole.fold(64 * 7 + 5, 64 * 10)


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_several_windows_in_one_walk_are_the_same_as_one_by_one(points: int, data: st.DataObject) -> None:
    """fold_windows gives the bits that fold_window gives, and all that is kept where a window is larger."""
    n = data.draw(st.integers(1, 3 * points))
    start = data.draw(st.integers(0, n - 1))
    tree = Tree(prices("uniform", n, seed=n), points)
    windows = [1, 10, 64, 1000, 10**8]
    out = np.empty((len(windows), 5))
    fold_windows(tree.table, tree.roots, start, n, np.array(windows), out)
    expected = [fold_window(tree.table, tree.roots, max(start, n - w), n) for w in windows]
    assert [tuple(row) for row in out.tolist()] == expected


@given(data=st.data())
@pytest.mark.parametrize("points", CHUNK_POINTS)
def test_the_newest_points_in_one_call_are_the_same_as_step_by_step(points: int, data: st.DataObject) -> None:
    """fold_newest finds the bounds itself, and gives the bits that fold_window gives."""
    first = points * data.draw(st.integers(0, 3), "chunks dropped")
    n = data.draw(st.integers(1, 3 * points), "n")
    tree = Tree(prices("uniform", n, seed=n), points, first)
    start = first + data.draw(st.integers(0, n - 1), "start")
    words = np.array([first + n, start, *[0] * (SALT - START)])
    window = data.draw(st.integers(1, 4 * points), "window")
    size = min(window, first + n - start)
    assert tree.newest(words, window) == tree.fold(first + n - size, first + n)


@pytest.mark.parametrize(
    ("start", "total"),
    [
        pytest.param(640, 640, id="nothing is stored"),
        pytest.param(319, 640, id="the oldest chunk was dropped"),
        pytest.param(640, 961, id="another process has added a chunk"),
        pytest.param(1280, 1300, id="another process has dropped all of them"),
    ],
)
def test_the_newest_points_are_no_answer_where_the_chunks_do_not_cover_them(start: int, total: int) -> None:
    """fold_newest never reads beyond the chunks that are mapped: the caller then maps what is missing."""
    tree = Tree(prices("uniform", 640, seed=1), 320, first=320)
    assert tree.newest(np.array([total, start, *[0] * (SALT - START)]), 10) is None


# -- numbers that are known -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [64, 320, 8192, 262_144])
def test_a_million_points_at_1e9_keep_twelve_digits(points: int) -> None:
    """The avg and var of 1e6 points, uniform in 1e9 +- 1, are within 1e-12 of the exact rationals."""
    n = 1_000_000
    values = np.random.default_rng(2024).uniform(1e9 - 1, 1e9 + 1, n)
    # Near 1e9 a float64 is a multiple of 2^-23: as whole numbers, the distances to 1e9 add up without rounding.
    distances = ((values - 1e9) * 2**23).astype(np.int64)
    assert np.array_equal(distances / 2**23 + 1e9, values)
    s1 = int(distances.sum())
    s2 = sum(int((block * block).sum()) for block in np.array_split(distances, 1000))
    avg = 10**9 + s1 / (n * 2**23)
    var = (n * s2 - s1 * s1) / (n * n * 2**46)
    actual = Tree(values, points).fold(0, n)
    assert_close(actual, WindowStats(values.min(), values.max(), values[-1], avg, var, n))


@pytest.mark.parametrize("points", CHUNK_POINTS)
@pytest.mark.parametrize("price", [0.0, 5e-324, 0.1, 123.456, 1e9 + 0.1, MAX_PRICE])
def test_a_constant_has_no_variance(price: float, points: int) -> None:
    """Equal prices have var 0.0 and avg equal to the price, to the bit, over any number of nodes and chunks."""
    tree = Tree(np.full(3 * points + 17, price), points)
    for lo in (0, 5, points, 2 * points + 1):
        stats = tree.fold(lo, 3 * points + 17)
        assert (stats.min, stats.max, stats.last, stats.avg, stats.var) == (price, price, price, price, 0.0)


def test_the_largest_prices_do_not_overflow() -> None:
    """Half zeros and half 1e140 give a finite variance of 2.5e279."""
    stats = Tree(np.tile([0.0, MAX_PRICE], 10_000), 8192).fold(0, 20_000)
    assert_close(stats, WindowStats(0.0, MAX_PRICE, MAX_PRICE, MAX_PRICE / 2, 2.5e279, 20_000))
