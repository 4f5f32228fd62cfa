"""What the project promises about speed, size and exactness: each figure, its limit, how it is read off results."""

from collections.abc import Sequence
from statistics import median

from hft_mmap import STANDARD_WINDOWS
from perf import bounds
from perf.case import name
from perf.record import durations, quantities, values_of
from perf.target import Reading, Results, Target

BIG = 10**8


def asked(targets: Sequence[Target] | None = None) -> set[str]:
    """Return the patterns of all benchmarks that these figures (TARGETS, if not said) and their bounds need."""
    wanted = TARGETS if targets is None else targets
    return {pattern for target in wanted for pattern in (*target.needs, *target.bound.needs)}


def _middle(results: Results, benchmark: str) -> float:
    return median(values_of(results[benchmark]))


def _window_names() -> list[str]:
    return [name("reading", "window", stored=BIG, window=window) for window in STANDARD_WINDOWS]


def _any_window(results: Results) -> Reading:
    found = {one: _middle(results, one) for one in _window_names()}
    return Reading(f"{durations(min(found.values()), max(found.values()))}", max(found.values()) <= 3e-6)


def _widest_to_narrowest(results: Results) -> Reading:
    names = _window_names()
    factor = _middle(results, names[-1]) / _middle(results, names[0])
    return Reading(f"{factor:.2f} x", factor <= 4)


def _append_ten(results: Results) -> Reading:
    seconds = _middle(results, "store.append[points=10]")
    return Reading(durations(seconds), seconds <= 5e-6)


def _append_million(results: Results) -> Reading:
    ns = _middle(results, "store.append[points=1e6]") / 1e6 * 1e9
    return Reading(f"{ns:.2f} ns a point", ns <= 10)


def _worst_append(results: Results) -> Reading:
    worst = {
        tier: max(values_of(results[f"growth.append[durability={tier},p=worst]"])) for tier in ("process", "interval")
    }
    text = ", ".join(f"{durations(seconds)} ({tier})" for tier, seconds in worst.items())
    return Reading(text, max(worst.values()) <= 20e-3)


def _stats_share(results: Results) -> Reading:
    def middles(what: str) -> list[float]:
        return [_middle(results, f"throughput.stats[exponent={k},cores=one,what={what}]") for k in (1, 5, 8)]

    shares, by_cpu = middles("share"), middles("cpu_share")
    rate = 1 / min(middles("ours"))
    text = f"{_joined(shares)} for exponent 1, 5, 8 (processor time: {_joined(by_cpu)}); {quantities(rate)}requests/s"
    return Reading(text, min(shares) >= 0.90)


def _append_share(results: Results) -> Reading:
    def middle(what: str) -> float:
        return _middle(results, f"throughput.add_batch[values=10,durability=interval,cores=one,what={what}]")

    share, of_post = middle("share_of_get"), middle("share")
    by_cpu = middle("cpu_share_of_get"), middle("cpu_share")
    text = (
        f"{share:.2f} of a bare GET, {of_post:.2f} of a bare POST (processor time: {_joined(by_cpu)}); "
        f"{quantities(1 / middle('ours'))}requests/s"
    )
    return Reading(text, share >= 0.80)


def _values_a_second(results: Results) -> Reading:
    prefix = "throughput.add_batch[values=1e4,durability=interval,cores=two,what="
    by_clock = 10_000 / _middle(results, f"{prefix}ours]")
    by_cpu = 10_000 / _middle(results, f"{prefix}ours_cpu]")
    return Reading(f"{by_clock / 1e6:.1f} M (of processor time: {by_cpu / 1e6:.1f} M)", by_clock >= 25e6)


def _space(results: Results) -> Reading:
    disk = _middle(results, "space.disk_bytes_a_point[stored=1e8]")
    cached = _middle(results, "space.cached_bytes_a_point[stored=1e8]")
    return Reading(f"{disk:.3f} disk, {cached:.3f} page cache", max(disk, cached) <= 8.6)


def _start(results: Results) -> Reading:
    small, big = (_middle(results, f"process.first_answer[stored={n}]") for n in ("10", "1e8"))
    return Reading(f"{durations(big)}; with 10 points {durations(small)}", big <= 1.5 and big <= 1.1 * small)


def _accuracy(results: Results) -> Reading:
    avg, var = (_middle(results, f"accuracy.{one}[points=1e6]") for one in ("avg", "var"))
    return Reading(f"avg {avg:.1e}, var {var:.1e}", max(avg, var) <= 1e-12)


