"""Results as pyperf keeps them, whoever measured them, and as people read them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeAlias

import pyperf

from perf.case import Work

Benchmark: TypeAlias = Any  # pyperf has no types

NOTHING = 1e-30
"""What stands for zero, which pyperf refuses as a value."""
_SMALL_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (0.0, "ns"))
_LARGE_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, ""))
_SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def benchmark(
    name: str, runs: Sequence[Sequence[float]], *, work: Work | None = None, unit: str = "second",
    metadata: Mapping[str, str | int | float] | None = None,
) -> Benchmark:  # fmt: skip
    """Return values that were taken outside of pyperf's runner as a pyperf benchmark, one run a round.

    unit: "second", "byte" or "integer" (any number). Zero, which pyperf refuses, is stored as 1e-30.
    """
    common = {"name": name, "unit": unit, **(work.metadata() if work else {}), **(metadata or {})}
    common["date"] = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    return pyperf.Benchmark(
        [
            pyperf.Run([max(value, NOTHING) for value in values], metadata=common, collect_metadata=False)
            for values in runs
        ]
    )


def values_of(bench: Benchmark) -> list[float]:
    """Return every value of a benchmark."""
    return [float(value) for value in bench.get_values()]


def work_of(bench: Benchmark) -> Work | None:
    """Return the work of one operation of a benchmark."""
    metadata = bench.get_metadata()
    amount, unit = metadata.get("work_amount"), metadata.get("work_unit")
    return Work(float(amount), str(unit)) if amount and unit else None


def summary(bench: Benchmark) -> str:
    """Return one line: name, then low, middle and high of the values and of the throughput."""
    values = values_of(bench)
    low, middle, high = min(values), median(values), max(values)
    unit = bench.get_unit()
    work = work_of(bench)
    if unit == "second":
        text = f"{durations(low, middle, high):>30}"
        if work:
            rates = [work.amount / value for value in (high, middle, low)]
            text += f"  {quantities(*rates)}{work.unit}/s"
    else:
        low, middle, high = (0.0 if value <= NOTHING else value for value in (low, middle, high))
        text = f"{quantities(low, middle, high):>30}{'bytes' if unit == 'byte' else ''}"
    return f"{bench.get_name():<78}{text}  ({', '.join(circumstances(bench))})"


def circumstances(bench: Benchmark) -> list[str]:
    """Return how many values there are, with which durability tier, effort and load of the machine, as far as kept."""
    metadata = bench.get_metadata()
    said = [f"n={len(values_of(bench))}"]
    said += [str(metadata[key]) for key in ("durability", "env_effort") if key in metadata]
    if "load_start" in metadata:
        said.append(f"load {metadata['load_start']:.2f} to {metadata['load_end']:.2f}")
    return said


def durations(*seconds: float) -> str:
    """Return durations as "1.20 / 1.31 / 1.50 us", in the unit of the middle one."""
    middle = sorted(seconds)[len(seconds) // 2]
    unit = next(unit for least, unit in _SMALL_UNITS if middle >= least)
    return _joined(seconds, unit)


def quantities(*amounts: float) -> str:
    """Return amounts as "1.20 / 1.31 / 1.50 M", in the multiple of the middle one."""
    middle = sorted(amounts)[len(amounts) // 2]
    if 0 < middle < 0.01:
        return " / ".join(f"{amount:.2e}" for amount in amounts) + " "
    unit = next(unit for least, unit in _LARGE_UNITS if middle >= least)
    return _joined(amounts, unit)


def _joined(numbers: Sequence[float], unit: str) -> str:
    scaled = [number / _SCALES[unit] for number in numbers]
    return " / ".join(three_digits(number) for number in scaled) + f" {unit}"


def three_digits(number: float) -> str:
    """Return a number with three significant digits, no exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
