"""Faults in files, as a disk, a crash or a careless copy would make them; and series read back from their files."""

import struct
import zlib
from pathlib import Path

from hft_mmap.files.boot import current_boot
from hft_mmap.files.head import HEAD_NAME, SLOT_OFFSETS, Head
from hft_mmap.tree.words import BOOT_CLOCK, FLAGS, START, TOTAL


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Overwrite a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def rewrite_with_crc(path: Path, offset: int, size: int, at: int, data: bytes) -> None:
    """Overwrite bytes `at` within the block of `size` bytes at `offset`, and make the CRC-32 behind it fit again."""
    raw = path.read_bytes()
    block = bytearray(raw[offset : offset + size])
    block[at : at + len(data)] = data
    write_at(path, offset, bytes(block) + struct.pack("<I", zlib.crc32(block)))


def write_word(directory: Path, word: int, value: int) -> None:
    """Set one live word of the head in `directory`."""
    write_at(directory / HEAD_NAME, 8 * word, struct.pack("<q", value))


def set_total(directory: Path, total: int) -> None:
    """Set the live word `total`."""
    write_word(directory, TOTAL, total)


def set_start(directory: Path, start: int) -> None:
    """Set the live word `start`."""
    write_word(directory, START, start)


def set_flags(directory: Path, flags: int) -> None:
    """Set the live flags."""
    write_word(directory, FLAGS, flags)


def turn_the_clock_back(directory: Path) -> None:
    """Make the head say that it was written later in a run of the machine with the same boot id."""
    write_word(directory, BOOT_CLOCK, current_boot().clock_ns + 10**15)


def slots(directory: Path) -> list[tuple[int, int]]:
    """Return (offset in the head, total) of the valid commit slots in `directory`, newest first."""
    head = Head(directory, writable=False)
    found = [(SLOT_OFFSETS[commit.sequence % 2], commit.total) for commit in head.commits()]
    head.close()
    return found


def tear_slots(directory: Path, *which: int) -> None:
    """Spoil the newest (0) or the one before (1) of the commit slots, or both."""
    found = slots(directory)
    for index in which:
        flip(directory / HEAD_NAME, found[index][0] + 9)


def contents(directory: Path) -> dict[str, bytes]:
    """Return name and bytes of every file in `directory`."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
