"""hft_mmap.durable.repair: nodes rebuilt from values, and values left alone."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Limits, Store, StoreReadOnly, SymbolNotFound
from hft_mmap.files.chunk import SEAL_OFFSET
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import restart_machine
from tests.hft_mmap.damage import tear_slots, write_at

POINTS = 8192
LAYOUT = Layout.of(POINTS)
LIMITS = Limits(chunk_points=POINTS, starting_capacity=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a closed store of one symbol: two sealed chunks and a part of a third."""
    with Store(tmp_path / "data", limits=LIMITS) as store:
        store.append("A", np.random.default_rng(7).uniform(100, 200, 2 * POINTS + 1000))
    return tmp_path / "data"


def flip(data: Path, first: int, offset: int) -> bytes:
    """Flip one bit of a chunk file and return the file as it is then."""
    path = data / "A" / chunk_name(first)
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)
    return bytes(raw)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("first", [0, POINTS])
def test_a_damaged_node_is_rebuilt(data: Path, first: int, level: int) -> None:
    """A flipped bit in a node of a sealed chunk is found, repaired from the values, and gone."""
    flip(data, first, LAYOUT.offsets[level] + 7)
    with Store(data) as store:
        assert store.verify("A")[0].faults
        (report,) = store.repair("A")
        assert report.repaired
        assert report.remaining == ()
        assert store.verify("A")[0].faults == ()


def test_a_damaged_node_of_the_growing_chunk_is_rebuilt(data: Path) -> None:
    """A chunk that is not sealed yet is repaired as well."""
    flip(data, 2 * POINTS, LAYOUT.offsets[1] + 1)
    with Store(data) as store:
        assert store.repair()[0].remaining == ()
        assert store.verify()[0].faults == ()


def test_a_damaged_seal_is_written_again(data: Path) -> None:
    """A seal that does not fit its own checksum is reported, kept by the next start, and made anew by repair."""
    flip(data, 0, LAYOUT.footer + SEAL_OFFSET)
    with Store(data) as store:
        store.sync()
    with Store(data) as store:
        assert store.verify()[0].faults == (f"{chunk_name(0)}: the seal is damaged",)
        assert store.repair()[0].remaining == ()
        assert store.verify()[0].faults == ()


def test_values_are_never_touched(data: Path) -> None:
    """Where a sealed value was damaged, repair reports the points and leaves every byte as it is."""
    before = flip(data, POINTS, 8 * 5)
    with Store(data) as store:
        (report,) = store.repair("A")
    assert report.repaired == ()
    assert any("checksum of the values" in fault and "points 8192 to 16383" in fault for fault in report.remaining)
    assert (data / "A" / chunk_name(POINTS)).read_bytes() == before


def test_no_seal_vouches_for_a_value_that_is_no_price(data: Path) -> None:
    """A full chunk that has no seal yet, or a damaged one, gets none while it has such a value."""
    flip(data, 0, LAYOUT.footer + SEAL_OFFSET)
    write_at(data / "A" / chunk_name(0), 8 * 7, np.float64(-1.0).tobytes())
    before = (data / "A" / chunk_name(0)).read_bytes()
    with Store(data) as store:
        (report,) = store.repair("A")
    assert report.repaired == ()
    assert f"{chunk_name(0)}: point 7 is np.float64(-1.0), which is no price" in report.remaining
    assert (data / "A" / chunk_name(0)).read_bytes() == before


def test_a_sound_series_is_left_alone(data: Path) -> None:
    """Nothing is written where nothing is wrong."""
    before = {path: path.read_bytes() for path in (data / "A").glob("*.chunk")}
    with Store(data) as store:
        assert store.repair() == [("A", (), ())]
    assert {path: path.read_bytes() for path in (data / "A").glob("*.chunk")} == before


def test_a_missing_chunk_is_reported_with_its_points(data: Path) -> None:
    """What can't be rebuilt is named."""
    (data / "A" / chunk_name(0)).unlink()
    with Store(data) as store:
        (report,) = store.repair("A")
    assert report.remaining[0].startswith("points 0 to 8191:")


def test_an_unknown_symbol_is_refused(data: Path) -> None:
    """A typing error repairs nothing."""
    with Store(data) as store, pytest.raises(SymbolNotFound, match="Symbol not found: B"):
        store.repair("B")


def test_a_store_opened_for_reading_repairs_nothing(data: Path) -> None:
    """mode="r" never writes."""
    with Store(data, mode="r") as store, pytest.raises(StoreReadOnly):
        store.repair()


def test_a_head_that_cannot_be_trusted_is_reported(data: Path) -> None:
    """Repair touches no series whose head is damaged, and says what is wrong with it."""
    head = data / "A" / "head"
    raw = head.read_bytes()
    with Store(data) as store:
        write_at(head, 0, b"x")  # not by a file that is cut first: the store has it mapped, and may be committing
        assert store.repair() == [("A", (), ("head: head file does not start with the magic of a head file",))]
        write_at(head, 0, raw)
        tear_slots(data / "A", 0, 1)
        restart_machine(data)
        (report,) = store.repair()
        assert report.repaired == ()
        assert "neither commit slot is valid" in report.remaining[0]
