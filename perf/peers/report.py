"""REPORT.md out of the figures: `python -m perf.peers.report perf/results/DATE_peers.json`; nothing in it is typed."""

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from perf.peers.peer import Method, Survives
from perf.peers.results import PeerResult, Run

HERE = Path(__file__).resolve().parent
REPORT = HERE / "REPORT.md"
_WIDTH = 118
_NOTHING = "-"
_WANTED_QUERY_FACTOR = 1000.0
_WANTED_INGEST_FACTOR = 3.0
_RIGHT_ERROR = 1e-6
_QUIET_SHARE = 0.15


# -- numbers as people read them --------------------------------------------------------------------------------------


def seconds(value: float | None) -> str:
    """Return a duration with three digits and its unit."""
    if value is None:
        return _NOTHING
    for least, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= least:
            return f"{_digits(value / least)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def count(value: float | None) -> str:
    """Return a number with three digits and its multiple."""
    if value is None:
        return _NOTHING
    for least, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= least:
            return _digits(value / least) + unit
    return _digits(value)


def size(value: float | None) -> str:
    """Return a number of bytes."""
    return _NOTHING if value is None else f"{count(value)}B" if value >= 1e3 else f"{value:.0f} B"


def error(value: float | None) -> str:
    """Return a relative error."""
    return _NOTHING if value is None else f"{value:.1e}" if value else "0"


