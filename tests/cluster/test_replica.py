"""A replica over the log in memory and a store on the disk: what it answers, and when it stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.cluster.block import NO_PARENT, NO_POINTS, Entry, Kind, decode, encode, encode_entry
from api.cluster.deciding import Rules
from api.cluster.following import Patience
from api.cluster.points import Points
from api.cluster.position import Position, load, save
from api.cluster.replica import Replica
from api.cluster.reseeding import begin_anew
from api.cluster.service import store_limits
from api.cluster.state import Place
from api.http.problems import Refusal
from api.operation.settings import Settings, StoreSettings
from hft_mmap import (
    ColumnsDiffer,
    InvalidValues,
    Late,
    LateTimes,
    Limits,
    OffsetConflict,
    Store,
    StoreUnusable,
    SymbolLimitReached,
    SymbolNotFound,
    Ticks,
)
from tests.cluster.memory import MemoryClient, MemoryLog

RULES = Rules(900_000, 10, (100, 50))


@asynccontextmanager
async def replica_of(log: MemoryLog, directory: Path, rules: Rules = RULES) -> AsyncIterator[Replica]:
    """Yield a replica that has caught up, or stopped."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - in memory
    limits = replace(store_limits(Settings(store=StoreSettings(data_dir=str(directory)))), max_symbols=100)
    with Store(directory, durability="process", limits=limits) as store:
        replica = Replica(Points(store), MemoryClient(log), directory, rules, Patience(append_timeout_s=5.0))
        replica.start()
        await replica._until(replica._caught_up.is_set)
        yield replica
        await replica.close()


def run(work: Callable[[MemoryLog], Awaitable[None]]) -> None:
    """Run a test with a log."""

    async def with_log() -> None:
        await work(MemoryLog())

    asyncio.run(with_log())


def prices(*values: float) -> Ticks:
    """Return a batch."""
    return Ticks(np.array(values, dtype=np.float64))


def held(replica: Replica, symbol: str) -> list[float]:
    """Return the prices that are kept of a symbol."""
    found: list[float] = replica.state.points._store.window(symbol, 1000).tolist()
    return found


def test_what_one_replica_stored_all_others_hold(tmp_path: Path) -> None:
    """What one replica stored all others hold."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b") as b:
            first = await a.write("ABC", prices(1, 2, 3), None)
            second = await b.write("ABC", prices(4), 3)
            assert (first.total, second.total) == (3, 4)
            assert second.sequence > first.sequence
            assert await a.reached(second.sequence, 5.0)
            assert held(a, "ABC") == held(b, "ABC") == [1, 2, 3, 4]

    run(work)


def test_a_batch_that_is_there_is_answered_as_stored_and_another_is_a_conflict(tmp_path: Path) -> None:
    """A batch that is there is answered as stored and another is a conflict."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2, 3), 0)
            assert (await a.write("ABC", prices(2, 3), 1)).total == 3
            with pytest.raises(OffsetConflict) as caught:
                await a.write("ABC", prices(2, 4), 1)
            assert caught.value.total == 3
            with pytest.raises(OffsetConflict):
                await a.write("NEW", prices(1), 7)
            assert held(a, "ABC") == [1, 2, 3]

    run(work)


def test_a_replica_stores_what_the_log_has_whatever_it_would_take_itself(tmp_path: Path) -> None:
    """Negative prices that another replica took; its own clients are told of the setting."""

    async def work(log: MemoryLog) -> None:
        signed = replace(RULES, negative_prices=True)
        async with replica_of(log, tmp_path / "a", signed) as a, replica_of(log, tmp_path / "b") as b:
            first = await a.write("ABC", prices(1, -2, -3), None)
            assert await b.reached(first.sequence, 5.0)
            assert held(a, "ABC") == held(b, "ABC") == [1, -2, -3]
            with pytest.raises(InvalidValues, match=r"store\.negative_prices"):
                await b.write("ABC", prices(-4), None)
            assert (await b.write("ABC", prices(4), 3)).total == 4

    run(work)


