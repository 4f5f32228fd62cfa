"""Reading the JSON body of an append, and what the plain way would take: orjson, then numpy."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter

import numpy as np
import orjson

from api.body.decode import Decoder
from perf.case import Case, Prepare, TimeFunction, Work, name, simple
from perf.lab import SYMBOL, Lab
from perf.prices import random_walk

SIZES = (10, 1_000, 10_000, 100_000)


def body(values: int, seed: int = 1) -> bytes:
    """Return the body of one append: cents, as a trading desk sends them."""
    return orjson.dumps({"symbol": SYMBOL, "values": random_walk(values, seed).tolist()})


def full_precision_body(values: int) -> bytes:
    """Return the body of one append whose numbers take all 17 digits."""
    return orjson.dumps({"symbol": SYMBOL, "values": (random_walk(values) / 3.0).tolist()})


def _decode(raw: bytes, values: int) -> Prepare:
    @contextmanager
    def prepare(_lab: Lab) -> Iterator[TimeFunction]:
        decoder = Decoder(1_000_000)

        async def read(loops: int) -> float:
            quick, decode = decoder.quick, decoder.decode_rows
            begin = perf_counter()
            for _ in repeat(None, loops):
                # As the resource does it: whatever the quick way does not take goes the other.
                quick(raw) or await decode(raw)
            return perf_counter() - begin

        with asyncio.Runner() as runner:
            symbol, found, _ = decoder.quick(raw) or runner.run(decoder.decode_rows(raw))
            assert (symbol, len(found)) == (SYMBOL, values)
            yield lambda loops: runner.run(read(loops))

    return prepare


def _plainly(raw: bytes) -> Prepare:
    def build() -> Callable[[], object]:
        return lambda: np.array(orjson.loads(raw)["values"], dtype=np.float64)

    return simple(build)


def _most_plainly(raw: bytes) -> Prepare:
    def build() -> Callable[[], object]:
        return lambda: np.array(json.loads(raw)["values"], dtype=np.float64)

    return simple(build)


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(name("decode", "batch", values=n), _decode(body(n), n), Work(n, "values"), guarded=n in {10, 10_000})
        for n in SIZES
    ]
    found.append(
        Case(name("decode", "full_precision", values=10_000), _decode(full_precision_body(10_000), 10_000),
             Work(10_000, "values"))
    )  # fmt: skip
    found.append(
        Case(name("decode", "bytes", values=10_000), _decode(body(10_000), 10_000), Work(len(body(10_000)), "bytes"))
    )
    found.append(Case(name("decode", "json_numpy", values=10_000), _most_plainly(body(10_000)), Work(10_000, "values")))
    found += [Case(name("decode", "orjson_numpy", values=n), _plainly(body(n)), Work(n, "values")) for n in SIZES]
    return found
