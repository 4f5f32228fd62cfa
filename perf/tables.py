"""Tables of perf/REPORT.md, each out of one result and the one it is compared with."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from perf.experiments import calls
from perf.experiments.latency import SCENARIOS, Happened
from perf.record import Benchmark, durations, quantities, values_of, work_of

Results = Mapping[str, Benchmark]

SHOWN = (
    "reading.window[stored=1e8,window=10]",
    "reading.window[stored=1e8,window=1e8]",
    "reading.all_windows[stored=1e8]",
    "store.append[points=10]",
    "store.append[points=10,durability=interval]",
    "store.append[points=10,durability=sync]",
    "store.append[points=1e6]",
    "store.open[stored=1e8]",
    "decode.batch[values=10]",
    "decode.batch[values=1e4]",
    "protocol.stats[exponent=5,server=ours]",
    "protocol.add_batch[values=10,server=ours]",
    "throughput.stats[exponent=5,cores=one,what=ours]",
    "throughput.add_batch[values=10,durability=interval,cores=one,what=ours]",
    "throughput.add_batch[values=1e4,durability=interval,cores=two,what=ours]",
    "process.first_answer[stored=1e8]",
)
"""The table of times; a case that a result does not hold is left out."""
MEMORY = (
    "throughput.stats[exponent=5,what=peak_memory]",
    "throughput.add_batch[values=10,durability=interval,what=peak_memory]",
    "throughput.add_batch[values=1e4,durability=interval,what=peak_memory]",
)
ALLOCATIONS = "allocations."
_CONTESTS = (
    ("/stats, exponent 1", "stats[exponent=1"),
    ("/stats, exponent 5", "stats[exponent=5"),
    ("/stats, exponent 8", "stats[exponent=8"),
    ("/add_batch, 10 points", "add_batch[values=10,durability=interval"),
    ("/add_batch, 10,000 points", "add_batch[values=1e4,durability=interval"),
)
_NOTHING = "-"


def times(results: Results, baseline: Results) -> Iterator[str]:
    """Yield the middle and the p95 of each case and its throughput, each beside the baseline."""
    yield "| case | values | median | before | change | p95 of calls | before | change | throughput | before |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for case in SHOWN:
        if case in results:
            now, old = _middle(results, case), _middle(baseline, case)
            late, old_late = call_p95(results, case), call_p95(baseline, case)
            cells = [f"`{case}`", str(len(values_of(results[case])))]
            cells += [_time(now), _time(old), change(now, old), _time(late), _time(old_late), change(late, old_late)]
            yield "| " + " | ".join([*cells, _rate(results, case), _rate(baseline, case)]) + " |"


def call_p95(results: Results, case: str) -> float | None:
    """Return the time that 95 % of the calls did not exceed; None where only means of many were measured."""
    timed = calls.label(case, 95)
    if timed in results:
        return median(values_of(results[timed]))
    if case in results and case.startswith("process."):  # a value of these is one start
        return sorted(values_of(results[case]))[(len(values_of(results[case])) * 95 - 1) // 100]
    return None


def change(now: float | None, old: float | None) -> str:
    """Return by how much it is more than it was."""
    return f"{now / old - 1:+.0%}" if now and old else _NOTHING


def memory(results: Results, baseline: Results) -> Iterator[str]:
    """Yield the peaks of the service's memory and the allocations of a request, beside the baseline."""
    yield "| | now | before | change |"
    yield "|---|--:|--:|--:|"
    for case in (*MEMORY, *sorted(one for one in results if one.startswith(ALLOCATIONS))):
        if case in results:
            now, old = median(values_of(results[case])), _middle(baseline, case)
            unit = "B peak" if case in MEMORY else "allocations"
            before = f"{quantities(old)}{unit}" if old else _NOTHING
            yield f"| `{case}` | {quantities(now)}{unit} | {before} | {change(now, old)} |"


