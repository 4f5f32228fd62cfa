"""hft_mmap.files.locks: a series that another process holds keeps nobody waiting who does not want to."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability, SeriesBusy, Store
from hft_mmap.files.head import Head
from hft_mmap.files.locks import attempts, try_lock
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.holding import holding
from tests.locks import held
from tests.service import PATIENCE_S, wait_until


def test_a_lock_is_tried_and_not_waited_for(tmp_path: Path) -> None:
    """The answer comes at once, and the lock is free again when the file is closed."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as other:
        with path.open() as one:
            assert try_lock(one.fileno())
            assert not try_lock(other.fileno())
        assert try_lock(other.fileno())


def test_there_is_one_attempt_at_least() -> None:
    """With no time to wait there is exactly one."""
    assert len(list(attempts(0))) == 1
    assert len(list(attempts(0.001))) > 1


def test_a_held_series_refuses_who_does_not_wait(open_store: OpenStore) -> None:
    """Nothing is stored, reads and other series go on, also their commits; given back, it takes batches again."""
    store = open_store(durability="sync")
    for symbol in ("A", "B"):
        store.append(symbol, [1.0, 2.0])
    store.sync()
    with held(store.path / "A" / "head"):
        for batch in (np.ones(1), np.ones(200)):
            with pytest.raises(SeriesBusy, match=r"A is held by another process \(.*/A/head\); `lslocks`"):
                store.append_nowait("A", batch, wait_s=0)
        assert store.stats("A", 10).points == 2
        assert store.append("B", [3.0]) == 3
        with held(store.path / ".lock"), pytest.raises(SeriesBusy, match="lock"):
            store.append_nowait("C", [1.0], wait_s=0)
    assert store.append_nowait("A", [3.0], wait_s=0) == 3
    assert store.append("C", [1.0]) == 1


@pytest.mark.parametrize("durability", Durability)
def test_who_waits_is_stored_when_the_lock_is_given_back(open_store: OpenStore, durability: Durability) -> None:
    """However long; meanwhile no lock of this process is held, so other threads read and are told that it is busy."""
    store = open_store(durability=durability)
    store.append("A", [1.0])
    store.sync()
    totals: list[int] = []
    with held(store.path / "A" / "head"):
        waiting = threading.Thread(target=lambda: totals.append(store.append("A", [2.0])))
        waiting.start()
        wait_until(lambda: "locked" in [reason.code for reason in store.reasons()], "the reason")
        assert store.stats("A", 10).points == 1
        with pytest.raises(SeriesBusy):
            store.append_nowait("A", [3.0], wait_s=0)
    waiting.join(PATIENCE_S)
    assert totals == [2]
    assert store.reasons() == []


def test_a_commit_that_met_a_lock_is_made_later(open_store: OpenStore) -> None:
    """Points whose commit was due while another process held the series are on the disk as soon as it does not."""
    store = open_store(durability="interval", sync_interval_ms=1)
    store.append("A", [1.0])
    store.sync()
    series, flusher = store.series("A"), store._flusher
    assert flusher is not None
    with held(store.path / "A" / "head"):
        series.ask()
        wait_until(lambda: series in flusher._held, "the commit that meets the lock")
        assert store.append("B", [1.0]) == 1
        wait_until(lambda: store.series("B").committed_total == 1, "the commit of the other series")
    store.append("A", [2.0])
    wait_until(lambda: series.committed_total == 2, "the commit")


