"""Write perf/REPORT.md, for engineers, and perf/HIGHLIGHTS.md, for everybody, out of results: `python -m perf.report`.

    python -m perf.report                       measure what is missing of today's result, then write both
    python -m perf.report --from LABEL          write them from a result that is kept
    python -m perf.report --baseline LABEL      compare with another kept result than the report before it, or with none

Measuring takes some 25 minutes at the normal effort (--fast: 19); how far it is, is told on standard error.

No figure in them is typed by hand. The plots need matplotlib, which `make report` installs.
"""

import argparse
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hft_mmap import STANDARD_WINDOWS
from perf import environment, figures, history, plots, profiling, steps, tables
from perf.case import name
from perf.lab import ROOT
from perf.peers.results import Run
from perf.peers.verdicts import in_short
from perf.record import Benchmark, durations, quantities, values_of, work_of
from perf.targets import TARGETS, asked

REPORT, HIGHLIGHTS = ROOT / "perf" / "REPORT.md", ROOT / "perf" / "HIGHLIGHTS.md"
FINDINGS = ROOT / "perf" / "findings.toml"
LABEL = "report"
Results = Mapping[str, Benchmark]

NO_BASELINE = "none"
_TOP = ("stats", "add_batch")
_PROFILE_S = 6.0
_COLD = "cold."
_WIDTH = 118


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both documents and their plots."""
    parser = argparse.ArgumentParser(prog="python -m perf.report", description="Write REPORT.md and HIGHLIGHTS.md.")
    parser.add_argument("--from", dest="source", metavar="LABEL", help="a kept result, in place of measuring")
    parser.add_argument(
        "--baseline", metavar="LABEL", help="the result to compare with, or none (default: the report before it)"
    )
    parser.add_argument("--peers", default="peers", metavar="LABEL", help="result of make peers (default: %(default)s)")
    args, options = parser.parse_known_args(arguments)
    file = history.find(args.source) if args.source else measure(options)
    baseline = history.previous(file) if args.baseline is None else None
    if args.baseline not in {None, NO_BASELINE}:
        baseline = history.find(args.baseline)
    source = Source(file, baseline, history.find(args.peers))
    plots.draw_all(history.load(file), plots.DIRECTORY)
    for document, text in source.documents().items():
        document.write_text(text, encoding="utf-8")
        print(f"wrote {document.relative_to(ROOT)}")
    figures.README.write(figures.table(history.load(file), file.name))
    print("wrote the figures of perf/README.md")
    return 0


@dataclass(frozen=True, slots=True)
class Source:
    """The kept results that the documents are made of, and of nothing else."""

    file: Path
    baseline: Path | None
    peers: Path

    @property
    def frames(self) -> Path:
        """Return where the top frames of the profiles are kept that were taken with the result."""
        return self.file.with_name(f"{self.file.stem}-frames.json")

    @classmethod
    def named_in(cls, text: str, directory: Path = history.RESULTS) -> "Source":
        """Return the results that a report says it was made of."""
        named = dict(
            re.findall(r"^\| (result|baseline|beside others) \|.*?([\w.-]+\.json|-)\)? \|$", text, re.MULTILINE)
        )
        baseline = None if named["baseline"] == "-" else directory / named["baseline"]
        return cls(directory / named["result"], baseline, directory / named["beside others"])

    def documents(self) -> dict[Path, str]:
        """Return the text of each document."""
        results = history.load(self.file)
        baseline = history.load(self.baseline) if self.baseline else {}
        peers = Run.load(self.peers)
        return {REPORT: report(results, baseline, peers, self), HIGHLIGHTS: highlights(results, peers, self)}


def measure(options: Sequence[str]) -> Path:
    """Run every benchmark that the documents take; return the file, which replaces one of the same day."""
    file = history.dated(LABEL)
    file.unlink(missing_ok=True)
    only = [part for pattern in needs() for part in ("--only", pattern)]
    # pyperf is given less than `make bench` gives it: single calls are what the percentiles come from.
    command = [sys.executable, "-m", "perf", "-o", str(file), "-p", "3", "-n", "3", *only, *options]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        print("report: not all was measured; what is missing is told as such", file=sys.stderr)
    try:
        found = {load: profiling.top_frames(load, _PROFILE_S) for load in _TOP}
    except (profiling.ProfilerMissing, profiling.ProfilerFailed) as failure:
        print(f"report: no profile: {failure}", file=sys.stderr)
    else:
        Source(file, None, file).frames.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return file


def needs() -> list[str]:
    """Return the patterns of all benchmarks that the documents take."""
    prefixes = asked() | {tables.ALLOCATIONS, _COLD, "calls.", "sweep."}
    plain = {*tables.SHOWN, *steps.needs(), *_compared_by_findings()}
    return sorted(prefixes | {one for one in plain if not one.startswith(tuple(prefixes))})


def _compared_by_findings() -> set[str]:
    findings = tomllib.loads(FINDINGS.read_text(encoding="utf-8"))["finding"]
    return {finding[side] for finding in findings for side in ("before", "after") if side in finding}


# -- the document for engineers ---------------------------------------------------------------------------------------


def report(results: Results, baseline: Results, peers: Run, source: Source) -> str:
    """Return REPORT.md."""
    metadata = next(iter(results.values())).get_metadata()
    old = next(iter(baseline.values())).get_metadata() if baseline else {}
    before = f"{old.get('env_commit', '-')} ({source.baseline.name})" if source.baseline else "none (-)"
    found = [(target, figures.read(target, dict(results))) for target in TARGETS]
    met = sum(reading.met for _, reading in found)
    lines = [
        "# Performance report",
        "",
        "Generated by `make report`; do not edit. For everybody: [HIGHLIGHTS.md](HIGHLIGHTS.md).",
        "",
        *tables.rows(
            [
                ("date", _date(results)),
                ("branch", str(metadata.get("env_branch", "-"))),
                ("commit", str(metadata.get("env_commit", "-"))),
                ("effort", str(metadata.get("env_effort", "not kept"))),
                ("baseline", before),
                ("result", source.file.name),
                ("beside others", f"{peers.environment.get('env_commit', '-')} ({source.peers.name})"),
            ]
        ),
        "",
        "## Summary",
        "",
        *_wrapped(f"{met} of the {len(found)} promised figures are met. Missed, or not measured:"),
        "",
    ]
    missed = [(target, reading) for target, reading in found if not reading.met]
    for target, reading in missed:
        text = f"{target.title}: wanted {target.limit}; {_measured(reading.text)}"
        lines += _item(f"{text}. What bounds it: {target.bound.text(results)}")
    lines += [] if missed else ["- none"]
    lines += ["", "## Times, beside the baseline", "", *_wrapped(_HOW_TIMES), "", *tables.times(results, baseline)]
    lines += ["", "## What differs from the baseline besides the code", ""]
    different = history.differences(baseline, results) if baseline else ["there is no baseline"]
    lines += [
        line
        for one in different or ["nothing"]
        for line in _item(one.replace(" | ", " before, now ").replace("None", "not kept"))
    ]
    lines += ["", "## Memory", "", *tables.memory(results, baseline)]
    lines += ["", "## Share of the bare endpoint", "", *_wrapped(_HOW_SHARES), "", *tables.shares(results)]
    if more := list(tables.more_shares(results)):
        lines += ["", *more]
    lines += ["", "### Where the processor is", "", *_profile(source)]
    lines += ["", "## Latency under load", "", *_wrapped(_HOW_LATENCY), "", *tables.latency(results)]
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
        "![Beside other stores](peers/latency.png)",
        "",
        *_plots(),
        "## Machine",
        "",
        "| | |",
        "|---|---|",
        *environment.rows(metadata),
        *figures.loads(dict(results)),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


_HOW_TIMES = (
    "median: the middle of so many values, each the mean of a loop of calls (of a round, where it is measured under "
    "load). p95 of calls: calls timed one by one, where they are measured so."
)
_HOW_SHARES = (
    "The generator shares the server's core (one), or has another (two). By processor time: that of the server for a "
    "request, which no generator distorts. The bare endpoint on our protocol class shows what routes, store and log "
    "cost on the same server."
)
_HOW_LATENCY = (
    "The server has one core. A percentile is that of the samples of all rounds; every symbol holds a million points "
    "and gets ten more all the time. Syncs and points are those of all streams."
)


def _profile(source: Source) -> Iterator[str]:
    """Yield the top of the profiles, and where it says what was done about it."""
    if not source.frames.exists():
        yield from _wrapped("No profile was kept with this result: `make report` takes one where py-spy is installed.")
        return
    yield from _wrapped(
        f"The functions at the top of the stack, by py-spy, native code included ({source.frames.name}). What was done "
        "about the largest is in the list of findings below."
    )
    yield ""
    yield from tables.frames(source.frames)


def _plots() -> Iterator[str]:
    """Yield the plots that there are; they are drawn where matplotlib is installed."""
    for stem, title in plots.TITLES.items():
        if (plots.DIRECTORY / f"{stem}.png").exists():
            yield f"![{title}](plots/{stem}.png)"
            yield ""


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


def highlights(results: Results, peers: Run, source: Source) -> str:
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
    lines += ["", *_plots(), "![Beside other stores](peers/latency.png)", ""]
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
        yield from _item(
            f"From the start of the process to its first answer: {durations(median(values_of(results[start])))}."
        )


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
