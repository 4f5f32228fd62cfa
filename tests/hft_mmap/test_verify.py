"""verify: every flipped bit is named, with the points it concerns."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Limits, Store
from hft_mmap.files.chunk import SEAL_OFFSET
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name
from tests.hft_mmap.damage import contents, flip, write_at

POINTS = 8192
LAYOUT = Layout.of(POINTS)
LIMITS = Limits(chunk_points=POINTS, starting_capacity=0)
TOTAL = 2 * POINTS + 1000
FIRST, LAST = chunk_name(0), chunk_name(2 * POINTS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a closed store of one symbol: two sealed chunks and a part of a third."""
    with Store(tmp_path / "data", limits=LIMITS) as store:
        store.append("A", np.random.default_rng(5).uniform(100, 200, TOTAL))
    return tmp_path / "data"


def faults_of(data: Path) -> tuple[str, ...]:
    """Return what verify finds in A, and make sure that it changes nothing."""
    before = contents(data / "A")
    with Store(data, mode="r") as store:
        (report,) = store.verify("A")
    assert contents(data / "A") == before
    assert (report.symbol, report.points) == ("A", TOTAL)
    return report.faults


def test_a_sound_store_has_no_faults(data: Path) -> None:
    """All points and all complete nodes of every level are counted."""
    with Store(data) as store:
        (report,) = store.verify()
    nodes = 2 * (POINTS // 64 + POINTS // 4096) + 1000 // 64
    assert report == ("A", TOTAL, nodes, ())


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("point", [0, 4095, POINTS - 1])
def test_a_flipped_bit_in_a_value_is_found(data: Path, point: int, bit: int) -> None:
    """The checksum of the chunk tells, and names the points that it covers."""
    raw = (data / "A" / FIRST).read_bytes()
    write_at(data / "A" / FIRST, 8 * point + bit, bytes([raw[8 * point + bit] ^ (1 << bit)]))
    assert f"{FIRST}: the checksum of the values is wrong (points 0 to {POINTS - 1})" in faults_of(data)


def test_a_flipped_value_changes_its_node_too(data: Path) -> None:
    """A value of the growing chunk has no checksum yet; below a complete node it is found by that node."""
    flip(data / "A" / LAST, 8 * 70 + 6)
    begin = 2 * POINTS + 64
    assert faults_of(data) == (f"{LAST}: level 1 node 1 differs from its children (points {begin} to {begin + 63})",)


def test_a_value_that_is_no_price_is_found(data: Path) -> None:
    """A NaN, a negative number or -0.0 in the file is named, wherever it is."""
    for value in (float("nan"), -1.0, -0.0):
        write_at(data / "A" / LAST, 8 * 999, np.float64(value).tobytes())
        assert faults_of(data) == (f"{LAST}: point {TOTAL - 1} is np.float64({value}), which is no price",)


def test_every_run_of_values_that_are_no_prices_is_named(data: Path) -> None:
    """Up to twenty of them in a chunk; then how many more there are, and where the last is."""
    write_at(data / "A" / LAST, 8 * 10, np.full(5, np.nan).tobytes())
    write_at(data / "A" / LAST, 8 * 20, np.full(1, -0.0).tobytes())
    found = [fault for fault in faults_of(data) if "no price" in fault]
    first = 2 * POINTS
    assert found == [
        f"{LAST}: points {first + 10} to {first + 14} are no prices, the first is np.float64(nan)",
        f"{LAST}: point {first + 20} is np.float64(-0.0), which is no price",
    ]
    for place in range(30, 90, 2):
        write_at(data / "A" / LAST, 8 * place, np.full(1, np.inf).tobytes())
    found = [fault for fault in faults_of(data) if "no price" in fault]
    assert len(found) == 21
    assert found[-1] == f"{LAST}: 12 more values are no prices, the last is point {first + 88}"


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize(
    ("level", "index", "points"), [(1, 0, "0 to 63"), (1, 127, "8128 to 8191"), (2, 1, "4096 to 8191")]
)
def test_a_flipped_bit_in_a_node_is_found(data: Path, level: int, index: int, points: str, field: int) -> None:
    """Each field of a node is compared bit for bit with what its children give."""
    flip(data / "A" / FIRST, LAYOUT.offsets[level] + 32 * index + 8 * field)
    faults = faults_of(data)
    assert f"{FIRST}: level {level} node {index} differs from its children (points {points})" in faults
    assert f"{FIRST}: the checksum of the nodes is wrong (points 0 to 8191)" in faults


def test_a_flipped_bit_in_a_seal_is_found(data: Path) -> None:
    """A seal that does not fit its own checksum is named."""
    flip(data / "A" / FIRST, LAYOUT.footer + SEAL_OFFSET + 5)
    assert faults_of(data) == (f"{FIRST}: the seal is damaged",)


def test_bytes_behind_the_total_do_not_matter(data: Path) -> None:
    """What lies above the published points may hold anything."""
    write_at(data / "A" / LAST, 8 * 1000, b"\xff" * 800)
    assert faults_of(data) == ()


def test_missing_and_damaged_chunks_are_named_with_their_points(data: Path) -> None:
    """Each chunk that can't be read is one fault; the others are checked all the same."""
    (data / "A" / FIRST).unlink()
    flip(data / "A" / LAST, LAYOUT.footer)
    first, last = faults_of(data)
    assert first.startswith("points 0 to 8191: ")
    assert first.endswith(f"No such file or directory: '{data}/A/{FIRST}'")
    assert last == f"points 16384 to {TOTAL - 1}: chunk {LAST} is damaged: its identity is not sound"


def test_every_symbol_is_reported(data: Path) -> None:
    """Without a symbol all are checked, those that are set aside as well."""
    with Store(data) as store:
        store.append("B", [1.0])
    flip(data / "A" / "head", 30)
    with Store(data) as store:
        reports = {report.symbol: report for report in store.verify()}
    assert reports["A"] == ("A", 0, 0, ("head: head file has a wrong identity checksum",))
    assert reports["B"] == ("B", 1, 0, ())
