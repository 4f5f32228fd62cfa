"""The head file: what is written is read back, and nothing else is taken for it."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_mmap import FormatError
from hft_mmap.files.blocks import (
    MAX_TOTAL,
    Commit,
    Identity,
    decode_commit,
    decode_identity,
    encode_commit,
    encode_identity,
    is_damaged_slot,
)
from hft_mmap.files.boot import Boot, current_boot
from hft_mmap.files.head import HEAD_NAME, SLOT_OFFSETS, Head, identity_of_bytes
from hft_mmap.files.layout import KINDS
from hft_mmap.files.marks import Mark
from hft_mmap.tree.words import FLAGS, HEAD_BYTES, START, TOTAL
from tests.hft_mmap.damage import rewrite_with_crc, write_at
from tests.hft_mmap.descriptors import open_files
from tests.hft_mmap.test_symbols import SYMBOLS

WORDS = st.integers(0, 2**63 - 1)
BOOTS = st.builds(Boot, st.binary(min_size=16, max_size=16), WORDS)
IDENTITIES = st.builds(Identity, SYMBOLS, WORDS, st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16), WORDS)
TOTALS = st.integers(0, MAX_TOTAL)
MARKS = st.none() | st.builds(Mark, st.integers(1, 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
COMMITS = st.builds(Commit, st.integers(1, 2**64 - 1), TOTALS, st.just(0), WORDS, BOOTS, st.booleans(), MARKS)

IDENTITY = Identity("ABC-USD", 4096, 64, bytes(range(16)), 1)
BOOT = Boot(bytes(range(16)), 5)
IDENTITY_BYTES = 8 + 4 + 4 + 8 + 16 + 8 + 2 + 64


@pytest.fixture
def head(tmp_path: Path) -> Head:
    """Return a new head, open for writing."""
    Head.create(tmp_path, IDENTITY, Commit(1, 0, 0, 0, BOOT, clean=False), live=BOOT)
    return Head(tmp_path, writable=True)


def padded(block: bytes) -> bytes:
    """Return a head file that holds only this identity block."""
    return block + bytes(HEAD_BYTES - len(block))


@given(IDENTITIES)
def test_an_identity_is_read_as_it_was_written(identity: Identity) -> None:
    """Symbol, chunk size, fan-out, id and time come back as they were."""
    assert decode_identity(padded(encode_identity(identity))) == identity


def test_an_identity_that_is_being_written_is_read_again() -> None:
    """The first batch of a series chooses its columns while others look which it has; what stays unsound is told."""
    chosen = replace(IDENTITY, kinds=KINDS)
    before, after = (padded(encode_identity(identity)) for identity in (IDENTITY, chosen))
    torn = after[:60] + before[60:]
    assert identity_of_bytes(iter([torn, after]).__next__) == chosen
    with pytest.raises(FormatError, match="head file"):
        identity_of_bytes(lambda: torn)


@given(COMMITS)
def test_a_commit_is_read_as_it_was_written(commit: Commit) -> None:
    """Every field of a commit slot comes back as it was."""
    assert decode_commit(encode_commit(commit)) == commit


@given(st.binary(min_size=512, max_size=512))
def test_random_bytes_are_no_commit(raw: bytes) -> None:
    """A slot that was never written, or that holds something else, is None and raises nothing."""
    assert decode_commit(raw) is None


@given(st.binary(max_size=HEAD_BYTES + 10))
def test_random_bytes_are_no_head(raw: bytes) -> None:
    """A file that is no head is refused with a FormatError, whatever it holds."""
    with pytest.raises(FormatError):
        decode_identity(raw)


def test_a_zeroed_slot_is_no_commit() -> None:
    """A slot of zeros was never written, although the CRC of nothing would fit."""
    assert decode_commit(bytes(512)) is None
    assert decode_commit(encode_commit(Commit(0, 0, 0, 0, BOOT, clean=False))) is None


def test_a_commit_out_of_order_is_no_commit() -> None:
    """A slot that claims to start behind its own total is not believed, whatever its CRC."""
    assert decode_commit(encode_commit(Commit(1, 5, 6, 0, BOOT, clean=False))) is None
    assert decode_commit(encode_commit(Commit(1, -1, -1, 0, BOOT, clean=False))) is None
    assert decode_commit(encode_commit(Commit(1, MAX_TOTAL + 1, 0, 0, BOOT, clean=False))) is None


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    """No bit of an identity or of a commit slot can change unnoticed."""
    for block, decode in ((encode_identity(IDENTITY), decode_identity), (encode_commit(COMMIT), decode_commit)):
        for offset in range(len(block)):
            raw = bytearray(padded(block))
            raw[offset] ^= 1 << bit
            with suppress(FormatError):
                assert decode(bytes(raw)) is None or (decode is decode_commit and is_damaged_slot(bytes(raw[:512])))


COMMIT = Commit(7, 1000, 64, 3, BOOT, clean=True)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "4095 bytes instead of 4096"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "4097 bytes instead of 4096"),
        (lambda path: path.write_bytes(b""), "0 bytes instead of 4096"),
        (lambda path: write_at(path, 0, b"PAR1"), "magic"),
        (lambda path: write_at(path, 20, b"\1"), "identity checksum"),
        (lambda path: rewrite_with_crc(path, 0, IDENTITY_BYTES, 8, b"\3"), "format version 3, this release reads"),
        (lambda path: rewrite_with_crc(path, 0, IDENTITY_BYTES, 50, b"\xff"), "not UTF-8"),
    ],
    ids=["short", "long", "empty", "magic", "torn", "version", "symbol"],
)  # fmt: skip
def test_a_file_that_is_no_sound_head_is_refused_with_the_reason(head: Head, damage: object, reason: str) -> None:
    """A head of another size, magic, version or checksum is refused, and the reason says which; nothing stays open."""
    head.close()
    damage(head.path)  # type: ignore[operator]
    before = open_files(head.path.parent)
    with pytest.raises(FormatError, match=reason):
        Head(head.path.parent, writable=True)
    assert open_files(head.path.parent) == before


def test_a_new_head_has_one_commit_of_nothing(head: Head) -> None:
    """A head is created with its live words valid in this boot, and with a first commit that a power loss leaves."""
    assert head.identity == IDENTITY
    assert (head.words[TOTAL], head.words[START], head.words[FLAGS]) == (0, 0, 0)
    assert head.live_boot() == BOOT
    assert head.commits() == [Commit(1, 0, 0, 0, BOOT, clean=False)]
    assert head.path.stat().st_size == HEAD_BYTES


def test_commits_are_written_in_turn(head: Head) -> None:
    """Each commit goes to the slot that does not hold the newest one, so a torn write leaves the newest."""
    before = head.path.read_bytes()
    for total in range(10, 100, 10):
        written = head.write_commit(Commit(0, total, 0, 0, BOOT, clean=False))
        after = head.path.read_bytes()
        changed = {offset for offset in SLOT_OFFSETS if before[offset : offset + 512] != after[offset : offset + 512]}
        assert changed == {SLOT_OFFSETS[written.sequence % 2]}
        assert [commit.total for commit in head.commits()] == [total, total - 10]
        before = after


def test_a_commit_never_goes_back(head: Head) -> None:
    """A commit that another process has overtaken keeps the larger total and start."""
    head.write_commit(Commit(0, 100, 50, 0, BOOT, clean=False))
    assert head.write_commit(Commit(0, 90, 60, 0, BOOT, clean=False))[:3] == (3, 100, 60)


def test_commits_go_on_when_both_slots_are_torn(head: Head) -> None:
    """With no valid slot left, the next commit begins anew."""
    for offset in SLOT_OFFSETS:
        write_at(head.path, offset, bytes(512))
    assert head.write_commit(Commit(0, 5, 0, 0, BOOT, clean=False)).sequence == 1
    assert [commit.total for commit in head.commits()] == [5]


def test_live_words_are_seen_by_every_mapping(head: Head) -> None:
    """A stored word is what another opening of the file reads at once, and what is in the file."""
    other = Head(head.path.parent, writable=False)
    head.store(TOTAL, 2**62)
    head.store_live_boot(now := current_boot())
    assert other.words[TOTAL] == 2**62
    assert other.live_boot() == now
    assert np.frombuffer(head.path.read_bytes(), dtype=np.int64)[TOTAL] == 2**62


def test_each_block_lies_in_a_sector_of_its_own() -> None:
    """Identity, live words and both slots are in different sectors of 512 bytes: a torn sector spoils one of them."""
    blocks = [(0, len(encode_identity(IDENTITY))), (8 * TOTAL, 8 * (FLAGS - TOTAL + 1))]
    blocks += [(offset, len(encode_commit(COMMIT))) for offset in SLOT_OFFSETS]
    sectors = [offset // 512 for offset, _ in blocks]
    assert sectors == [(offset + size - 1) // 512 for offset, size in blocks]
    assert len(set(sectors)) == len(blocks)


def test_a_head_is_not_made_twice(head: Head) -> None:
    """Creating over an existing head is refused by the file system."""
    with pytest.raises(FileExistsError):
        Head.create(head.path.parent, IDENTITY, COMMIT, live=BOOT)
    assert (head.path.parent / HEAD_NAME).exists()
