"""REPORT.md out of the figures: `python -m perf.peers.report perf/results/DATE_peers.json`; nothing in it is typed."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from perf.peers.numbers import NOTHING, count, error, percent, power, seconds, size
from perf.peers.results import PeerResult, Run
from perf.peers.verdicts import in_short, item, library, measured_in, paragraph

HERE = Path(__file__).resolve().parent
REPORT = HERE / "REPORT.md"


# -- building blocks --------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|--:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


# -- sections ---------------------------------------------------------------------------------------------------------


def _work(run: Run) -> Iterator[str]:
    def row(peer: PeerResult) -> tuple[str, ...]:
        facts = peer.facts
        return (
            peer.title,
            power(peer.points),
            count(peer.rate),
            seconds(peer.batch_p95_s),
            size(peer.peak_bytes),
            size(peer.disk_bytes),
            NOTHING if peer.disk_bytes is None else f"{peer.disk_bytes / peer.points:.2f}",
            seconds(peer.restart_open_s),
            seconds(peer.restart_process_s),
            facts.survives.value if facts else NOTHING,
        )

    head = (
        "store", "points", "points/s", "batch p95", "peak memory", "disk", "B/point", "reopen", "with process",
        "an append survives",
    )  # fmt: skip
    yield from _table(head, (row(peer) for peer in measured_in(run)))


def _queries(run: Run) -> Iterator[str]:
    windows = [10**k for k in range(1, len(str(run.points)))]
    if run.points not in windows:
        windows.append(run.points)

    def cell(peer: PeerResult, window: int) -> str:
        found = peer.window(window)
        if found is not None:
            return seconds(found.median_s)
        expected = peer.extrapolated_s(window)
        return f"~{seconds(expected)}" if expected is not None else NOTHING

    rows = ([peer.title, *(cell(peer, window) for window in windows)] for peer in measured_in(run))
    yield from _table(["median", *(power(window) for window in windows)], rows)
    yield ""

    def late(peer: PeerResult, window: int) -> str:
        found = peer.window(window)
        return seconds(found.p95_s) if found else NOTHING

    rows = ([peer.title, *(late(peer, window) for window in windows)] for peer in measured_in(run))
    yield from _table(["p95", *(power(window) for window in windows)], rows)
    yield ""

    def repeats(peer: PeerResult) -> str:
        return f"{peer.title}: " + ", ".join(f"{power(found.window)}: {found.repeats}" for found in peer.windows)

    yield from paragraph(f"Queries behind each figure: {'; '.join(repeats(peer) for peer in measured_in(run))}.")


def _exactness(run: Run) -> Iterator[str]:
    def row(peer: PeerResult) -> tuple[str, ...]:
        ends = "yes" if all(found.exact_ends for found in peer.windows) else "NO"
        again = {True: "yes", False: "NO", None: NOTHING}[peer.restart_same]
        others = "; ".join(f"{name} {error(found)}" for name, found in (peer.other_var_errors or {}).items())
        return (
            peer.title,
            ends,
            error(max((found.avg_error for found in peer.windows), default=None)),
            error(max((found.var_error for found in peer.windows), default=None)),
            error(peer.var_error),
            others or NOTHING,
            again,
        )

    head = (
        "store",
        "min, max, last exact",
        "avg error",
        "var error",
        "var at 1e9 ± 1",
        "other variance",
        "same after restart",
    )
    yield from _table(head, (row(peer) for peer in measured_in(run)))
    yield ""
    yield from paragraph(
        "Errors are relative: 1 means that no digit is right. avg and var are compared with those of the decimal "
        "prices, from which the nearest float64 values themselves differ by about 1e-13 in var; the variance at "
        "1e9 ± 1 is compared with the exact rational value of the very float64 values."
    )


def _incomplete(run: Run) -> Iterator[str]:
    found = False
    for peer in run.peers:
        for text in _shortfalls(run, peer):
            found = True
            yield from item(f"{peer.title}: {text}")
    if not found:
        yield "Everything was measured in full."


def _shortfalls(run: Run, peer: PeerResult) -> Iterator[str]:
    """Yield what was not measured of a store, and why."""
    yield from peer.problems
    if peer.most_points is not None and peer.most_points < run.points:
        why = peer.most_points_why or "so that the whole run stays within minutes"
        yield f"given {power(peer.most_points)} points at most: {why}"
    elif peer.append_s is not None and peer.points < run.points:
        full_s = run.points / peer.rate if peer.rate else None
        yield (
            f"appending was stopped after {run.append_limit_s:g} s, at {peer.points:,} of {run.points:,} points; all "
            f"of them would have taken {seconds(full_s)}; everything else was measured on those"
        )
    for skipped in peer.skipped:
        yield f"window {power(skipped.window)} not asked for: it would have taken about {seconds(skipped.expected_s)}"


def _stores(run: Run) -> Iterator[str]:
    for peer in run.peers:
        if peer.facts is None:
            continue
        yield f"### {peer.title}"
        yield ""
        yield from item(f"{peer.facts.version}; licence: {peer.facts.licence}")
        yield from item(f"answers by: {peer.facts.method.value}")
        for setting in peer.facts.settings:
            yield from item(setting)
        yield from item(f"durability: {peer.facts.durability}")
        yield ""


def _environment(run: Run) -> Iterator[str]:
    for key, value in run.environment.items():
        yield from item(f"{key.removeprefix('env_')}: {value}")
    shares = "; ".join(f"{peer.title} {percent(peer.others_share)}" for peer in measured_in(run))
    yield from item(f"share of the cores that other programs and the kernel used meanwhile: {shares}")
    yield from item(
        f"limits: {run.append_limit_s:g} s of appending, {run.query_limit_s:g} s of queries, "
        f"{run.restart_limit_s:g} s until it answers after a restart; the whole run took {run.spent_s / 60:.1f} "
        "minutes"
    )


_READING = (
    (
        "points/s: the points appended by the time spent in the append calls, each of which returns when it has "
        "kept the store's promise (last column); a query right after sees them. Making the prices is not counted."
    ),
    (
        "peak memory: VmHWM of the process that holds the data (a server's own; an embedded store's with the "
        "Python process around it, which has {harness} before it opens anything in .venv-peers and {ours} with "
        "hft-mmap imported), after the queries. Pages of memory-mapped files count, though the kernel can take "
        "them back at any time."
    ),
    (
        "disk: space allocated after an orderly close. reopen: from opening to the first answer, in a fresh "
        "process, files still in the page cache, the start of a server included; with process: the same plus starting "
        "the asking process and its imports."
    ),
    (
        "Queries: median and p95 of up to 1,000 repeats, each for a slightly smaller window, so that a remembered "
        "answer is no help (at 10 points there are only 5 different ones). All is in the page cache. Over HTTP the "
        "client is Python's."
    ),
    "~ marks what was not measured: the largest measured window, in proportion. Only rescans are extrapolated.",
)


def _lines(run: Run, plot: Path | None) -> Iterator[str]:
    yield "# The competition, on the same machine, in the same run"
    yield ""
    yield from paragraph(
        f"Generated by `make peers` on {run.date[:10]} at commit `{run.environment.get('env_commit', 'unknown')}`; "
        f"do not edit. Work: append {run.points:,} prices in batches of {run.batch_points:,}; then min, max, last, "
        "average and variance of the newest 10 to all; close, reopen in a fresh process and ask again; then the "
        "variance of 1,000,000 values spread over 1e9 ± 1. [README.md](README.md) says how to run it."
    )
    yield "## In short"
    yield ""
    yield from in_short(run)
    yield ""
    if plot is not None:
        yield f"![Query latency against window, log axes]({plot.name})"
        yield ""
    for title, section in (
        ("Ingest, memory, disk, restart", _work),
        ("Query time", _queries),
        ("Right answers", _exactness),
        ("Not measured in full", _incomplete),
        ("How to read it", _reading),
        ("Machine", _environment),
        ("The stores and their settings", _stores),
    ):
        yield f"## {title}"
        yield ""
        yield from section(run)
        yield ""


def _reading(run: Run) -> Iterator[str]:
    others = [peer.harness_bytes for peer in run.peers if peer.harness_bytes and not (peer.facts and peer.facts.ours)]
    ours = library(run)
    bare = size(min(others)) if others else NOTHING
    for text in _READING:
        yield from item(text.format(harness=bare, ours=size(ours.harness_bytes if ours else None)))


def write_report(run: Run, plot: Path | None) -> Path:
    """Write REPORT.md and return where it is."""
    REPORT.write_text(text(run, plot), encoding="utf-8")
    return REPORT


def text(run: Run, plot: Path | None) -> str:
    """Return REPORT.md; `plot` is a picture beside it, or None."""
    found = "\n".join(_lines(run, plot))
    while "\n\n\n" in found:
        found = found.replace("\n\n\n", "\n\n")
    return found.strip() + "\n"


def summary(peer: PeerResult) -> str:
    """Return one line about a store, printed as soon as it is done."""
    if peer.facts is None:
        return f"{peer.name:26} {'; '.join(peer.problems)}"
    largest = peer.windows[-1] if peer.windows else None
    return (
        f"{peer.title:26} {count(peer.rate):>7} points/s"
        f"  window {power(largest.window) if largest else NOTHING}: {seconds(largest.median_s if largest else None)}"
        f"  memory {size(peer.peak_bytes)}  disk {size(peer.disk_bytes)}  reopen {seconds(peer.restart_open_s)}"
        f"  var error {error(peer.var_error)}  [{peer.spent_s:.0f} s, others {percent(peer.others_share)}]"
        + "".join(f"\n    {problem}" for problem in peer.problems)
    )


if __name__ == "__main__":
    picture = HERE / "latency.png"
    print(write_report(Run.load(Path(sys.argv[1])), picture if picture.exists() else None))