def _tail(results: Results) -> Reading:
    rounds = values_of(results["latency.batches_next_door[of=stats,p=99.9]"])
    pooled = results["latency.batches_next_door[of=stats,p=99.9,rounds=pooled]"]
    seconds, requests = median(values_of(pooled)), pooled.get_metadata().get("requests", 0)
    spread = durations(min(rounds), max(rounds))
    text = f"{durations(seconds)} of {quantities(requests)}requests; {len(rounds)} rounds: {spread}"
    return Reading(text, seconds <= 10e-3)


def _series(results: Results) -> Reading:
    seconds = _middle(results, "http_app.series[stored=1e8,buckets=1000]")
    return Reading(durations(seconds), seconds <= 10e-3)


def _import_name(kind: str, what: str) -> str:
    return name("import", kind, rows=BIG, what=what)


def _csv_import(results: Results) -> Reading:
    stored, on_disk = (BIG / _middle(results, _import_name("csv", what)) for what in ("stored", "on_disk"))
    return Reading(f"{on_disk / 1e6:.1f} M rows/s on the disk ({stored / 1e6:.1f} M stored)", on_disk >= 8e6)


def _parquet_import(results: Results) -> Reading:
    stored, on_disk = (8 * BIG / _middle(results, _import_name("parquet", what)) for what in ("stored", "on_disk"))
    return Reading(f"{stored / 1e6:.0f} MB/s stored; {on_disk / 1e6:.0f} MB/s on the disk", stored >= 690e6)


def _import_memory(results: Results) -> Reading:
    peaks = [max(values_of(results[_import_name(kind, "memory_above_empty")])) for kind in ("csv", "parquet")]
    return Reading(f"{peaks[0] / 1e6:.0f} MB (CSV), {peaks[1] / 1e6:.0f} MB (Parquet)", max(peaks) <= 400e6)


def _points_a_second(results: Results) -> Reading:
    rate = BIG / _middle(results, name("reading", "window", stored=BIG, window=BIG))
    return Reading(f"{rate:.1e}", rate >= 1e12)


def _beside_writer(results: Results) -> Reading:
    seconds = _middle(results, name("reading", "window_beside_writer", stored=10**6, window=10**5))
    return Reading(durations(seconds), seconds <= 3e-6)


def _binary_values(results: Results) -> Reading:
    ours, cpu, bare = (_middle(results, f"binary.add_batch[values=1e4,what={one}]") for one in (
        "ours", "ours_cpu", "bare_own"))  # fmt: skip
    text = f"{1e-2 / ours:.0f} M (of processor time: {1e-2 / cpu:.0f} M; read and thrown away: {1e-2 / bare:.0f} M)"
    return Reading(text, 1e4 / ours >= 60e6)


def _stream_ratio(results: Results) -> Reading:
    def middle(what: str) -> float:
        return _middle(results, f"streams.ingest[points=10,connections=1,what={what}]")

    ratio, by_cpu = middle("ratio"), middle("post_cpu") / middle("websocket_cpu")
    text = (
        f"{ratio:.1f} x (by the server's processor time: {by_cpu:.1f} x); {quantities(1 / middle('websocket'))}frames/s"
    )
    return Reading(text, ratio >= 2)


def _instances(results: Results) -> Reading:
    def middle(what: str, processes: int = 2) -> float:
        return _middle(results, f"instances.stats[processes={processes},what={what}]")

    gain, bare = middle("ours_gain"), middle("bare_gain")
    shares = _joined([middle("share", 1), middle("share")])
    rate = quantities(1 / middle("ours"))
    text = f"{gain:.2f} x, the bare endpoint {bare:.2f} x; {shares} of it with one and two processes; {rate}requests/s"
    return Reading(text, gain >= 0.9 * bare)


def _systemctl_start(results: Results) -> Reading:
    slowest = max(values_of(results["restart.first_answer[points=1e8]"]))
    return Reading(durations(slowest), slowest <= 2)


def _restart_under_load(results: Results) -> Reading:
    longest = max(values_of(results["restart.under_load[points=1e8,what=longest_request]"]))
    return Reading(durations(longest), longest <= 1)


def _lost_or_doubled(results: Results) -> Reading:
    def middle(what: str) -> float:
        return _middle(results, name("cuts", "producer", what=what))

    made, wrong = middle("made"), middle("lost_or_doubled")
    text = f"{wrong:.0f} of {quantities(middle('points'))}points in {made:,.0f} cuts"
    return Reading(text, made >= 1000 and wrong < 1)


def _joined(shares: list[float] | tuple[float, ...]) -> str:
    return " / ".join(f"{share:.2f}" for share in shares)