def test_closing_does_not_wait_for_ever(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may hold a series until the store is gone: there is no clean commit then, and nothing is lost."""
    monkeypatch.setattr("hft_mmap.store.CLOSE_WAIT_S", 0.05)
    store = open_store()
    for symbol in ("A", "B"):
        store.append(symbol, [1.0, 2.0])
    with held(store.path / "A" / "head"):
        store.close()
    with Store(store.path) as again:
        assert [info.total for info in again.symbols()] == [2, 2]


def test_a_series_that_is_held_when_it_is_met_first_is_busy(open_store: OpenStore) -> None:
    """It is not set aside: it serves once it is free."""
    store, other = open_store(), open_store()
    other.append("A", [1.0])
    with held(store.path / "A" / "head"):
        with pytest.raises(SeriesBusy):
            store.series("A")
        assert store.symbols() == []
    assert store.stats("A", 1).last == 1.0
    assert store.reasons() == []


def test_a_process_stopped_in_a_commit_holds_up_its_series_alone(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits of the others go on, a store opens and closes, symbols are made; then the series goes on as well."""
    monkeypatch.setattr("hft_mmap.directory.starting._HELD_WAIT_S", 0.05)
    monkeypatch.setattr("hft_mmap.store.CLOSE_WAIT_S", 0.05)
    store = open_store(durability="sync")
    for symbol in ("A", "B"):
        store.append(symbol, [1.0])
    stopped = Head(store.path / "A", writable=True)
    with holding(stopped.committing):
        assert store.append_nowait("A", [2.0], wait_s=0) == 2
        store.series("A").ask()
        assert store.append("B", [2.0]) == 2
        assert store.append("C", [1.0]) == 1
        wait_until(lambda: [(r.symbol, r.code) for r in store.reasons()] == [("A", "locked")], "the reason")
        assert [info.symbol for info in store.symbols()] == ["A", "B", "C"]
        with held(store.path / ".lock"), Store(store.path) as second:
            assert [(r.symbol, r.code) for r in second.reasons()] == [("A", "locked")]
            assert second.append("B", [3.0]) == 3
            with pytest.raises(SeriesBusy):
                second.append_nowait("A", [3.0], wait_s=0)
    stopped.close()
    store.wait_durable("A", 2)
    assert store.reasons() == []


def test_a_series_that_was_held_at_the_start_and_went_is_no_reason(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed, or damaged, while the start could not get at it: /ready tells what is there now, not who held it."""
    monkeypatch.setattr("hft_mmap.directory.starting._HELD_WAIT_S", 0.05)
    other = open_store()
    for symbol in ("A", "B"):
        other.append(symbol, [1.0])
    other.close()
    with held(other.path / "A" / "head"), held(other.path / "B" / "head"):
        store = open_store()
        assert [(r.symbol, r.code) for r in store.reasons()] == [("A", "locked"), ("B", "locked")]
    shutil.rmtree(store.path / "A")
    (store.path / "B" / "head").write_bytes(b"no head")
    assert [(r.symbol, r.code) for r in store.reasons()] == [("B", "set_aside")]


def test_the_first_append_after_an_orderly_stop_waits_for_no_commit(open_store: OpenStore) -> None:
    """It takes back the clean flag: where another process commits it is busy at once, or waits, as it was asked to."""
    store = open_store()
    store.append("A", [1.0])
    store.sync()
    with Store(store.path) as other:
        other.append("A", [2.0])
    stopped = Head(store.path / "A", writable=True)
    totals: list[int] = []
    with holding(stopped.committing):
        with pytest.raises(SeriesBusy, match="commit slots"):
            store.append_nowait("A", [3.0], wait_s=0)
        waiting = threading.Thread(target=lambda: totals.append(store.append("A", [3.0])))
        waiting.start()
        assert store.stats("A", 10).points == 2
    waiting.join(PATIENCE_S)
    assert totals == [3]
    stopped.close()


def test_a_store_closes_while_a_commit_is_held(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the clean flag, and nothing that was published is lost; closing it again does nothing."""
    monkeypatch.setattr("hft_mmap.store.CLOSE_WAIT_S", 0.05)
    store = open_store()
    store.append("A", [1.0])
    stopped = Head(store.path / "A", writable=True)
    with holding(stopped.committing):
        store.close()
        store.close()
    stopped.close()
    assert open_store().stats("A", 10).points == 1
