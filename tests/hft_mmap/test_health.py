"""hft_mmap.health: a store that refuses writes says so, and says so no longer when it takes them again."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hft_mmap import StoreUnusable, WriteFailed
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.test_durability import Traced
from tests.service import wait_until
from tests.torture.tracing import needs_strace

FAILING_WRITES = """
from hft_mmap.files.names import chunk_name
codes = lambda: [[reason.symbol, reason.code] for reason in store.reasons()]
with Store(sys.argv[1] + "/data", limits=limits, durability="process") as store:
    attempt(store.append, "A", np.ones(10))
    attempt(store.append, "A", np.ones(10))
    attempt(codes)
    attempt(codes)
    attempt(codes)
    attempt(store.append, "A", np.ones(10))
"""


@needs_strace
def test_a_disk_that_refuses_writes_is_a_reason_until_it_takes_them(tmp_path: Path) -> None:
    """EIO or EROFS: the reason stays while a write of the same kind fails, and goes by itself, without a batch."""
    chunk = str(tmp_path / "data" / "A" / "00000000000000000000.chunk")
    fail = "inject=pwrite64:error=EROFS:when=3..6"
    traced = Traced(tmp_path, FAILING_WRITES, "-P", chunk, "-e", "trace=pwrite64", "-e", fail)
    failed = [["A", "write_failed"]]
    assert traced.answers == [10, "WriteFailed", failed, failed, [], 20]


@needs_strace
def test_the_next_batch_that_is_stored_ends_the_reason(tmp_path: Path) -> None:
    """Nothing has to be tried where a write has succeeded since."""
    chunk = str(tmp_path / "data" / "A" / "00000000000000000000.chunk")
    program = FAILING_WRITES.replace("    attempt(codes)\n", "", 3) + "    attempt(codes)\n"
    fail = "inject=pwrite64:error=EIO:when=3..4"
    traced = Traced(tmp_path, program, "-P", chunk, "-e", "trace=pwrite64", "-e", fail)
    assert traced.answers == [10, "WriteFailed", 20, []]


@needs_strace
def test_a_system_without_locks_is_a_failed_write(tmp_path: Path) -> None:
    """ENOLCK is told as every other failure of a write, and as a reason. The moved path is where strace begins."""
    program = """
with Store(sys.argv[1] + "/data", limits=limits, durability="process") as store:
    store.append("A", np.ones(10))
    store.sync()
    os.rename(sys.argv[1] + "/data/A", sys.argv[1] + "/data/.moved")
    attempt(store.append, "A", np.ones(10))
    attempt(lambda: [[reason.symbol, reason.code] for reason in store.reasons()])
    os.rename(sys.argv[1] + "/data/.moved", sys.argv[1] + "/data/A")
    attempt(store.append, "A", np.ones(10))
"""
    moved = str(tmp_path / "data" / ".moved" / "head")
    traced = Traced(tmp_path, program, "-P", moved, "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK")
    assert traced.answers == ["WriteFailed", [["A", "write_failed"]], 20]


@needs_strace
def test_a_directory_that_can_not_be_looked_at_is_told_by_its_name(tmp_path: Path) -> None:
    """EIO of a look-up is StoreUnusable, no bare OSError, and it is no reason to say that the symbol does not exist."""
    program = """
with Store(sys.argv[1] + "/data", limits=limits) as store:
    attempt(store.stats, "B", 1)
    attempt(store.append, "B", [1.0])
"""
    head = str(tmp_path / "data" / "B" / "head")
    calls = "trace=newfstatat,stat,statx"
    traced = Traced(tmp_path, program, "-P", head, "-e", calls, "-e", "inject=newfstatat,stat,statx:error=EIO")
    assert traced.answers == ["StoreUnusable", "StoreUnusable"]


def test_a_directory_that_vanished_is_a_reason_until_it_is_back(open_store: OpenStore) -> None:
    """No symbol can be made; that is known before anybody tries, and after somebody has."""
    store = open_store()
    store.append("A", [1.0])
    hidden = store.path.with_name("hidden")
    store.path.rename(hidden)
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [(None, "write_failed")]
    with pytest.raises(WriteFailed):
        store.append("B", [1.0])
    (reason,) = store.reasons()
    assert (reason.symbol, reason.code) == (None, "write_failed")
    for look in (store.symbols, store.counters):
        with pytest.raises(StoreUnusable, match=r"can't be read: .*No such file"):
            look()
    hidden.rename(store.path)
    assert store.reasons() == []
    assert store.append("B", [1.0]) == 1


def test_an_event_sink_that_raises_stops_nothing(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    """Appends, cleanups and the commits of all series go on; each failure is logged and counted."""

    def broken(name: str, _fields: Mapping[str, object]) -> None:
        raise OSError(28, f"no space for {name}")

    store = open_store(durability="sync", on_event=broken)
    for symbol in ("A", "B"):
        assert store.append(symbol, [1.0] * 64) == 64

    def fail(_error: BaseException | None) -> None:
        raise RuntimeError("a waiter that fails tells an event, from the flusher's thread")

    store.series("A").on_durable(65, fail)
    assert store.append("A", [2.0]) == 65
    wait_until(lambda: store.counters().events.get("callback_failed"), "the event")
    assert [store.append(symbol, [3.0]) for symbol in ("A", "B")] == [66, 65]
    for _ in range(20):
        store.append("A", [4.0] * 64)  # cleanups among them
    counters = store.counters()
    assert counters.events["cleanup"] > 0
    assert counters.events["sink_failed"] == sum(counters.events.values()) - counters.events["sink_failed"]
    assert "the event sink failed at callback_failed" in caplog.text
    assert store.reasons() == []