def shares(results: Results) -> Iterator[str]:
    """Yield what the service does beside the bare endpoint: uvicorn's and the one on its own protocol class."""
    yield (
        "| request | cores | ours | bare | share | by processor time | bare on our protocol class | share of it "
        "| by processor time |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for title, case in _CONTESTS:
        for cores in ("one", "two"):

            def what(kind: str, case: str = case, cores: str = cores) -> float | None:
                return _middle(results, f"throughput.{case},cores={cores},what={kind}]")

            if what("ours"):
                cells = [title, cores, _requests(what("ours")), _requests(what("bare")), _share(what("share"))]
                cells += [_share(what("cpu_share")), _requests(what("bare_own")), _share(what("share_of_own"))]
                yield "| " + " | ".join([*cells, _share(what("cpu_share_of_own"))]) + " |"


def more_shares(results: Results) -> Iterator[str]:
    """Yield what the service does beside endpoints with less around them, where that was measured."""
    forms = {"asgi": "bare_asgi", "prepared": "bare_prepared", "axum": "axum"}
    rows = []
    for title, case in _CONTESTS:
        for cores in ("one", "two"):
            found = [_middle(results, f"throughput.{case},cores={cores},what={who}]") for who in forms.values()]
            if any(found):
                cells = [title, cores]
                for form, rate in zip(forms, found, strict=True):
                    share = _middle(results, f"throughput.{case},cores={cores},what=share_of_{form}]")
                    cells += [_requests(rate), _share(share)]
                rows.append("| " + " | ".join(cells) + " |")
    if rows:
        yield "| request | cores | ASGI without framework | share | short way alone | share | axum | share |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|"
        yield from rows


def latency(results: Results) -> Iterator[str]:
    """Yield the percentiles of all samples of each scenario, the spread of the rounds, and what happened meanwhile."""
    yield "| scenario | requests | p50 | p95 | p99 | p99.9 | rounds' p99.9 | worst | meanwhile |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|---|"
    for scenario in SCENARIOS:
        for stream in ("stats", "add_batch"):
            prefix = f"latency.{scenario.label}[of={stream},p="
            pooled = [results.get(f"{prefix}{p},rounds=pooled]") for p in ("50", "95", "99", "99.9", "worst")]
            if all(pooled):
                metadata = pooled[0].get_metadata()  # type: ignore[union-attr]
                rate = metadata["rate"] if metadata["rate"] == "closed loop" else f"{metadata['rate']:,} a second"
                cells = [durations(median(values_of(one))) for one in pooled]
                rounds = values_of(results[f"{prefix}99.9]"])
                spread = durations(min(rounds), max(rounds))
                told = _happened(results, scenario.label) if stream == "stats" else ""
                row = [
                    scenario.label,
                    f"{stream}, {metadata['requests']:,}, {rate}",
                    *cells[:4],
                    spread,
                    cells[4],
                    told,
                ]
                yield "| " + " | ".join(row) + " |"


def _happened(results: Results, label: str) -> str:
    found = {what: _middle(results, f"latency.{label}[happened={what}]") for what in Happened.__slots__}
    return ", ".join(
        f"{number:,.0f} {what.replace('_', ' ')}" for what, number in found.items() if number and number >= 1
    )


def frames(file: Path) -> Iterator[str]:
    """Yield the functions that py-spy met most often at the top of the stack, for each load."""
    for load, found in json.loads(file.read_text(encoding="utf-8")).items():
        yield f"`{load}`, {found['samples']:,} samples:"
        yield ""
        yield "| function | samples |"
        yield "|---|--:|"
        yield from (f"| `{one['frame'].replace('|', ' ')}` | {one['share']:.1%} |" for one in found["top"])
        yield ""


def _middle(results: Results, case: str) -> float | None:
    return median(values_of(results[case])) if case in results else None


def _time(seconds: float | None) -> str:
    return _NOTHING if seconds is None else durations(seconds)


def _rate(results: Results, case: str) -> str:
    work = work_of(results[case]) if case in results else None
    return f"{quantities(work.amount / median(values_of(results[case])))}{work.unit}/s" if work else _NOTHING


def _requests(seconds: float | None) -> str:
    return f"{quantities(1 / seconds)}/s" if seconds else _NOTHING


def _share(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.2f}"


def rows(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a table of two columns without a head."""
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in pairs)]
