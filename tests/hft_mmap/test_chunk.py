"""A chunk file: where things lie in it, what is written to it, and what is not taken for one."""

import errno
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import FormatError, Limits
from hft_mmap.files.chunk import SEAL_OFFSET, Chunk
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name, first_of, list_chunks
from hft_mmap.tree.kernels import FAN_OUT, MAX_LEVELS, NODE_BYTES
from tests.hft_mmap.damage import flip, rewrite_with_crc, write_at
from tests.hft_mmap.descriptors import open_files

SERIES = bytes(range(16))
IDENTITY_BYTES = 8 + 4 + 16 + 8 + 8


def chunk_in(directory: Path, points: int = 4096, first: int = 0) -> Chunk:
    """Return a new chunk."""
    Chunk.create(directory, SERIES, first, Layout.of(points))
    return Chunk(directory, SERIES, first, Layout.of(points))


def random_prices(n: int) -> NDArray[np.float64]:
    """Return `n` prices."""
    return np.random.default_rng(n).uniform(100, 200, n)


# -- layout -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2**20).map(lambda n: n * FAN_OUT))
def test_nothing_overlaps_in_a_chunk(points: int) -> None:
    """Values, each node level and the footer follow each other without overlap, up to the end of the file."""
    layout = Layout.of(points)
    begin = layout.offsets
    assert begin[0] == 0
    assert begin[1] == 8 * points
    assert 1 <= layout.levels <= MAX_LEVELS
    for level in range(1, layout.levels + 1):
        assert layout.nodes(level) * FAN_OUT**level == points
        end = begin[level] + NODE_BYTES * layout.nodes(level)
        assert end <= (begin[level + 1] if level < layout.levels else layout.footer)
    assert layout.footer % 4096 == 0
    assert layout.size == layout.footer + 4096


def test_a_chunk_of_the_default_size_takes_8_6_bytes_a_point() -> None:
    """Values and nodes together cost less than the promised 8.6 bytes a point."""
    layout = Layout.of(Limits().chunk_points)
    assert layout.levels == 3
    assert layout.size / layout.points < 8.52


@pytest.mark.parametrize("points", [0, -64, 63, 65, 100])
def test_a_chunk_has_whole_leaves(points: int) -> None:
    """A number of points that is no positive multiple of 64 is refused."""
    with pytest.raises(ValueError, match=f"multiple of 64 from 64 to 1099511627776, not {points}"):
        Layout.of(points)


# -- names ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1))
def test_a_chunk_is_named_after_its_first_point(first: int) -> None:
    """The name says the first point, in twenty digits, so that names sort like points."""
    assert first_of(chunk_name(first)) == first
    assert len(chunk_name(first)) == 26
    assert chunk_name(first) <= chunk_name(2**63 - 1)


@pytest.mark.parametrize(
    "name", ["head", "0.chunk", "000000000000000000000.chunk", "-0000000000000000064.chunk", "00000000000000000064",
             "\u0660" * 20 + ".chunk", ".chunk", "00000000000000000064.chunk.bak", "0000000000000000006x.chunk"],
)  # fmt: skip
def test_other_files_are_no_chunks(name: str) -> None:
    """Only twenty ASCII digits and the suffix name a chunk."""
    assert first_of(name) is None


def test_chunks_are_listed_in_the_order_of_their_points(tmp_path: Path) -> None:
    """The chunks of a directory come in ascending order, other files are left out."""
    for name in (chunk_name(640), chunk_name(64), "head", chunk_name(0), "note.txt"):
        (tmp_path / name).touch()
    assert list_chunks(tmp_path) == [0, 64, 640]


# -- writing ----------------------------------------------------------------------------------------------------------