def test_a_replica_that_lags_never_refuses_an_offset(tmp_path: Path) -> None:
    """A replica that lags never refuses an offset."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b") as b:
            for k in range(20):
                writer, other = (a, b) if k % 2 else (b, a)
                # `other` may not have read the batch before; it must neither refuse this one nor store it elsewhere.
                answers = await asyncio.gather(
                    writer.write("ABC", prices(2 * k), 2 * k), other.write("ABC", prices(2 * k + 1), 2 * k + 1),
                    return_exceptions=True,
                )  # fmt: skip
                if isinstance(answers[1], OffsetConflict):  # which then was true of the newest state there is
                    assert answers[1].total == 2 * k
                    await other.write("ABC", prices(2 * k + 1), 2 * k + 1)
            assert held(a, "ABC")[-2:] == [38, 39]

    run(work)


def test_replicas_with_other_limits_hold_the_same_points(tmp_path: Path) -> None:
    """Replicas with other limits hold the same points."""

    async def work(log: MemoryLog) -> None:
        other = Rules(2000, 3, (7, 7), Late.REFUSE)
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b", other) as b:
            for k in range(30):
                await (a, b)[k % 2].write("ABC", prices(*range(10 * k, 10 * k + 10)), 10 * k)
            await a.reached(b.applied, 5.0)
            await b.reached(a.applied, 5.0)
            assert a.state.place.retention == b.state.place.retention == (100, 50)
            assert held(a, "ABC") == held(b, "ABC") == list(range(300 - len(held(a, "ABC")), 300))
            assert 50 <= len(held(a, "ABC")) <= 100
            for k in range(2):
                await b.write(f"S{k}", prices(1), None)
            with pytest.raises(SymbolLimitReached):
                await b.write("S2", prices(1), None)
            await a.write("S2", prices(1), None)

    run(work)


def test_new_limits_hold_for_every_replica_from_one_record_on(tmp_path: Path) -> None:
    """Batches before and behind it in the same record included; a restart knows them."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b") as b:
            batch = prices(*range(1, 31))
            waiting = [a.write("ABC", batch, 30 * k) for k in range(3)]
            told = await asyncio.gather(*waiting, a.limit(40, 10), a.write("ABC", batch, 90), a.write("DEF", batch, 0))
            assert [one.total for one in told] == [30, 60, 90, 0, 120, 30]
            assert len({one.sequence for one in told[:4]}) == 1
            await b.reached(told[-1].sequence, 5.0)
            assert len(held(a, "ABC")) == 40
            assert held(a, "ABC") == held(b, "ABC")
            with pytest.raises(InvalidValues, match="larger than max_data_retention"):
                await b.write("DEF", prices(*range(1, 42)), None)
            for wrong in ((5, 6), (0, 0), (2**63, 1)):
                with pytest.raises(ValueError, match="must be"):
                    await a.limit(*wrong)
        async with replica_of(log, tmp_path / "b") as b:
            assert b.state.place.retention == (40, 10)

    run(work)


def test_times_are_moved_or_refused_before_they_are_in_the_log(tmp_path: Path) -> None:
    """Times are moved or refused before they are in the log."""

    async def work(log: MemoryLog) -> None:
        strict = Rules(900_000, 10, (100, 50), Late.REFUSE)
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b", strict) as b:
            batch = Ticks(np.array([1.0, 2.0, 3.0]), np.array([5, 3, 9]), np.array([1.0, -1.0, 0.5]))
            answer = await a.write("ABC", batch, None)
            assert answer[:3] == (3, 1, 2)
            assert (await a.write("ABC", batch, 0))[:3] == (3, 1, 2)
            await b.reached(a.applied, 5.0)
            with pytest.raises(LateTimes):
                await b.write("ABC", Ticks(np.array([4.0]), np.array([8]), np.array([1.0])), None)
            with pytest.raises(ColumnsDiffer):
                await b.write("ABC", prices(1), None)
            rows = b.state.points._store.ticks("ABC", 10)
            assert rows.times is not None
            assert rows.sizes is not None
            assert rows.times.tolist() == [5, 5, 9]
            assert rows.sizes.tolist() == [1.0, -1.0, 0.5]

    run(work)


