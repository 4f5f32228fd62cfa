"""Each store in turn: fresh processes, the same work, a limit for each phase, and the comparison with exact answers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from perf.memory import touch
from perf.peers.catalogue import Entry
from perf.peers.data import cents, exact_answer, exact_variance, near_a_billion
from perf.peers.machine import Busy
from perf.peers.measure import windows_of
from perf.peers.peer import Answer
from perf.peers.results import PeerResult, Skipped, WindowTime, facts_of

ROOT = Path(__file__).resolve().parent.parent.parent
_OVERHEAD_S = 90.0  # beyond a phase's own limits, for opening, closing and the last operation that ran over
_VARIANCE_LIMIT_S = 60.0
_WARM_BYTES_A_POINT = 24
_MOST_WARM_BYTES = 2 << 30

Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with each store. directory: where the data goes; python: the interpreter of .venv-peers."""

    points: int
    append_limit_s: float
    query_limit_s: float
    restart_limit_s: float
    directory: Path
    python: Path


class Exact:
    """The exact answers; those for one number of points are computed together, once."""

    def __init__(self) -> None:
        self._answers: dict[int, dict[int, Answer]] = {}
        self._variance: Fraction | None = None

    def answer(self, points: int, window: int) -> Answer:
        """Return the statistics of the newest `window` of `points` prices."""
        if points not in self._answers:
            prices = cents(points)
            self._answers[points] = {window: exact_answer(prices, window) for window in windows_of(points)}
        return self._answers[points][window]

    def variance(self) -> Fraction:
        """Return the variance of the values near 1e9."""
        if self._variance is None:
            self._variance = exact_variance(near_a_billion())
        return self._variance


def measure(entry: Entry, plan: Plan, exact: Exact) -> PeerResult:
    """Run all phases of one store and return what was found; what fails is a result too."""
    before = Busy.now()
    points = min(plan.points, entry.most_points or plan.points)
    with _scratch(plan.directory) as scratch:
        events, problems = _phases(entry, plan, scratch, points)
    after = Busy.now()
    return _assemble(entry, events, problems, exact, (before, after))


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """Yield a new directory that other accounts may pass through: PostgreSQL does not run as root."""
    directory.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="hft-mmap-peers-", dir=directory))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _phases(entry: Entry, plan: Plan, scratch: Path, points: int) -> tuple[list[Event], list[str]]:
    data, near = scratch / "data", scratch / "near"
    for directory in (data, near):
        directory.mkdir()
        directory.chmod(0o711)
    options = {"points": points, "append_limit_s": plan.append_limit_s, "query_limit_s": plan.query_limit_s}
    os.sync()  # what the one before has left to write is no business of this one
    touch(min(_WARM_BYTES_A_POINT * points, _MOST_WARM_BYTES))
    limit_s = plan.append_limit_s + plan.query_limit_s + _OVERHEAD_S
    events, problems = _run(entry, plan, "measure", data, options, limit_s)
    windows = [event["window"] for event in events if event["event"] == "window"]
    if windows and not problems:
        rest = (
            ("restart", data, {**options, "windows": windows}, plan.restart_limit_s + plan.query_limit_s),
            ("variance", near, options, _VARIANCE_LIMIT_S),
        )
        for phase, directory, arguments, seconds in rest:
            more, wrong = _run(entry, plan, phase, directory, arguments, seconds)
            events += more
            problems += wrong
    return events, problems


def _run(
    entry: Entry, plan: Plan, phase: str, directory: Path, options: dict[str, Any], limit_s: float
) -> tuple[list[Event], list[str]]:
    """Run a phase in a fresh process; return its events, and what went wrong."""
    interpreter = Path(sys.executable) if entry.project else plan.python
    found = directory.parent / f"{phase}.events"
    arguments = {**options, "spawned": time.monotonic()}
    command = [
        str(interpreter), "-m", "perf.peers.worker", entry.name, phase, str(directory), str(found),
        json.dumps(arguments),
    ]  # fmt: skip
    variables = {name: value for name, value in os.environ.items() if not name.startswith("APP_")}
    output = directory.parent / f"{phase}.out"
    problems = []
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=directory.parent, env={**variables, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            problems.append(f"{phase}: stopped after {limit_s:.0f} s")
            code = 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and a server that it may have left behind
            process.wait()
    events: list[Event] = []
    if found.exists():
        events = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    reasons = [event["reason"] for event in events if event["event"] in {"failed", "unavailable"}]
    problems += [f"{phase}: {reason}" for reason in reasons]
    if code and not reasons:
        problems.append(f"{phase}: ended with code {code}: {output.read_text(errors='replace')[-300:]}")
    return events, problems


def _assemble(
    entry: Entry, events: Sequence[Event], problems: Sequence[str], exact: Exact, moments: tuple[Busy, Busy]
) -> PeerResult:
    """Put the events of one store together."""
    before, after = moments
    one: Event = {}
    for event in events:
        if event["event"] in {"append", "memory", "settled", "closed", "disk", "restarted", "variance"}:
            one.update(event)
    facts = next((event for event in events if event["event"] == "facts"), None)
    answers = {event["window"]: Answer(*event["answer"]) for event in events if event["event"] == "window"}
    again = {event["window"]: Answer(*event["answer"]) for event in events if event["event"] == "again"}
    windows = [_window(event, exact, one["points"]) for event in events if event["event"] == "window"]
    return PeerResult(
        name=entry.name,
        facts=facts_of({key: value for key, value in facts.items() if key != "event"}) if facts else None,
        problems=tuple(problems),
        most_points=entry.most_points,
        most_points_why=entry.most_points_why,
        points=one.get("points", 0),
        append_s=one.get("append_s"),
        batch_median_s=one.get("batch_median_s"),
        batch_p95_s=one.get("batch_p95_s"),
        batch_worst_s=one.get("batch_worst_s"),
        windows=tuple(windows),
        skipped=tuple(Skipped(e["window"], e["expected_s"]) for e in events if e["event"] == "skipped"),
        harness_bytes=one.get("harness_bytes"),
        peak_bytes=one.get("peak_bytes"),
        disk_bytes=one.get("disk_bytes"),
        settle_s=one.get("settle_s"),
        close_s=one.get("close_s"),
        restart_open_s=one.get("open_s"),
        restart_process_s=one.get("process_s"),
        restart_same=all(same(answers[window], found) for window, found in again.items()) if again else None,
        var_error=relative_error(one["var"], exact.variance()) if "var" in one else None,
        other_var_errors={name: relative_error(var, exact.variance()) for name, var in one.get("others", {}).items()},
        others_share=after.others_since(before),
        spent_s=after.at_s - before.at_s,
    )


def _window(event: Event, exact: Exact, points: int) -> WindowTime:
    found, right = Answer(*event["answer"]), exact.answer(points, event["window"])
    return WindowTime(
        event["window"],
        event["repeats"],
        event["median_s"],
        event["p95_s"],
        found[:3] == right[:3],
        relative_error(found.avg, Fraction(right.avg)),
        relative_error(found.var, Fraction(right.var)),
    )


def same(before: Answer, after: Answer) -> bool:
    """Tell whether two answers are the same: the values bit for bit, the sums but for the order they were taken in."""
    close = all(abs(one - other) <= 1e-9 * abs(one) for one, other in zip(before[3:], after[3:], strict=True))
    return before[:3] == after[:3] and close


def relative_error(found: float, exact: Fraction) -> float:
    """Return the distance from the exact value as a share of it (1.0: nothing of it is right)."""
    if exact == 0:
        return 0.0 if found == 0 else float("inf")
    return float(abs(Fraction(found) - exact) / abs(exact))
