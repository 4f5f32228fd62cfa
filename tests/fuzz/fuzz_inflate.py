"""A compressed body: what comes out is what Python's own decompression gives, within the bound, or it is refused.

The lowest bit of the first byte chooses between gzip and zstd.
"""

import gzip
import sys

from api.body.inflate import inflate
from api.body.media import GZIP, ZSTD
from api.http.problems import Refusal
from tests.fuzz.harness import run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BYTES = 1 << 16


def check(data: bytes) -> None:
    """Inflate `data` as far as it goes."""
    coding = ZSTD if data[:1] and data[0] & 1 else GZIP
    body = data[1:]
    try:
        found = run(inflate(body, coding, MAX_BYTES))
    except Refusal as refusal:
        if refusal.status not in {400, 413} or not refusal.detail:
            raise AssertionError(f"an odd refusal: {refusal.status} {refusal.detail}") from refusal
        return
    assert len(found) <= MAX_BYTES, "more than the bound came out"
    assert found == (gzip.decompress(body) if coding == GZIP else zstd.decompress(body)), "other bytes"
