"""An NDJSON body: each line has its result, and the store holds what the results say, no more and no less."""

import atexit
import json
import shutil
import tempfile
from pathlib import Path

from api.body.decode import Decoder
from api.body.lines import Lines
from api.http.problems import Refusal
from hft_mmap import Limits, Store
from hft_mmap.testing import MEMORY
from tests.fuzz.harness import run

LIMITS = Limits(
    starting_capacity=0, chunk_points=128, max_data_retention=10_000, cleanup_keep_count=5000, max_symbols=50
)
_path = Path(tempfile.mkdtemp(prefix="hft-mmap-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
_store = Store(_path, limits=LIMITS, durability="process")
_lines = Lines(_store, Decoder(1000))


def _remove() -> None:
    _store.close()
    shutil.rmtree(_path)


atexit.register(_remove)


def _totals() -> dict[str, int]:
    return {info.symbol: info.total for info in _store.symbols() if info.total}


def check(data: bytes) -> None:
    """Take `data`, and hold the answer against what the store has grown by."""
    before = _totals()
    try:
        status, body = run(_lines.take(data, {"type": "http", "path": "/add_batch"}))
    except Refusal as refusal:
        if refusal.status != 400 or _totals() != before:
            raise AssertionError(f"an odd refusal, or one that stored: {refusal.status} {refusal.detail}") from refusal
        return
    assert status == 200
    answer = json.loads(body)
    after = _totals()
    grown = {symbol: total - before.get(symbol, 0) for symbol, total in after.items() if total != before.get(symbol)}
    assert sum(grown.values()) <= answer["added"], "more was stored than was told"
    assert len(answer["lines"]) == sum(1 for line in data.split(b"\n") if line.strip()), "a line without a result"
    for line in answer["lines"]:
        assert line["status"] in {200, 400, 409, 413, 422}, line
        if line["status"] == 200:
            assert line["total"] <= after[line["symbol"]]
            grown.pop(line["symbol"], None)
    assert not grown, "something was stored that no line tells of"
