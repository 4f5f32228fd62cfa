"""What the children of the nursery do. Each tells by lines what it did: the words are the protocol of the checks.

`sent i total`: the batch that ends at total is about to be appended to symbol i; `ack i total`: the store took it;
`durable i total`: the store called it durable; `refused i Error`; `done`: everything was appended, and closed.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import hft_mmap.store
from api.cli.command import main as command_line
from hft_mmap import (
    Durability,
    HftMmapError,
    Limits,
    OffsetConflict,
    SeriesBusy,
    SeriesReadOnly,
    SeriesSetAside,
    Store,
    SymbolNotFound,
)
from hft_mmap.directory import opening, starting
from hft_mmap.errors import StoreUnusable
from hft_mmap.files.locks import attempts
from hft_mmap.testing import MEMORY
from tests.service import PATIENCE_S
from tests.torture import endless
from tests.torture.endless import Endless
from tests.torture.stream import FEW_BATCHES, SYMBOLS, Fault, Setting, Stream, streams

LIFE_LIMITS = Limits(starting_capacity=0, chunk_points=64)
SHARED_LIMITS = Limits(starting_capacity=0, chunk_points=64, max_data_retention=150, cleanup_keep_count=20)

Tell = Callable[[str], object]


def _teller(out: int) -> Tell:
    return lambda line: os.write(out, line.encode() + b"\n")


def _opened(path: str, setting: Setting) -> Store:
    # Of this process, which is for this task alone.
    starting.OPENED_AT_ONCE = setting.opened_at_once
    vars(opening)["most_awake"] = lambda: setting.opened_at_once
    return Store(path, limits=setting.limits, durability=setting.durability, sync_interval_ms=1)


def _total(store: Store, symbol: str) -> int:
    try:
        for _ in attempts(PATIENCE_S):
            with suppress(SeriesBusy):  # the store looks at it itself, which takes long on a busy machine
                return store.series(symbol).total
        return store.series(symbol).total
    except SymbolNotFound:
        return 0


def warm_up() -> None:
    """Have everything imported and compiled that a task will call."""
    setting = Setting.drawn(0, Durability.SYNC)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path, _opened(path, setting) as store:
        store.append(SYMBOLS[0], streams(setting, 1)[0].batch(0))
        store.append(SYMBOLS[1], [1.0], times=[1], sizes=[1.0])
        store.windows(SYMBOLS[0])
        store.verify()


def append(out: int, path: str, setting: dict[str, Any]) -> None:
    """Append batches, to each symbol in turn, until killed or through."""
    tell = _teller(out)
    own = Setting(**setting)
    store = _opened(path, own)
    todo = [(i, stream, stream.index(_total(store, stream.symbol))) for i, stream in enumerate(streams(own))]
    for step in range(min(len(stream.bounds) - 1 - k for _, stream, k in todo)):
        for i, stream, k in todo:
            tell(f"ack {i} {store.append(stream.symbol, stream.batch(k + step), **stream.columns(k + step))}")


def _watch(tell: Tell, store: Store, i: int, symbol: str, total: int) -> None:
    """Have it told when the points below `total` are durable."""

    def told(error: BaseException | None) -> None:
        if error is None:
            tell(f"durable {i} {total}")

    store.on_durable(symbol, total, told)


def session(
    out: int, path: str, setting: dict[str, Any], batches: int, most_tries: int, close_wait_s: float | None = None
) -> None:
    """Append so many batches to each symbol, whatever fails on the way; start the store again where it says so.

    Ends with a store that was closed in order and opened again. An error that hft_mmap does not document ends it.
    close_wait_s: how long a close waits for what does not come (None: as ever).
    """
    if close_wait_s is not None:
        vars(hft_mmap.store)["CLOSE_WAIT_S"] = close_wait_s
    tell = _teller(out)
    own = Setting(**setting)
    all_streams = streams(own, FEW_BATCHES)
    ends: list[int] = []
    tries = 0
    while tries < most_tries:
        store: Store | None = None
        try:
            store = _opened(path, own)
            totals = [_total(store, stream.symbol) for stream in all_streams]
            if not ends:
                ends = [
                    stream.bounds[stream.index(total) + batches]
                    for stream, total in zip(all_streams, totals, strict=True)
                ]
            tries += _append_to_end(tell, store, all_streams, ends, most_tries)
            store.sync()
            tell("synced")
            store.close()
            with _opened(path, own) as again:
                if again.reasons() or [_total(again, stream.symbol) for stream in all_streams] != ends:
                    tries += 1
                    continue
        except (SeriesReadOnly, SeriesSetAside, StoreUnusable) as error:
            tries += 1
            tell(f"refused - {type(error).__name__}")
            if store is not None:
                store.close()
        else:
            tell("done")
            return


def life(out: int, path: str, step: str) -> None:
    """Take one step in the life of symbol A of a store, and tell when it begins and when it is done."""
    tell = _teller(out)
    with Store(path, limits=LIFE_LIMITS, durability="process") as store:
        tell("begins")
        if step == "remove":
            store.remove("A")
        elif step == "rename":
            store.rename("A", "C/D")
        elif step == "truncate":
            store.truncate("A", keep=20)
        elif step == "restore":
            store.restore(f"{path}-snapshot", "D")
        else:
            store.create("E")
        tell("done")


def sharing(out: int, path: str, durability: str) -> None:
    """Append 1, 2, 3 … to A, beside whoever else does: rolls, cleanups, commits, a new symbol, the close."""
    tell = _teller(out)
    end = 0
    with Store(path, limits=SHARED_LIMITS, durability=durability, sync_interval_ms=1) as store:
        for size in (10, 70, 10, 70):
            store.append("A", np.arange(end + 1.0, end + size + 1.0))
            end += size
            tell(f"ack {end}")
        store.append("B", [1.0])
        store.sync()
    tell("done")


def told_session(_: int, told: str, **arguments: Any) -> None:
    """Do the same, and tell it to the file `told`, which notes it in order with what is done to files."""
    session(os.open(told, os.O_WRONLY | os.O_CLOEXEC), **arguments)


def _append_to_end(tell: Tell, store: Store, all_streams: tuple[Stream, ...], ends: list[int], most_tries: int) -> int:
    """Append to each symbol in turn up to `ends`; return how many appends were refused and then taken."""
    refused = 0
    while any(_total(store, stream.symbol) < end for stream, end in zip(all_streams, ends, strict=True)):
        for i, stream in enumerate(all_streams):
            total = _total(store, stream.symbol)
            if total >= ends[i]:
                continue
            k = stream.index(total)
            tell(f"sent {i} {stream.bounds[k + 1]}")
            try:
                total = store.append(stream.symbol, stream.batch(k), **stream.columns(k))
            except (SeriesReadOnly, SeriesSetAside):
                raise
            except HftMmapError as error:
                refused += 1
                tell(f"refused {i} {type(error).__name__}")
                if refused >= most_tries:
                    raise StoreUnusable("the disk refuses everything") from error
                continue
            tell(f"ack {i} {total}")
            _watch(tell, store, i, stream.symbol, total)
    return refused


def service(out: int, directory: str, settings: dict[str, str]) -> None:
    """Be the real service, with its console in the pipe."""
    os.chdir(Path(directory))
    os.environ.update(settings)
    os.dup2(out, 1)
    command_line(["serve"])


def program(out: int, source: str, directory: str) -> None:
    """Be the program of that source, which is given a directory, and tell the `answers` that it leaves as JSON."""
    sys.argv[1:] = [directory]
    names: dict[str, Any] = {}
    exec(compile(source, "program", "exec"), names)  # noqa: S102 - a test wrote it
    os.write(out, json.dumps(names["answers"]).encode() + b"\n")


def reopen(_: int, path: str, setting: dict[str, Any]) -> None:
    """Open a store as a service does that was killed, and be gone."""
    _opened(path, Setting(**setting))


def soak_write(out: int, path: str, durability: str, stop: str) -> None:
    """Append to each symbol in turn what belongs there, against other writers, until there is a file `stop`."""
    tell = _teller(out)
    all_streams = [Endless(which) for which in range(len(endless.SYMBOLS))]
    appends = conflicts = 0
    with Store(path, limits=endless.LIMITS, durability=durability, sync_interval_ms=5) as store:
        while not Path(stop).exists():
            for i, stream in enumerate(all_streams):
                total = store.series(stream.symbol).total
                batch, end = stream.batch(total)
                try:
                    answer = store.append(stream.symbol, batch, offset=total)
                except OffsetConflict as conflict:
                    conflicts += 1
                    stream.index(conflict.total)
                    continue
                if answer != end:
                    raise Fault(f"{stream.symbol}: {answer} points after an append up to {end}")
                appends += 1
                if appends % 50 == 0:
                    tell(f"ack {i} {answer}")
    tell(f"done {appends} {conflicts}")


def soak_read(out: int, path: str, seed: int, stop: str) -> None:
    """Ask for each symbol in turn and check every answer, with a new look at the directory now and then."""
    generator = np.random.default_rng(seed)
    all_streams = [Endless(which) for which in range(len(endless.SYMBOLS))]
    totals = [0] * len(all_streams)
    answers = 0
    while not Path(stop).exists():
        with Store(path, mode="r") as store:
            for i, stream in [*enumerate(all_streams)] * 100:
                series = store.series(stream.symbol)
                start, total, windows = series.windows_at()
                stream.check_windows(start, total, windows)
                if total < totals[i]:
                    raise Fault(f"{stream.symbol}: {total} points, and {totals[i]} before")
                totals[i] = max(total, stream.check_reads(series, int(generator.integers(1, 4000))))
                answers += 3
            faults = [fault for report in store.verify() for fault in report.faults]
            if faults or store.reasons():
                raise Fault(f"verify found {faults}, not served in full: {store.reasons()}")
    _teller(out)(f"done {answers}")