def factor(value: float) -> str:
    """Return a factor."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def percent(share: float | None) -> str:
    """Return a share of 1."""
    return _NOTHING if share is None else f"{100 * share:.0f} %"


def power(points: int) -> str:
    """Return "1e7" for 10,000,000, and what is no power of ten with its digits grouped."""
    digits = str(points)
    return f"1e{len(digits) - 1}" if digits.strip("0") == "1" and points >= 10 else f"{points:,}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# -- building blocks --------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|--:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _paragraph(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""


def _item(text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _best(
    run: Run, value: Callable[[PeerResult], float | None], *, among: Callable[[PeerResult], bool]
) -> tuple[PeerResult, float] | None:
    """Return the peer with the least value, ours left out."""
    found = [(peer, value(peer)) for peer in run.peers if peer.facts and not peer.facts.ours and among(peer)]
    known = [(peer, number) for peer, number in found if number is not None]
    return min(known, key=lambda pair: pair[1]) if known else None


def _library(run: Run) -> PeerResult | None:
    return next((peer for peer in run.peers if peer.facts and peer.name == "hft-mmap"), None)


def _service(run: Run) -> PeerResult | None:
    return next((peer for peer in run.peers if peer.facts and peer.name == "hft-mmap-http"), None)


def _rescans(peer: PeerResult) -> bool:
    return peer.facts is not None and peer.facts.method is Method.RESCAN


# -- sections ---------------------------------------------------------------------------------------------------------


def in_short(run: Run) -> Iterator[str]:
    """Yield the items of the summary: query, ingest, variance, and whether the run was disturbed."""
    ours = _library(run)
    if ours is None or ours.rate is None:
        yield from _item("hft-mmap was not measured in this run, so nothing is compared with it.")
        return
    yield from _query_verdict(run, ours)
    yield from _ingest_verdict(run, ours.rate)
    yield from _variance_verdict(run, ours)
    yield from _disturbance(run)


def _disturbance(run: Run) -> Iterator[str]:
    shares = [peer.others_share for peer in _measured(run) if peer.others_share is not None]
    if shares and max(shares) > _QUIET_SHARE:
        yield from _item(
            f"**This run was disturbed**: other programs used {percent(min(shares))} to {percent(max(shares))} of "
            "the cores while a store was measured (listed under [Machine](#machine)). Long operations suffer most "
            "from that, so the factors above are too large; quote none of them, and run it again on a machine that "
            "has nothing else to do."
        )


def _query_verdict(run: Run, ours: PeerResult) -> Iterator[str]:
    mine = ours.window(run.points)
    if mine is None:
        yield from _item(f"Window of {power(run.points)}: hft-mmap did not get that far.")
        return

    def measured(peer: PeerResult) -> float | None:
        found = peer.window(run.points)
        return found.median_s if found else None

    best = _best(run, measured, among=_rescans)
    if best is None:
        yield from _item(f"Window of {power(run.points)}: no store that rescans was measured at this size.")
        return
    times = best[1] / mine.median_s
    met = "met" if times >= _WANTED_QUERY_FACTOR else "missed"
    yield from _item(
        f"**Window of {power(run.points)}: {factor(times)} faster** than the best store that rescans: "
        f"{seconds(mine.median_s)} against {seconds(best[1])} ({best[0].title}), medians. Wanted: "
        f"{factor(_WANTED_QUERY_FACTOR)} at 1e8; {met} at {power(run.points)}."
    )
    served = _service(run)
    over_http = served.window(run.points) if served else None
    if over_http:
        yield from _item(
            f"The same over HTTP, round trip and Python's client included: {seconds(over_http.median_s)}, "
            f"{factor(best[1] / over_http.median_s)} faster than that store in the same process."
        )


def _ingest_verdict(run: Run, mine: float) -> Iterator[str]:
    def cost(peer: PeerResult) -> float | None:
        return 1 / peer.rate if peer.rate else None

    def lasting(peer: PeerResult) -> bool:
        return peer.facts is not None and peer.facts.survives in {Survives.MOSTLY, Survives.ALL}

    best = _best(run, cost, among=lasting)
    if best is not None:
        times = mine * best[1]
        met = "met" if times >= _WANTED_INGEST_FACTOR else "missed"
        yield from _item(
            f"**Ingest: {factor(times)}** the best store that promises anything after power loss: {count(mine)} "
            f"points/s against {count(1 / best[1])} points/s ({best[0].title}). Wanted: "
            f"{factor(_WANTED_INGEST_FACTOR)}; {met}."
        )
        served = _service(run)
        if served and served.rate:
            yield from _item(
                f"Ingest over HTTP, as JSON from one client that waits for each answer: {count(served.rate)} points/s, "
                f"{factor(served.rate * best[1])} that store without any network."
            )
    fastest = _best(run, cost, among=lambda peer: not lasting(peer))
    if fastest is not None:
        yield from _item(
            f"Ingest beside stores that promise nothing after power loss: {factor(mine * fastest[1])} the fastest "
            f"of them ({fastest[0].title}, {count(1 / fastest[1])} points/s)."
        )


def _variance_verdict(run: Run, ours: PeerResult) -> Iterator[str]:
    others = [peer for peer in run.peers if peer.facts and not peer.facts.ours]
    sums = [peer for peer in others if not _rescans(peer) and peer.var_error is not None]
    text = f"**Variance at 1e9 ± 1: relative error {error(ours.var_error)}**"
    if sums:
        listed = "; ".join(f"{peer.title}: {error(peer.var_error)}" for peer in sums)
        text += f", where the trees of running sums give {listed}"
    named = [
        f"{peer.title}, {name}: {error(e)}" for peer in others for name, e in (peer.other_var_errors or {}).items()
    ]
    if named:
        text += f" (and functions on running sums: {'; '.join(named)})"
    exact = [
        peer for peer in others if _rescans(peer) and peer.var_error is not None and peer.var_error <= _RIGHT_ERROR
    ]
    text += f". Of the stores that rescan, {len(exact)} are right to {_RIGHT_ERROR:g} or better."
    yield from _item(text)


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
            _NOTHING if peer.disk_bytes is None else f"{peer.disk_bytes / peer.points:.2f}",
            seconds(peer.restart_open_s),
            seconds(peer.restart_process_s),
            facts.survives.value if facts else _NOTHING,
        )

    head = (
        "store", "points", "points/s", "batch p95", "peak memory", "disk", "B/point", "reopen", "with process",
        "an append survives",
    )  # fmt: skip
    yield from _table(head, (row(peer) for peer in _measured(run)))


def _measured(run: Run) -> list[PeerResult]:
    return [peer for peer in run.peers if peer.facts and peer.points]


def _queries(run: Run) -> Iterator[str]:
    windows = [10**k for k in range(1, len(str(run.points)))]
    if run.points not in windows:
        windows.append(run.points)

    def cell(peer: PeerResult, window: int) -> str:
        found = peer.window(window)
        if found is not None:
            return seconds(found.median_s)
        expected = peer.extrapolated_s(window)
        return f"~{seconds(expected)}" if expected is not None else _NOTHING

    rows = ([peer.title, *(cell(peer, window) for window in windows)] for peer in _measured(run))
    yield from _table(["median", *(power(window) for window in windows)], rows)
    yield ""

    def late(peer: PeerResult, window: int) -> str:
        found = peer.window(window)
        return seconds(found.p95_s) if found else _NOTHING

    rows = ([peer.title, *(late(peer, window) for window in windows)] for peer in _measured(run))
    yield from _table(["p95", *(power(window) for window in windows)], rows)
    yield ""

    def repeats(peer: PeerResult) -> str:
        return f"{peer.title}: " + ", ".join(f"{power(found.window)}: {found.repeats}" for found in peer.windows)

    yield from _paragraph(f"Queries behind each figure: {'; '.join(repeats(peer) for peer in _measured(run))}.")


def _exactness(run: Run) -> Iterator[str]:
    def row(peer: PeerResult) -> tuple[str, ...]:
        ends = "yes" if all(found.exact_ends for found in peer.windows) else "NO"
        again = {True: "yes", False: "NO", None: _NOTHING}[peer.restart_same]
        others = "; ".join(f"{name} {error(found)}" for name, found in (peer.other_var_errors or {}).items())
        return (
            peer.title,
            ends,
            error(max((found.avg_error for found in peer.windows), default=None)),
            error(max((found.var_error for found in peer.windows), default=None)),
            error(peer.var_error),
            others or _NOTHING,
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
    yield from _table(head, (row(peer) for peer in _measured(run)))
    yield ""
    yield from _paragraph(
        "Errors are relative: 1 means that no digit is right. avg and var are compared with those of the decimal "
        "prices, from which the nearest float64 values themselves differ by about 1e-13 in var; the variance at "
        "1e9 ± 1 is compared with the exact rational value of the very float64 values."
    )


def _incomplete(run: Run) -> Iterator[str]:
    found = False
    for peer in run.peers:
        for text in _shortfalls(run, peer):
            found = True
            yield from _item(f"{peer.title}: {text}")
    if not found:
        yield "Everything was measured in full."


def _shortfalls(run: Run, peer: PeerResult) -> Iterator[str]:
    """Yield what was not measured of a store, and why."""
    yield from peer.problems
    if peer.most_points is not None and peer.most_points < run.points:
        yield f"given {power(peer.most_points)} points at most, so that the whole run stays within minutes"
    elif peer.append_s is not None and peer.points < run.points:
        yield (
            f"appending was stopped after {run.append_limit_s:g} s, at {peer.points:,} of {run.points:,} points; "
            "everything else was measured on those"
        )
    for skipped in peer.skipped:
        yield f"window {power(skipped.window)} not asked for: it would have taken about {seconds(skipped.expected_s)}"


def _stores(run: Run) -> Iterator[str]:
    for peer in run.peers:
        if peer.facts is None:
            continue
        yield f"### {peer.title}"
        yield ""
        yield from _item(f"{peer.facts.version}; licence: {peer.facts.licence}")
        yield from _item(f"answers by: {peer.facts.method.value}")
        for setting in peer.facts.settings:
            yield from _item(setting)
        yield from _item(f"durability: {peer.facts.durability}")
        yield ""


def _environment(run: Run) -> Iterator[str]:
    for key, value in run.environment.items():
        yield from _item(f"{key.removeprefix('env_')}: {value}")
    shares = "; ".join(f"{peer.title} {percent(peer.others_share)}" for peer in _measured(run))
    yield from _item(f"share of the cores that other programs and the kernel used meanwhile: {shares}")
    yield from _item(
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
    yield from _paragraph(
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
    ours = _library(run)
    bare = size(min(others)) if others else _NOTHING
    for text in _READING:
        yield from _item(text.format(harness=bare, ours=size(ours.harness_bytes if ours else None)))


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
        f"  window {power(largest.window) if largest else _NOTHING}: {seconds(largest.median_s if largest else None)}"
        f"  memory {size(peer.peak_bytes)}  disk {size(peer.disk_bytes)}  reopen {seconds(peer.restart_open_s)}"
        f"  var error {error(peer.var_error)}  [{peer.spent_s:.0f} s, others {percent(peer.others_share)}]"
        + "".join(f"\n    {problem}" for problem in peer.problems)
    )


if __name__ == "__main__":
    picture = HERE / "latency.png"
    print(write_report(Run.load(Path(sys.argv[1])), picture if picture.exists() else None))