TARGETS = (
    Target(
        "window query from the library, slowest of the eight windows, 1e8 points",
        "median 3 us",
        ("reading.window[stored=1e8",),
        _any_window,
        bounds.WINDOW,
    ),
    Target(
        "the 1e8-window beside the 1e1-window",
        "4 x",
        ("reading.window[stored=1e8",),
        _widest_to_narrowest,
        bounds.WIDEST,
    ),
    Target(
        "append of 10 points (durability process)", "5 us", ("store.append[points=10]",), _append_ten, bounds.APPEND_TEN
    ),
    Target(
        "append of 1,000,000 points (durability process)",
        "10 ns a point",
        ("store.append[points=1e6]",),
        _append_million,
        bounds.APPEND_MILLION,
    ),
    Target(
        "worst append while growing from 0 to 1e8 in batches of 10,000, cleanup included",
        "20 ms",
        ("growth",),
        _worst_append,
        bounds.WORST_APPEND,
    ),
    Target(
        "/stats requests a second, as a share of a bare Falcon endpoint",
        "0.90",
        ("throughput.stats[",),
        _stats_share,
        bounds.STATS_SHARE,
    ),
    Target(
        "/add_batch with 10 points, likewise",
        "0.80",
        ("throughput.add_batch[values=10,",),
        _append_share,
        bounds.APPEND_SHARE,
    ),
    Target(
        "/add_batch with 10,000 points, values a second on one core",
        "25 M",
        ("throughput.add_batch[values=1e4",),
        _values_a_second,
        bounds.BATCH_VALUES,
    ),
    Target(
        "/add_batch with 10,000 points as raw float64, one connection, points a second",
        "60 M",
        ("binary.add_batch[values=1e4",),
        _binary_values,
        bounds.BINARY_VALUES,
    ),
    Target("bytes a point", "8.6", ("space",), _space, bounds.SPACE),
    Target(
        "process start to first 200 with 1e8 points",
        "1.5 s, as with 10 points",
        ("process.first_answer",),
        _start,
        bounds.START,
    ),
    Target(
        "relative error against exact rationals, 1e6 points at 1e9 ± 1",
        "1e-12",
        ("accuracy",),
        _accuracy,
        bounds.ACCURACY,
    ),
    Target(
        "p99.9 of /stats at half of the maximum rate, 10,000-point batches next door",
        "10 ms",
        ("latency.",),
        _tail,
        bounds.TAIL,
    ),
    Target(
        "/series with 1,000 buckets over 1e8 points, the answer's JSON included",
        "10 ms",
        ("http_app.series[stored=1e8,buckets=1000]",),
        _series,
        bounds.SERIES,
    ),
    Target(
        "import of CSV, a time and a price, 1e8 rows, to the disk with nodes",
        "8 M rows/s",
        ("import.csv",),
        _csv_import,
        bounds.CSV,
    ),
    Target(
        "import of Parquet, counted as float64 bytes stored, 1e8 rows",
        "690 MB/s",
        ("import.parquet",),
        _parquet_import,
        bounds.PARQUET,
    ),
    Target(
        "peak memory of these imports above that of an empty process",
        "400 MB",
        ("import.",),
        _import_memory,
        bounds.IMPORT_MEMORY,
    ),
    Target(
        "statistics of a 1e8-window, points a second of one core",
        "1e12",
        ("reading.window[stored=1e8",),
        _points_a_second,
        bounds.POINTS_A_SECOND,
    ),
    Target(
        "window query in another process while a writer appends at full speed",
        "median 3 us",
        ("reading.window_beside_writer",),
        _beside_writer,
        bounds.BESIDE_WRITER,
    ),
    Target(
        "WebSocket ingest of 10-point frames, one connection, beside POST of the same points",
        "2 x",
        ("streams.ingest",),
        _stream_ratio,
        bounds.STREAM_RATIO,
    ),
    Target(
        "/stats requests a second of two instances beside one, on two cores",
        "0.90 of what a second process gains the bare endpoint",
        ("instances.stats",),
        _instances,
        bounds.INSTANCES,
    ),
    Target(
        "`systemctl start` to the first answer with 1e8 points stored, slowest",
        "2 s",
        ("restart.",),
        _systemctl_start,
        bounds.SYSTEMCTL,
    ),
    Target(
        "restart of the only process under load, longest request",
        "1 s",
        ("restart.",),
        _restart_under_load,
        bounds.RESTART,
    ),
    Target(
        "points lost or doubled by a client that is cut off 1,000 times",
        "0",
        ("cuts.",),
        _lost_or_doubled,
        bounds.CUTS,
    ),
)
