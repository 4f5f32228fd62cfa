"""A record of the log is read as it was written, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cluster.block import NO_POINTS, BadBlock, Block, Entry, Kind, decode, encode, encode_entry
from hft_mmap import Ticks

_PRICES = st.lists(st.floats(0, 1e140), min_size=1, max_size=20)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    symbol = draw(st.text("Ab1/.% -€日本円", min_size=1, max_size=16))
    kind = draw(st.sampled_from(Kind))
    if kind is Kind.LIMITS:
        return Entry(kind, "", 0, NO_POINTS, tuple(draw(st.lists(st.integers(0, 2**62), max_size=3))))
    if kind is Kind.MOVED:
        return Entry(kind, symbol, 0, NO_POINTS, (draw(st.integers(0, 1023)),))
    if kind is Kind.SEAL:
        return Entry(kind, symbol, draw(st.integers(0, 2**62)), NO_POINTS)
    prices = np.array(draw(_PRICES))
    times = np.arange(len(prices), dtype=np.int64) if draw(st.booleans()) else None
    sizes = -prices if draw(st.booleans()) else None
    return Entry(kind, symbol, draw(st.integers(0, 2**62)), Ticks(prices, times, sizes))


def _told(block: Block) -> list[object]:
    return [
        (one.kind, one.symbol, one.offset, one.numbers, [None if c is None else c.tobytes() for c in one.batch])
        for one in block.entries
    ]


@given(st.lists(_entries(), max_size=5), st.integers(0, 2**63), st.binary(min_size=16, max_size=16))
def test_a_block_is_read_as_it_was_written(entries: list[Entry], prev: int, parent: bytes) -> None:
    """A block is read as it was written."""
    ident, data = encode(prev, parent, [encode_entry(one) for one in entries])
    block = decode(data)
    assert (block.ident, block.prev, block.parent) == (ident, prev, parent)
    assert _told(block) == _told(Block(ident, prev, parent, tuple(entries)))


def test_each_byte_of_a_block_that_was_changed_is_found() -> None:
    """Each byte of a block that was changed is found."""
    ticks = Ticks(np.array([1.0, 2.0]), np.array([1, 2]), np.array([3.0, -4.0]))
    _, data = encode(7, bytes(range(16)), [encode_entry(Entry(Kind.APPEND, "ABC-USD", 5, ticks))])
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            with pytest.raises(BadBlock):
                decode(bytes(changed))


def test_a_block_that_was_cut_or_went_on_is_found() -> None:
    """A block that was cut or went on is found."""
    _, data = encode(7, bytes(16), [encode_entry(Entry(Kind.APPEND, "A", 5, Ticks(np.ones(3))))])
    for size in range(len(data)):
        with pytest.raises(BadBlock):
            decode(data[:size])
    with pytest.raises(BadBlock):
        decode(data + bytes(8))


def test_two_blocks_of_the_same_batch_are_told_apart() -> None:
    """Two blocks of the same batch are told apart."""
    entry = encode_entry(Entry(Kind.APPEND, "A", 5, Ticks(np.ones(3))))
    assert encode(1, bytes(16), [entry])[0] != encode(1, bytes(16), [entry])[0]


def test_a_kind_of_a_later_release_is_refused() -> None:
    """A kind of a later release is refused."""
    entry = bytearray(encode_entry(Entry(Kind.SEAL, "A", 5, NO_POINTS)))
    entry[0] = 9
    _, data = encode(1, bytes(16), [bytes(entry)])
    with pytest.raises(BadBlock, match="later release"):
        decode(data)
