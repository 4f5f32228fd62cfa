"""The measurements, taken in the process that holds the store; each is reported as soon as it is there."""

import os
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from perf.peers.data import BATCH_POINTS, batches, near_a_billion
from perf.peers.peer import Peer, Prices, bytes_on_disk, peak_memory_bytes

Report: TypeAlias = Callable[[str, Mapping[str, object]], None]

FIRST_WINDOW = 10
_MOST_REPEATS = 1000
_LEAST_REPEATS = 5
_ENOUGH_S = 1.0
_WINDOW_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a phase may go on before it stops by itself."""

    append_s: float
    query_s: float


def windows_of(points: int) -> list[int]:
    """Return the windows to ask for: 10, 100, … up to `points`, and all of them."""
    found = []
    window = FIRST_WINDOW
    while window < points:
        found.append(window)
        window *= 10
    return [*found, points]


def percentile_95(values: Iterable[float]) -> float:
    """Return the value that 95 % of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * 95 // 100) - 1]


def append_and_ask(peer: Peer, path: Path, points: int, limits: Limits, report: Report) -> None:
    """Append up to `points` prices, ask for the windows, close."""
    harness_bytes = peak_memory_bytes(os.getpid())
    peer.open(path)
    report("facts", asdict(peer.facts()))
    appended = _append(peer, batches(points), limits.append_s, report)
    report("memory", {"harness_bytes": harness_bytes, "after_append_bytes": peer.peak_memory_bytes()})
    start = time.perf_counter()
    peer.settle()
    report("settled", {"settle_s": time.perf_counter() - start})
    _ask(peer, windows_of(appended), limits.query_s, report)
    report("memory", {"peak_bytes": peer.peak_memory_bytes()})
    start = time.perf_counter()
    peer.close()
    report("closed", {"close_s": time.perf_counter() - start})
    report("disk", {"disk_bytes": bytes_on_disk(path)})


def _append(peer: Peer, source: Iterable[Prices], limit_s: float, report: Report) -> int:
    appended = 0
    spent = 0.0
    times = array("d")
    for batch in source:
        start = time.perf_counter()
        peer.append(batch)
        taken = time.perf_counter() - start
        appended += len(batch)
        spent += taken
        times.append(taken)
        if spent > limit_s:
            break
    report(
        "append",
        {
            "points": appended, "append_s": spent, "batch_median_s": median(times), "batch_p95_s": percentile_95(times),
            "batch_worst_s": max(times),
        },
    )  # fmt: skip
    return appended


def _ask(peer: Peer, windows: Sequence[int], limit_s: float, report: Report) -> None:
    """Time each window, smallest first, for as long as there is time."""
    start = time.perf_counter()
    expected_s = 0.0
    for place, window in enumerate(windows):
        if time.perf_counter() - start + expected_s > limit_s:
            report("skipped", {"window": window, "expected_s": expected_s})
            continue
        answer = peer.query(window)
        times = _times(peer, window)
        middle = median(times)
        report(
            "window",
            {
                "window": window,
                "repeats": len(times),
                "median_s": middle,
                "p95_s": percentile_95(times),
                "answer": answer,
            },
        )
        if place + 1 < len(windows):
            expected_s = middle * windows[place + 1] / window


def _times(peer: Peer, window: int) -> list[float]:
    """Return how long queries of this window take.

    Each asks for a little less than the one before, so that a remembered answer is no help.
    """
    variety = min(window // 2, _MOST_REPEATS)
    times: list[float] = []
    began = time.perf_counter_ns()
    while len(times) < _MOST_REPEATS:
        asked = window - len(times) % variety
        start = time.perf_counter_ns()
        peer.query(asked)
        end = time.perf_counter_ns()
        times.append((end - start) / 1e9)
        spent = (end - began) / 1e9
        if spent > (_ENOUGH_S if len(times) >= _LEAST_REPEATS else _WINDOW_LIMIT_S):
            break
    return times


def reopen_and_ask(
    peer: Peer, path: Path, windows: Sequence[int], limits: Limits, spawned: float, report: Report
) -> None:
    """Open what is stored, ask at once, then ask for the windows again.

    spawned: time.monotonic() when this process was started.
    """
    start = time.perf_counter()
    peer.open(path)
    peer.query(FIRST_WINDOW)
    end = time.perf_counter()
    report("restarted", {"open_s": end - start, "process_s": time.monotonic() - spawned})
    for window in windows:
        began = time.perf_counter()
        answer = peer.query(window)
        ended = time.perf_counter()
        report("again", {"window": window, "again_s": ended - began, "answer": answer})
        if ended - end > limits.query_s:
            break
    peer.close()


def variance(peer: Peer, path: Path, report: Report) -> None:
    """Append the values near 1e9 to an empty store and ask for the variance of all of them."""
    values = near_a_billion()
    peer.open(path)
    for start in range(0, len(values), BATCH_POINTS):
        peer.append(values[start : start + BATCH_POINTS])
    found = peer.query(len(values))
    report("variance", {"var": found.var, "others": peer.other_variances(len(values))})
    peer.close()