def test_batches_that_wait_share_a_record(tmp_path: Path) -> None:
    """Batches that wait share a record."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            answers = await asyncio.gather(*(a.write(f"S{k % 5}", prices(k), None) for k in range(100)))
            assert len({answer.sequence for answer in answers}) == log.last < 10
            assert sorted(value for k in range(5) for value in held(a, f"S{k}")) == list(range(100))

    run(work)


def test_a_restart_goes_on_where_the_position_says(tmp_path: Path) -> None:
    """A restart goes on where the position says."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
        before = load(tmp_path / "a")
        assert before is not None
        assert before.place.applied == log.last == 1
        async with replica_of(log, tmp_path / "a") as a:
            assert a.applied == 1
            await a.write("ABC", prices(3), 2)
        save(tmp_path / "a", before)  # an older one may be there, after a kill
        async with replica_of(log, tmp_path / "a") as a:
            assert a.stopped is None
            assert held(a, "ABC") == [1, 2, 3]

    run(work)


def test_a_damaged_position_is_refused(tmp_path: Path) -> None:
    """A damaged position is refused."""
    save(tmp_path, Position("log", Place(5, 4, bytes(16))))
    text = (tmp_path / ".position").read_bytes()
    (tmp_path / ".position").write_bytes(text.replace(b'"applied":5', b'"applied":6'))
    with pytest.raises(StoreUnusable, match="checksum"):
        load(tmp_path)


def test_a_record_of_another_history_stops_the_replica(tmp_path: Path) -> None:
    """A record of another history stops the replica."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            entry = encode_entry(Entry(Kind.APPEND, "ABC", 2, prices(9)))
            log.take(encode(log.last, b"another history!", [entry])[1])
            await a._until(lambda: False)
            assert "another history" in str(a.reason())
            assert held(a, "ABC") == [1, 2]
            with pytest.raises(Refusal, match="Nothing was stored"):
                await a.write("ABC", prices(3), None)

    run(work)


@pytest.mark.parametrize(("damage", "says"), [("kind", "later release"), ("crc", "checksum"), ("offset", "ends at 2")])
def test_a_record_that_does_not_fit_stops_the_replica(tmp_path: Path, damage: str, says: str) -> None:
    """A record that does not fit stops the replica."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            entry = bytearray(encode_entry(Entry(Kind.APPEND, "ABC", 3 if damage == "offset" else 2, prices(9))))
            if damage == "kind":
                entry[0] = 99
            data = bytearray(encode(log.last, a.state.place.parent, [bytes(entry)])[1])
            if damage == "crc":
                data[-1] ^= 1
            log.take(bytes(data))
            await a._until(lambda: False)
            assert says in str(a.reason())
            assert held(a, "ABC") == [1, 2]

    run(work)


def test_an_empty_replica_can_not_begin_a_reseeded_log(tmp_path: Path) -> None:
    """It stops at the first record, which says that it goes on from points; whoever holds them goes on."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
        new = MemoryLog("new")
        assert await begin_anew(MemoryClient(new), tmp_path / "a") == 1
        assert await begin_anew(MemoryClient(new), tmp_path / "a") == 0
        assert new.last == 1
        async with replica_of(new, tmp_path / "empty") as empty:
            assert "goes on from points that this replica does not hold: bootstrap it" in str(empty.reason())
            with pytest.raises(Refusal, match="Nothing was stored"):
                await empty.write("XYZ", prices(9), None)
        async with replica_of(new, tmp_path / "a") as a:
            assert (await a.write("ABC", prices(3), 2)).sequence == 2
            assert held(a, "ABC") == [1, 2, 3]

    run(work)


def test_a_log_that_another_replica_has_begun_is_not_reseeded(tmp_path: Path) -> None:
    """Before the command, or while it runs: it says so, and the replica stops at what is there."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
        early = MemoryLog("early")
        async with replica_of(early, tmp_path / "empty") as empty:
            await empty.write("XYZ", prices(9), None)
        with pytest.raises(StoreUnusable, match="has 1 records: only a new one"):
            await begin_anew(MemoryClient(early), tmp_path / "a")

        class Late(MemoryClient):
            async def append(self, data: bytes, last: int) -> int:
                self.log.take(early.kept[0])
                return await super().append(data, last)

        late = MemoryLog("late")
        with pytest.raises(StoreUnusable, match="another replica has begun late"):
            await begin_anew(Late(late), tmp_path / "a")
        async with replica_of(late, tmp_path / "a") as a:
            assert "another history" in str(a.stopped)

    run(work)


