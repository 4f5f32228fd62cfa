"""A store of a hundred symbols, each used in turn: the next question or batch is always for another one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from unittest.mock import patch

import numpy as np

from hft_mmap import Durability, Limits, Store
from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import Lab
from perf.memory import no_collection

COUNT = 100
"""So many keep their files open whatever the limits of the machine: what is beyond is measured by its experiment."""
_LIMITS = Limits(max_symbols=2 * COUNT, starting_capacity=0)
_BATCH = np.full(10, 1.5)


def _using(use: Callable[[Store, str], object]) -> Prepare:
    """Use one symbol after the other."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        symbols = [f"S{number:03}-USD" for number in range(COUNT)]
        with lab.scratch() as scratch, no_collection():
            # What is measured waits for no disk, so neither does what comes before it.
            with patch("os.fsync"), patch("os.fdatasync"):
                store = Store(scratch / "data", limits=_LIMITS, durability=Durability.PROCESS)
                for symbol in symbols:
                    store.append_nowait(symbol, _BATCH)
            with store:
                turn = cycle(symbols)
                yield timed(lambda: use(store, next(turn)))

    return prepare


def _stats(store: Store, symbol: str) -> object:
    return store.stats(symbol, 10)


def _append(store: Store, symbol: str) -> object:
    return store.append_nowait(symbol, _BATCH)


def _page(store: Store, symbol: str) -> object:
    return store.symbols(after=symbol, limit=20)


def cases() -> list[Case]:
    """Return the cases of this suite."""
    of_one = Work(1, "symbols")
    return [
        Case(name("symbols", "stats_in_turn", symbols=COUNT), _using(_stats), of_one, guarded=True),
        Case(
            name("symbols", "append_in_turn", symbols=COUNT),
            _using(_append),
            of_one,
            guarded=True,
            metadata={"durability": Durability.PROCESS},
        ),
        Case(name("symbols", "page", symbols=COUNT), _using(_page), Work(20, "symbols")),
    ]
