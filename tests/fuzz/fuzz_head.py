"""The head file: whatever is in it, the series is set aside, or serves a part of what was stored with exact answers.

Live words and commits with a checksum that fits are believed, so the part may be another one; it is never invented.
"""

import atexit
from contextlib import suppress

from hft_mmap import HftMmapError, Store
from hft_mmap.files.blocks import decode_commit, decode_identity
from hft_mmap.files.head import SLOT_OFFSETS
from hft_mmap.tree.words import LIVE_OFFSET
from tests.fuzz.stores import VALUES, Rewritten, ask

# The sizes of the blocks are those of docs/on-disk-format.md.
_STORE = Rewritten("head", {0: 114, **dict.fromkeys(SLOT_OFFSETS, 64)})
atexit.register(_STORE.remove)


def check(data: bytes) -> None:
    """Read `data` as each block there is, and open a store whose head is rewritten with it."""
    decode_commit(data)
    with suppress(HftMmapError):
        decode_identity(data)
    _STORE.check(data, _judge)


def _judge(store: Store, sound: bool, written: range) -> None:  # noqa: FBT001 - called by Rewritten.check
    if not sound:
        return
    start, total, points = ask(store)
    if total <= len(VALUES):
        assert points == VALUES[start:total]
    else:
        # Bounds beyond what was ever stored, in live words or a commit: the rest of the chunk was never written.
        assert written.stop > LIVE_OFFSET
        assert points == [*VALUES[start:], *[0.0] * (total - max(start, len(VALUES)))]