def test_a_symbol_begins_where_another_shard_has_its_oldest_point(tmp_path: Path) -> None:
    """Whatever its slot is, and with its columns; a restart, and a second reading, find it so."""

    async def work(log: MemoryLog) -> None:
        rules = Rules(900_000, 2, (100, 50), slots=frozenset())
        at = 2**22 + 70
        row = Ticks(np.array([1.5]), np.array([7]), np.array([-2.0]))
        async with replica_of(log, tmp_path / "a", rules) as a, replica_of(log, tmp_path / "b", rules) as b:
            with pytest.raises(Refusal, match="belongs to slot"):
                await a.write("ABC", row, 0)
            assert (await a.begin("ABC", row, at)).total == at + 1
            assert (await b.begin("ABC", row, at)).total == at + 1
            with pytest.raises(OffsetConflict):
                await a.begin("ABC", Ticks(np.array([9.0]), np.array([7]), np.array([-2.0])), at)
            told = await b.write("ABC", Ticks(np.array([2.5, 3.5]), np.array([7, 9]), np.array([1.0, 1.0])), at + 1)
            assert told.total == at + 3
            assert await a.reached(told.sequence, 5.0)
            await a.begin("DEF", prices(1), 0)
            with pytest.raises(SymbolLimitReached):
                await a.begin("GHI", prices(1), 0)
            for one in (a, b):
                rows = one.state.points._store.ticks("ABC", 10)
                assert rows.times is not None
                assert (rows.prices.tolist(), rows.times.tolist()) == ([1.5, 2.5, 3.5], [7, 7, 9])
        (tmp_path / "b" / ".position").unlink()
        async with replica_of(log, tmp_path / "b", rules) as b:
            assert b.stopped is None
            assert b.state.points._store.series("ABC").bounds() == (at, at + 3)
            assert not [fault for report in b.state.points._store.verify() for fault in report.faults]

    run(work)


def test_a_symbol_that_has_moved_is_removed_once_the_position_says_so(tmp_path: Path) -> None:
    """Not before it is sealed; and a restart on an older position finds it as it was."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            with pytest.raises(SymbolNotFound):
                await a.seal("NONE")
            with pytest.raises(Refusal, match="seal it first"):
                await a.moved("ABC", 1)
            assert (await a.seal("ABC")).total == (await a.seal("ABC")).total == 2
            await a._save()
            await a.moved("ABC", 1)
            await a.moved("ABC", 1)
            with pytest.raises(Refusal, match="has moved to shard 1"):
                await a.moved("ABC", 2)
            assert held(a, "ABC") == [1, 2]
            await a._save()
            assert len(a.state.points._store) == 0
            with pytest.raises(Refusal) as caught:
                await a.write("ABC", prices(3), None)
            assert caught.value.status == 421
        async with replica_of(log, tmp_path / "a") as a:
            assert dict(a.state.place.moved) == {"ABC": 1}
        async with replica_of(log, tmp_path / "b") as b:
            assert b.stopped is None
            assert dict(b.state.place.moved) == {"ABC": 1}

    run(work)


def test_a_log_that_lost_its_end_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that lost its end is found out."""
    monkeypatch.setattr("api.cluster.replica.LOOK_S", 0.001)

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            await a.write("ABC", prices(3), None)
            del log.kept[-1]
            with pytest.raises(Refusal, match="may be stored"):
                await a.write("ABC", prices(4), None)
            assert "log ends at 1, this replica at 2" in str(a.reason())
        async with replica_of(log, tmp_path / "a") as a:
            assert a.stopped is not None

    run(work)


