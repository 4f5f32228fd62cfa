"""The error of average and variance where running sums of squares lose everything: a million prices at 1e9 ± 1."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hft_mmap import Durability, Store
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.record import Benchmark, benchmark

POINTS = 1_000_000
LEVEL = 1e9


def prices_at_level() -> NDArray[np.float64]:
    """Return POINTS prices spread evenly at random over LEVEL ± 1."""
    return LEVEL + np.random.default_rng(3).uniform(-1.0, 1.0, POINTS)


def exact_avg_and_var(values: NDArray[np.float64]) -> tuple[Fraction, Fraction]:
    """Return average and population variance as exact rationals; values near 1e9 are whole multiples of 2^-23."""
    scale = 2**23
    whole = [int(value) for value in (values * scale).tolist()]
    assert all(one / scale == value for one, value in zip(whole, values.tolist(), strict=True))
    n = len(whole)
    total = sum(whole)
    squares = sum(one * one for one in whole)
    return Fraction(total, n * scale), Fraction(n * squares - total * total, (n * scale) ** 2)


def relative_error(found: float, exact: Fraction) -> float:
    """Return |found - exact| / exact."""
    return float(abs(Fraction(found) - exact) / exact)


def _measure(lab: Lab, _effort: Effort) -> Iterator[Benchmark]:
    values = prices_at_level()
    avg, var = exact_avg_and_var(values)
    with lab.scratch() as scratch, Store(scratch / "data", durability=Durability.PROCESS) as store:
        for i in range(0, POINTS, 1_000):
            store.append(SYMBOL, values[i : i + 1_000])
        found = store.stats(SYMBOL, POINTS)
    with_sums = float((values * values).mean() - values.mean() ** 2)
    for case, value, exact in (
        ("avg", found.avg, avg), ("var", found.var, var), ("var_from_sums_of_squares", with_sums, var),
    ):  # fmt: skip
        error = relative_error(value, exact)
        yield benchmark(name("accuracy", case, points=POINTS), [[error]], unit="integer")


EXPERIMENTS = (Experiment("accuracy", _measure, "process"),)