@given(
    cuts=st.lists(st.integers(1, 4095), max_size=12).map(lambda cuts: sorted({0, *cuts, 4096})),
    seed=st.integers(0, 1000),
)
def test_the_file_does_not_depend_on_how_points_were_batched(
    cuts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Values, nodes and seal are the same bytes whichever batches they came in."""
    values = np.random.default_rng(seed).uniform(1e9 - 1, 1e9 + 1, 4096)
    files = []
    for borders in ([0, 4096], cuts):
        chunk = chunk_in(tmp_path_factory.mktemp("chunk"))
        for begin, end in pairwise(borders):
            chunk.write(begin, values[begin:end])
        chunk.seal()
        files.append(chunk.path.read_bytes())
    assert files[0] == files[1]


def test_what_is_written_is_what_the_mapping_shows(tmp_path: Path) -> None:
    """Values show in the read-only mapping as soon as they are written, nodes as soon as they are complete."""
    chunk = chunk_in(tmp_path)
    values = random_prices(100)
    chunk.write(0, values)
    assert np.array_equal(chunk.values[:100], values)
    assert chunk.nodes(1)[0].tolist()[:2] == [values[:64].min(), values[:64].max()]
    assert not chunk.nodes(1)[1:].any()
    with pytest.raises(ValueError, match="read-only"):
        chunk.values[0] = 1.0


def test_points_that_were_never_published_are_overwritten(tmp_path: Path) -> None:
    """Writing again from an earlier place leaves the file as if only the second time had been."""
    second = chunk_in(tmp_path, first=4096)
    second.write(0, random_prices(4096))
    second.write(1000, np.full(3096, 7.0))
    clean = chunk_in(tmp_path, first=4096 * 2)
    clean.write(0, random_prices(4096)[:1000])
    clean.write(1000, np.full(3096, 7.0))
    footer = Layout.of(4096).footer
    assert second.path.read_bytes()[:footer] == clean.path.read_bytes()[:footer]


def test_a_write_that_the_system_refuses_says_why(tmp_path: Path) -> None:
    """The error of the system comes out with its number and the file."""
    chunk = chunk_in(tmp_path)
    chunk.write(0, random_prices(1))
    os.close(chunk.writer())
    read_only = os.open(chunk.path, os.O_RDONLY)
    assert read_only == chunk.writer()
    with pytest.raises(OSError, match=chunk_name(0)) as refusal:
        chunk.write(1, random_prices(10))
    assert refusal.value.errno == errno.EBADF


def test_a_chunk_takes_its_space_when_it_is_written(tmp_path: Path) -> None:
    """A new file has its full length and next to no space; the starting capacity is allocated at once."""
    sparse = chunk_in(tmp_path, 65_536)
    assert sparse.path.stat().st_size == Layout.of(65_536).size
    assert sparse.allocated_bytes() <= 8192
    Chunk.create(tmp_path, SERIES, 65_536, Layout.of(65_536), allocated_points=10_000)
    allocated = (tmp_path / chunk_name(65_536)).stat().st_blocks * 512
    # The values, the nodes of two levels, the identity; each rounded up to whole blocks of 4 KiB.
    assert 80_000 + 5000 <= allocated <= 80_000 + 5000 + 5 * 4096


def test_more_starting_capacity_than_a_chunk_has_is_a_whole_chunk(tmp_path: Path) -> None:
    """Space is allocated for the values of one chunk at most."""
    Chunk.create(tmp_path, SERIES, 0, Layout.of(4096), allocated_points=10**9)
    assert (tmp_path / chunk_name(0)).stat().st_blocks * 512 <= Layout.of(4096).size


def test_a_leftover_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    """A file from an append that was never published is replaced by an empty chunk."""
    chunk_in(tmp_path).write(0, random_prices(4096))
    assert not chunk_in(tmp_path).values.any()


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    """A chunk that nobody holds any more keeps no file open."""
    for i in range(5):
        chunk_in(tmp_path, first=4096 * i).write(0, random_prices(10))
    assert open_files(tmp_path) == []


def test_an_unlinked_chunk_can_still_be_read(tmp_path: Path) -> None:
    """A mapping outlives the file's name, so a reader goes on through a cleanup; the space counts as free."""
    chunk = chunk_in(tmp_path)
    chunk.write(0, random_prices(4096))
    chunk.path.unlink()
    assert np.array_equal(chunk.values, random_prices(4096))
    assert chunk.allocated_bytes() == 0


# -- seals ------------------------------------------------------------------------------------------------------------


def test_a_seal_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The seal holds the root node and the checksums of the values and of the nodes."""
    chunk = chunk_in(tmp_path)
    assert chunk.read_seal() is None
    chunk.write(0, random_prices(4096))
    chunk.seal()
    seal = chunk.read_seal()
    assert seal is not None
    assert seal.root == tuple(chunk.root().tolist()) == tuple(chunk.nodes(2)[0].tolist())
    assert (seal.values_crc, seal.nodes_crc) == chunk.checksums()


def test_a_seal_can_be_removed(tmp_path: Path) -> None:
    """A chunk that has to take other points again is as if it had never been sealed."""
    chunk = chunk_in(tmp_path)
    chunk.write(0, random_prices(4096))
    before = chunk.path.read_bytes()
    chunk.seal()
    chunk.unseal()
    assert chunk.read_seal() is None
    assert chunk.path.read_bytes() == before


def test_a_damaged_seal_is_told_from_none(tmp_path: Path) -> None:
    """A seal with a wrong checksum is an error, not a chunk without a seal."""
    chunk = chunk_in(tmp_path)
    chunk.seal()
    flip(chunk.path, Layout.of(4096).footer + SEAL_OFFSET + 3)
    with pytest.raises(FormatError, match="the seal is damaged"):
        chunk.read_seal()


# -- opening ----------------------------------------------------------------------------------------------------------

FOOTER = Layout.of(4096).footer


def rewrite(path: Path, at: int, data: bytes) -> None:
    """Overwrite a part of a chunk's identity and make its checksum fit."""
    rewrite_with_crc(path, FOOTER, IDENTITY_BYTES, at, data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: os.truncate(path, 100), "has 100 bytes instead of"),
        (lambda path: os.truncate(path, 10**6), "has 1000000 bytes instead of"),
        (lambda path: write_at(path, FOOTER, b"X"), "damaged: its identity is not sound"),
        (lambda path: flip(path, FOOTER + IDENTITY_BYTES), "damaged: its identity is not sound"),
        (lambda path: rewrite(path, 8, b"\2"), "format version 2, this release reads version 1"),
        (lambda path: rewrite(path, 12, b"other"), "belongs to another series"),
        (lambda path: rewrite(path, 28, b"\7"), "holds 4096 points from 7, not 4096 from 0"),
    ],
    ids=["short", "long", "magic", "torn", "version", "series", "first"],
)  # fmt: skip
def test_a_file_that_is_not_this_chunk_is_refused_with_the_reason(tmp_path: Path, damage: object, reason: str) -> None:
    """Another size, version, series or place is refused before anything is read; nothing stays open."""
    path = chunk_in(tmp_path).path
    damage(path)  # type: ignore[operator]
    with pytest.raises(FormatError, match=reason):
        Chunk(tmp_path, SERIES, 0, Layout.of(4096))
    assert open_files(tmp_path) == []


def test_a_chunk_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A missing file is told from a damaged one."""
    with pytest.raises(FileNotFoundError):
        Chunk(tmp_path, SERIES, 64, Layout.of(64))


def mapped_bytes(path: Path) -> int:
    """Return how much of a file counts as memory of this process."""
    found = 0
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        if str(path) in block.partition("\n")[0]:
            found += 1024 * sum(int(kib) for kib in re.findall(r"^Rss:\s+(\d+) kB$", block, re.MULTILINE))
    return found


def test_pages_can_be_forgotten_and_come_back(tmp_path: Path) -> None:
    """They stop counting as memory of the process, and read as before."""
    layout = Layout.of(64 * 1024)
    Chunk.create(tmp_path, bytes(16), 0, layout)
    chunk = Chunk(tmp_path, bytes(16), 0, layout)
    prices = np.arange(layout.points, dtype=np.float64)
    chunk.write(0, prices)
    assert chunk.values.sum() == prices.sum()
    assert mapped_bytes(chunk.path) >= 8 * layout.points
    chunk.forget_pages()
    assert mapped_bytes(chunk.path) == 0
    assert np.array_equal(chunk.values, prices)
    chunk.close_writer()
