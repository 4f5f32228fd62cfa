"""A chunk file: whatever is in it, the series is set aside, or verify finds it, or every answer is right."""

import atexit

from hft_mmap import Store
from hft_mmap.files.chunk import SEAL_OFFSET
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name
from tests.fuzz.stores import LIMITS, VALUES, Rewritten, ask

_LAYOUT = Layout.of(LIMITS.chunk_points)
# The sizes of the blocks are those of docs/on-disk-format.md.
_BLOCKS = {_LAYOUT.footer: 44, _LAYOUT.footer + SEAL_OFFSET: 40}
_SEALED = Rewritten(chunk_name(0), _BLOCKS)
_GROWING = Rewritten(chunk_name(256), _BLOCKS)
atexit.register(_SEALED.remove)
atexit.register(_GROWING.remove)


def check(data: bytes) -> None:
    """Open a store with a chunk that is rewritten with `data`: a sealed one, and one that grows."""
    _SEALED.check(data, _judge_sealed)
    _GROWING.check(data, _judge_growing)


def _judge_sealed(store: Store, sound: bool, _: range) -> None:  # noqa: FBT001 - called by Rewritten.check
    if sound:
        assert ask(store) == (0, len(VALUES), VALUES)


def _judge_growing(store: Store, sound: bool, written: range) -> None:  # noqa: FBT001 - called by Rewritten.check
    # Its values carry no checksum until it is full; all else is as with a sealed one.
    if sound and written.start >= 8 * LIMITS.chunk_points:
        assert ask(store) == (0, len(VALUES), VALUES)
    elif sound:
        ask(store)