def test_a_replica_that_holds_other_points_than_the_log_is_found_out(tmp_path: Path) -> None:
    """A replica that holds other points than the log is found out."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            before = load(tmp_path / "a")
            await a.write("ABC", prices(3), None)
        assert before is None
        (tmp_path / "a" / ".position").unlink()  # as after a kill before it was first saved
        del log.kept[-1]
        async with replica_of(log, tmp_path / "b") as b:
            await b.write("ABC", prices(9), 2)
        async with replica_of(log, tmp_path / "a") as a:
            assert "other points of ABC" in str(a.stopped)
            assert held(a, "ABC") == [1, 2, 3]

    run(work)


def test_a_log_that_was_replaced_or_begins_too_late_stops_the_replica(tmp_path: Path) -> None:
    """A log that was replaced or begins too late stops the replica."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1, 2), None)
            await a.write("ABC", prices(3), None)
        async with replica_of(MemoryLog("another"), tmp_path / "a") as a:
            assert "another" in str(a.stopped)
        del log.kept[0]
        log.first += 1
        async with replica_of(log, tmp_path / "a") as a:
            assert a.stopped is None
        async with replica_of(log, tmp_path / "empty") as empty:
            assert "log begins at 2, this replica ends at 0" in str(empty.stopped)

    run(work)


def test_a_sealed_symbol_takes_no_more_points_in_any_replica(tmp_path: Path) -> None:
    """A sealed symbol takes no more points in any replica."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a, replica_of(log, tmp_path / "b") as b:
            await a.write("ABC", prices(1, 2), None)
            sealed = await a.seal("ABC")
            assert sealed.total == 2
            await b.reached(sealed.sequence, 5.0)
            for one in (a, b):
                with pytest.raises(Refusal) as caught:
                    await one.write("ABC", prices(3), None)
                assert caught.value.status == 421
        async with replica_of(log, tmp_path / "a") as a:
            with pytest.raises(Refusal):
                await a.write("ABC", prices(3), None)

    run(work)


def test_a_full_queue_refuses_and_stores_nothing(tmp_path: Path) -> None:
    """A full queue refuses and stores nothing."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            a._patience = Patience(queue_bytes=100)
            answers = await asyncio.gather(
                *(a.write("ABC", prices(*range(10)), None) for _ in range(3)), return_exceptions=True
            )
            assert sum(isinstance(one, Refusal) for one in answers) == 2
            assert len(held(a, "ABC")) == 10

    run(work)


def test_a_writer_that_was_given_up_harms_nothing(tmp_path: Path) -> None:
    """A block that was decided long ago comes after others: nobody takes it."""

    async def work(log: MemoryLog) -> None:
        async with AsyncExitStack() as stack:
            a = await stack.enter_async_context(replica_of(log, tmp_path / "a"))
            await a.write("ABC", prices(1, 2), None)
            old = encode(log.last, a.state.place.parent, [encode_entry(Entry(Kind.APPEND, "ABC", 2, prices(9)))])[1]
            await a.write("ABC", prices(3), None)
            assert await a.reached(log.take(old), 5.0)
            assert held(a, "ABC") == [1, 2, 3]
            assert a.state.dropped == 1
            await a.write("ABC", prices(4), 3)
            assert held(a, "ABC") == [1, 2, 3, 4]

    run(work)


def test_the_first_record_says_the_limits_and_has_no_parent(tmp_path: Path) -> None:
    """The first record says the limits and has no parent."""

    async def work(log: MemoryLog) -> None:
        async with replica_of(log, tmp_path / "a") as a:
            await a.write("ABC", prices(1), None)
        first = decode(log.kept[0])
        assert first.parent == NO_PARENT
        assert first.entries[0] == Entry(Kind.LIMITS, "", 0, NO_POINTS, (100, 50))

    run(work)


class Deaf(MemoryClient):
    """A connection whose reader does not hear that it is cancelled when a record comes at the same time."""

    async def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what comes after a cancellation that is lost."""
        with suppress(asyncio.CancelledError):
            await self.log.news.wait()
        async for record in super().records(after):
            yield record


def test_a_cancellation_that_is_lost_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The replica ends, and saves its position."""

    async def work(log: MemoryLog) -> None:
        with Store(tmp_path, durability="process", limits=Limits(starting_capacity=0)) as store:
            replica = Replica(Points(store), Deaf(log), tmp_path, RULES, Patience())
            replica.start()
            await replica._until(replica._caught_up.is_set)
            await asyncio.wait_for(replica.close(), 60)
            assert load(tmp_path) is not None

    run(work)
