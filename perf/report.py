"""Write perf/REPORT.md, for engineers, and perf/HIGHLIGHTS.md, for everybody, out of results: `python -m perf.report`.

    python -m perf.report                       measure what is missing of today's result, then write both
    python -m perf.report --from LABEL          write them from a result that is kept
    python -m perf.report --baseline LABEL      compare with another kept result than the one before it

No figure in them is typed by hand. The plots need matplotlib, which `make report` installs.
"""

import argparse
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from hft_mmap import STANDARD_WINDOWS
from perf import environment, figures, history, plots, steps
from perf.case import name
from perf.lab import ROOT
from perf.peers.report import in_short
from perf.peers.results import Run
from perf.record import Benchmark, durations, quantities, values_of, work_of
from perf.targets import TARGETS

REPORT, HIGHLIGHTS = ROOT / "perf" / "REPORT.md", ROOT / "perf" / "HIGHLIGHTS.md"
FINDINGS = ROOT / "perf" / "findings.toml"
LABEL = "report"
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
_MEMORY = (
    "throughput.stats[exponent=5,what=peak_memory]",
    "throughput.add_batch[values=10,durability=interval,what=peak_memory]",
    "throughput.add_batch[values=1e4,durability=interval,what=peak_memory]",
)
_ALLOCATIONS = "allocations."
_COLD = "cold."
_WIDTH = 118


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both documents and their plots."""
    parser = argparse.ArgumentParser(prog="python -m perf.report", description="Write REPORT.md and HIGHLIGHTS.md.")
    parser.add_argument("--from", dest="source", metavar="LABEL", help="a kept result, in place of measuring")
    parser.add_argument("--baseline", metavar="LABEL", help="the result to compare with (default: none)")
    parser.add_argument("--peers", default="peers", metavar="LABEL", help="result of make peers (default: %(default)s)")
    args, options = parser.parse_known_args(arguments)
    file = history.find(args.source) if args.source else measure(options)
    results = history.load(file)
    baseline_file = history.find(args.baseline) if args.baseline else None
    baseline = history.load(baseline_file) if baseline_file else {}
    peers = Run.load(history.find(args.peers))
    drawn = plots.draw_all(results, ROOT / "perf" / "plots")
    source = Source(file, baseline_file)
    REPORT.write_text(report(results, baseline, peers, source, drawn), encoding="utf-8")
    HIGHLIGHTS.write_text(highlights(results, peers, source, drawn), encoding="utf-8")
    print(f"wrote {REPORT.relative_to(ROOT)} and {HIGHLIGHTS.relative_to(ROOT)}")
    return 0


class Source:
    """Which files the figures come from, and on which branch the report was written."""

    def __init__(self, file: Path, baseline: Path | None) -> None:
        self.file = file
        self.baseline = baseline
        self.branch = environment.git("rev-parse", "--abbrev-ref", "HEAD") or "-"


def measure(options: Sequence[str]) -> Path:
    """Run every benchmark that the documents take; return the file, which replaces one of the same day."""
    file = history.dated(LABEL)
    file.unlink(missing_ok=True)
    plain = {*SHOWN, *steps.needs(), *plots.needs(), *_compared_by_findings()}
    asked = sorted({pattern for target in TARGETS for pattern in target.needs} | {_ALLOCATIONS[:-1], _COLD[:-1]})
    asked += sorted(one for one in plain if not any(one.startswith(pattern) for pattern in asked))
    only = [part for pattern in asked for part in ("--only", pattern)]
    subprocess.run([sys.executable, "-m", "perf", "-o", str(file), *only, *options], cwd=ROOT, check=True)
    return file


def _compared_by_findings() -> set[str]:
    findings = tomllib.loads(FINDINGS.read_text(encoding="utf-8"))["finding"]
    return {finding[side] for finding in findings for side in ("before", "after") if side in finding}


# -- the document for engineers ---------------------------------------------------------------------------------------


def report(results: Results, baseline: Results, peers: Run, source: Source, drawn: Sequence[Path]) -> str:
    """Return REPORT.md."""
    metadata = next(iter(results.values())).get_metadata()
    old = next(iter(baseline.values())).get_metadata() if baseline else {}
    found = [(target, figures.read(target, dict(results))) for target in TARGETS]
    met = sum(reading.met for _, reading in found)
    lines = [
        "# Performance report",
        "",
        "Generated by `make report`; do not edit. For everybody: [HIGHLIGHTS.md](HIGHLIGHTS.md).",
        "",
        "| | |",
        "|---|---|",
        f"| date | {_date(results)} |",
        f"| branch | {source.branch} |",
        f"| commit | {metadata.get('env_commit', '-')} |",
        f"| baseline | {old.get('env_commit', 'none')} ({source.baseline.name if source.baseline else '-'}) |",
        f"| result | {source.file.name} |",
        "",
        "## Summary",
        "",
        *_wrapped(f"{met} of the {len(found)} promised figures are met. Missed, or not measured:"),
        "",
    ]
    lines += [
        line for target, reading in found if not reading.met
        for line in _item(f"{target.title}: wanted {target.limit}; {_measured(reading.text)}")
    ] or ["- none"]  # fmt: skip
    lines += ["", "## Times, beside the baseline", ""]
    lines += _times(results, baseline)
    lines += ["", "## Memory", ""]
    lines += _memory(results, baseline)
    lines += ["", "## What each step is worth", "", "| work | step | time | over the step before | over the first |"]
    lines += ["|---|---|--:|--:|--:|", *("| " + " | ".join(row) + " |" for row in steps.rows(results))]
    lines += ["", "## What the profiles showed, and what was done", ""]
    lines += _findings(results, ("done", "rejected"))
    lines += ["", "## Next", ""]
    lines += _findings(results, ("next",))
    lines += [
        "",
        "## Beside other stores",
        "",
        *in_short(peers),
        "",
        "All of it: [peers/REPORT.md](peers/REPORT.md).",
        "",
    ]
    lines += [line for plot in drawn for line in (f"![{plots.TITLES[plot.stem]}](plots/{plot.name})", "")]
    lines += ["## Machine", "", "| | |", "|---|---|"]
    lines += environment.rows(metadata)
    return "\n".join(lines) + "\n"


def _times(results: Results, baseline: Results) -> Iterator[str]:
    yield "| case | p50 | p95 | throughput | baseline p50 | change of p50 |"
    yield "|---|--:|--:|--:|--:|--:|"
    for case in SHOWN:
        if case not in results:
            continue
        p50, p95 = _p(results[case], 50), _p(results[case], 95)
        work = work_of(results[case])
        rate = f"{quantities(work.amount / p50)}{work.unit}/s" if work else ""
        before = _p(baseline[case], 50) if case in baseline else None
        old, change = (durations(before), f"{p50 / before - 1:+.0%}") if before else ("-", "-")
        yield f"| `{case}` | {durations(p50)} | {durations(p95)} | {rate} | {old} | {change} |"


def _memory(results: Results, baseline: Results) -> Iterator[str]:
    yield "| | now | baseline | change |"
    yield "|---|--:|--:|--:|"
    for case in (*_MEMORY, *sorted(one for one in results if one.startswith(_ALLOCATIONS))):
        if case not in results:
            continue
        now = median(values_of(results[case]))
        unit = "B peak" if case in _MEMORY else "allocations"
        old = median(values_of(baseline[case])) if case in baseline else None
        change = f"{now / old - 1:+.0%}" if old else "-"
        yield f"| `{case}` | {quantities(now)}{unit} | {quantities(old) + unit if old else '-'} | {change} |"


def _findings(results: Results, states: Sequence[str]) -> Iterator[str]:
    for number, finding in enumerate(tomllib.loads(FINDINGS.read_text(encoding="utf-8"))["finding"], 1):
        if finding["state"] in states:
            text = f"**{finding['action']}** ({finding['state']}). {_sentence(finding['found'])} "
            text += f"Gain: {_gain(finding, results)}. Seen with `{finding['profile']}`."
            yield from _item(text, mark=f"{number}. ")


def _gain(finding: Mapping[str, Any], results: Results) -> str:
    before, after = str(finding.get("before")), str(finding.get("after"))
    if before in results and after in results:
        old, new = (median(values_of(results[one])) for one in (before, after))
        return f"{durations(old)} to {durations(new)}, {old / new:.2f}x (`{before}`, `{after}`)"
    return str(finding.get("gain", f"measured by `{before}` and `{after}`, which this result does not hold"))


# -- the document for everybody ---------------------------------------------------------------------------------------


def highlights(results: Results, peers: Run, source: Source, drawn: Sequence[Path]) -> str:
    """Return HIGHLIGHTS.md."""
    lines = [
        "# Highlights",
        "",
        *_wrapped(
            f"Generated by `make report` from {source.file.name} and the run beside other stores of {peers.date[:10]}; "
            "do not edit. How it was measured, and what is missed: [REPORT.md](REPORT.md)."
        ),
        "",
        "## In one look",
        "",
        *_headlines(results),
        "",
        "## Beside what one would use instead",
        "",
        *in_short(peers),
        "",
        "## Cold against warm",
        "",
        *_cold(results),
        "",
        "## Memory and disk, beside the alternatives",
        "",
        "| store | points | peak memory | disk | bytes a point |",
        "|---|--:|--:|--:|--:|",
    ]
    for peer in peers.peers:
        if peer.facts and peer.points and peer.disk_bytes is not None:
            peak = f"{quantities(peer.peak_bytes)}B" if peer.peak_bytes else "-"
            size = f"{quantities(peer.disk_bytes)}B"
            each = f"{peer.disk_bytes / peer.points:.2f}"
            lines.append(f"| {peer.title} | {peer.points:,} | {peak} | {size} | {each} |")
    lines.append("")
    lines += [line for plot in drawn for line in (f"![{plots.TITLES[plot.stem]}](plots/{plot.name})", "")]
    lines += ["![Beside other stores](peers/latency.png)", ""]
    return "\n".join(lines)


def _headlines(results: Results) -> Iterator[str]:
    narrow, wide = (name("reading", "window", stored=10**8, window=w) for w in (10, 10**8))
    if narrow in results and wide in results:
        a, b = (median(values_of(results[one])) for one in (narrow, wide))
        yield from _item(
            f"Min, max, last, average and variance of the newest 10 points take {durations(a)}, of the newest "
            f"100,000,000 {durations(b)}: {10**8 / b:.1e} points a second."
        )
    everything = "reading.all_windows[stored=1e8]"
    if everything in results:
        yield from _item(
            f"All {len(STANDARD_WINDOWS)} windows at once: {durations(median(values_of(results[everything])))}."
        )
    for title, case in (
        (
            "/stats over HTTP, one core, the load generator on the same",
            "throughput.stats[exponent=5,cores=one,what=ours]",
        ),
        (
            "/add_batch of 10,000 prices",
            "throughput.add_batch[values=1e4,durability=interval,cores=two,what=ours]",
        ),
        ("append of 1,000,000 prices from a program", "store.append[points=1e6]"),
    ):
        if case in results:
            work = work_of(results[case])
            amount = work.amount if work else 1
            unit = work.unit if work else "operations"
            yield from _item(f"{title}: {quantities(amount / median(values_of(results[case])))}{unit} a second.")
    start = "process.first_answer[stored=1e8]"
    if start in results:
        yield from _item(f"From the start of the process to its first answer: {durations(_p(results[start], 50))}.")


def _cold(results: Results) -> Iterator[str]:
    yield "| 1e8 points, a fresh process | nothing in memory | everything in memory |"
    yield "|---|--:|--:|"
    for what, title in (
        ("open", "open the store"),
        ("first_windows", "first answer of all eight windows"),
        ("next_windows", "the same again"),
    ):
        names = [name("cold", what, stored=10**8, memory=state) for state in ("cold", "warm")]
        if all(one in results for one in names):
            cold, warm = (durations(median(values_of(results[one]))) for one in names)
            yield f"| {title} | {cold} | {warm} |"


# -- text -------------------------------------------------------------------------------------------------------------


def _p(bench: Benchmark, percent: int) -> float:
    values = sorted(values_of(bench))
    return values[min(len(values) - 1, len(values) * percent // 100)]


def _date(results: Results) -> str:
    return min(str(run.get_metadata()["date"]) for bench in results.values() for run in bench.get_runs())[:10]


def _measured(text: str) -> str:
    return text if text.startswith("not measured") else f"measured {text}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _item(text: str, mark: str = "- ") -> list[str]:
    indent = " " * len(mark)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=mark, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    sys.exit(main())
