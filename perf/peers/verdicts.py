"""What the comparison comes to: the few sentences that stand first in the report, and in those of perf/."""

import textwrap
from collections.abc import Callable, Iterator

from perf.peers.numbers import count, error, factor, percent, power, seconds
from perf.peers.peer import Method, Survives
from perf.peers.results import PeerResult, Run

_WIDTH = 118
_WANTED_QUERY_FACTOR = 1000.0
_WANTED_INGEST_FACTOR = 3.0
_RIGHT_ERROR = 1e-6
_QUIET_SHARE = 0.15


def in_short(run: Run) -> Iterator[str]:
    """Yield the items of the summary: query, ingest, variance, and whether the run was disturbed."""
    ours = library(run)
    if ours is None or ours.rate is None:
        yield from item("hft-mmap was not measured in this run, so nothing is compared with it.")
        return
    yield from _query_verdict(run, ours)
    yield from _ingest_verdict(run, ours.rate)
    yield from _variance_verdict(run, ours)
    yield from _disturbance(run)


def _disturbance(run: Run) -> Iterator[str]:
    shares = [peer.others_share for peer in measured_in(run) if peer.others_share is not None]
    if shares and max(shares) > _QUIET_SHARE:
        yield from item(
            f"**This run was disturbed**: other programs used {percent(min(shares))} to {percent(max(shares))} of "
            "the cores while a store was measured (listed under [Machine](#machine)). Long operations suffer most "
            "from that, so the factors above are too large; quote none of them, and run it again on a machine that "
            "has nothing else to do."
        )


def _query_verdict(run: Run, ours: PeerResult) -> Iterator[str]:
    mine = ours.window(run.points)
    if mine is None:
        yield from item(f"Window of {power(run.points)}: hft-mmap did not get that far.")
        return

    def measured(peer: PeerResult) -> float | None:
        found = peer.window(run.points)
        return found.median_s if found else None

    best = _best(run, measured, among=_rescans)
    if best is None:
        yield from item(f"Window of {power(run.points)}: no store that rescans was measured at this size.")
        return
    times = best[1] / mine.median_s
    met = "met" if times >= _WANTED_QUERY_FACTOR else "missed"
    yield from item(
        f"**Window of {power(run.points)}: {factor(times)} faster** than the best store that rescans: "
        f"{seconds(mine.median_s)} against {seconds(best[1])} ({best[0].title}), medians. Wanted: "
        f"{factor(_WANTED_QUERY_FACTOR)} at 1e8; {met} at {power(run.points)}."
    )
    served = _service(run)
    over_http = served.window(run.points) if served else None
    if over_http:
        yield from item(
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
        yield from item(
            f"**Ingest: {factor(times)}** the best store that promises anything after power loss: {count(mine)} "
            f"points/s against {count(1 / best[1])} points/s ({best[0].title}). Wanted: "
            f"{factor(_WANTED_INGEST_FACTOR)}; {met}."
        )
        served = _service(run)
        if served and served.rate:
            yield from item(
                f"Ingest over HTTP, as JSON from one client that waits for each answer: {count(served.rate)} points/s, "
                f"{factor(served.rate * best[1])} that store without any network."
            )
    yield from _sync_verdict(run)
    fastest = _best(run, cost, among=lambda peer: not lasting(peer))
    if fastest is not None:
        yield from item(
            f"Ingest beside stores that promise nothing after power loss: {factor(mine * fastest[1])} the fastest "
            f"of them ({fastest[0].title}, {count(1 / fastest[1])} points/s)."
        )


def _sync_verdict(run: Run) -> Iterator[str]:
    """Yield how tier `sync` compares with the stores whose every append is on the disk too."""
    mine = next((peer for peer in run.peers if peer.name == "hft-mmap-sync" and peer.rate), None)

    def keeps_all(peer: PeerResult) -> bool:
        return peer.facts is not None and peer.facts.survives is Survives.ALL

    best = _best(run, lambda peer: 1 / peer.rate if peer.rate else None, among=keeps_all)
    if mine is not None and mine.rate and best is not None:
        yield from item(
            f"Ingest with every append on the disk before it returns (tier `sync`): {count(mine.rate)} points/s, "
            f"{factor(mine.rate * best[1])} the best store that promises the same ({best[0].title}, "
            f"{count(1 / best[1])} points/s)."
        )


def _variance_verdict(run: Run, ours: PeerResult) -> Iterator[str]:
    others = [peer for peer in run.peers if peer.facts and not peer.facts.ours]
    sums = [peer for peer in others if not _rescans(peer) and peer.var_error is not None]
    text = f"**Variance at 1e9 ± 1: relative error {error(ours.var_error)}**"
    if sums:
        listed = "; ".join(f"{peer.title}: {error(peer.var_error)}" for peer in sums)
        text += f", where the trees in plain Python give {listed}"
    named = [
        f"{peer.title}, {name}: {error(e)}" for peer in others for name, e in (peer.other_var_errors or {}).items()
    ]
    if named:
        text += f" (and functions on running sums: {'; '.join(named)})"
    exact = [
        peer for peer in others if _rescans(peer) and peer.var_error is not None and peer.var_error <= _RIGHT_ERROR
    ]
    text += f". Of the stores that rescan, {len(exact)} are right to {_RIGHT_ERROR:g} or better."
    yield from item(text)


def _best(
    run: Run, value: Callable[[PeerResult], float | None], *, among: Callable[[PeerResult], bool]
) -> tuple[PeerResult, float] | None:
    """Return the peer with the least value, ours left out."""
    found = [(peer, value(peer)) for peer in run.peers if peer.facts and not peer.facts.ours and among(peer)]
    known = [(peer, number) for peer, number in found if number is not None]
    return min(known, key=lambda pair: pair[1]) if known else None


def library(run: Run) -> PeerResult | None:
    """Return the row of hft-mmap as a library, in its default tier."""
    return next((peer for peer in run.peers if peer.facts and peer.name == "hft-mmap"), None)


def _service(run: Run) -> PeerResult | None:
    return next((peer for peer in run.peers if peer.facts and peer.name == "hft-mmap-http"), None)


def _rescans(peer: PeerResult) -> bool:
    return peer.facts is not None and peer.facts.method is Method.RESCAN


def measured_in(run: Run) -> list[PeerResult]:
    """Return the stores that have taken points."""
    return [peer for peer in run.peers if peer.facts and peer.points]


def paragraph(text: str) -> Iterator[str]:
    """Yield a text as lines, and an empty one."""
    yield from textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""


def item(text: str) -> Iterator[str]:
    """Yield a text as the lines of an item."""
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
