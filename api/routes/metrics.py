"""GET /metrics: the numbers of the service for Prometheus, in the text format that the scraper asks for.

A scrape copies the counts of the requests, then asks the store and renders in a thread of its own: with thousands of
symbols that takes a while, and the event loop has prices to take. Nothing is registered in prometheus_client's global
registry, so several applications in one process do not mix. docs/metrics.md has the list of all metrics.
"""

import asyncio
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate

import falcon.asgi
from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from api.access.guard import symbols_of
from api.access.tokens import READ
from api.connection.budget import BODIES, Account
from api.connection.connections import Connections
from api.http.query import bad_query, pairs, parameters
from api.http.request import Request
from api.operation.beside import KINDS, Beside
from api.operation.latency import BUCKETS_S, RequestCounter, RequestCounts
from api.operation.part import Part
from api.streams.registry import Streams
from hft_mmap import Store
from hft_mmap.files.names import validate_symbol

MOST_SERIES = 100
"""Series that one answer tells of each: of a store that has more, those that are asked for."""
_REASON_CODES = ("disk_full", "locked", "read_only", "removed", "set_aside", "write_failed")
# Kind, name, help, and the field of SeriesCounters.
_OF_SERIES = (
    (CounterMetricFamily, "hft_mmap_series_points", "Points ever appended (total).", "total"),
    (CounterMetricFamily, "hft_mmap_series_durable_points", "Points known to be on the disk.", "durable_total"),
    (GaugeMetricFamily, "hft_mmap_series_start_point", "Index of the oldest point still kept (start).", "start"),
    (GaugeMetricFamily, "hft_mmap_series_kept_points", "Points kept (count).", "count"),
    (GaugeMetricFamily, "hft_mmap_series_size_bytes", "What the files of the series take on the disk.", "bytes"),
    (CounterMetricFamily, "hft_mmap_series_syncs", "Times that points were put on the disk.", "syncs"),
    (CounterMetricFamily, "hft_mmap_series_sync_seconds", "Time that this took in all.", "sync_s"),
    (GaugeMetricFamily, "hft_mmap_series_last_sync_age_seconds", "Time since the last of them.", "last_sync_age_s"),
    (CounterMetricFamily, "hft_mmap_series_cleanups", "Cleanups: the oldest points were removed.", "cleanups"),
    (CounterMetricFamily, "hft_mmap_series_recoveries", "Starts after a crash or power loss.", "recoveries"),
    (CounterMetricFamily, "hft_mmap_series_late_points", "Points stored with a later time than they had.", "late"),
    (GaugeMetricFamily, "hft_mmap_series_latest_seconds", "By how much the latest of them was late.", "latest_s"),
    (GaugeMetricFamily, "hft_mmap_series_read_only", "1 if batches are refused: the disk has failed.", "read_only"),
)
_OF_ACCOUNTS = (
    ("hft_mmap_account_held", "What all clients hold: connections, streams, or bytes.", "held"),
    ("hft_mmap_account_limit", "What all of them may hold.", "limit"),
    ("hft_mmap_account_share", "What one token, or one address without a token, may hold.", "share"),
    ("hft_mmap_account_refused", "Refused, or ended, for want of room in the account.", "refused"),
)
_OF_CLUSTER = (
    (GaugeMetricFamily, "applied", "The newest record of the log that this replica has read."),
    (GaugeMetricFamily, "log_last", "The newest record that the log was known to have."),
    (GaugeMetricFamily, "saved", "The record that a restart goes on from."),
    (GaugeMetricFamily, "lag_records", "Records that are still to be read."),
    (GaugeMetricFamily, "stopped", "1 if the replica has stopped: what the log has does not fit what it holds."),
    (CounterMetricFamily, "blocks", "Records that counted."),
    (CounterMetricFamily, "dropped", "Records that did not count: repeats, and those that came second."),
    (CounterMetricFamily, "stale", "Records that the log did not take, since another came first."),
    (CounterMetricFamily, "unknown", "Tries of which nobody could say whether the log took them."),
)


class Metrics:
    """Answers scrapes. `labels` are put on every sample: what tells one instance of the service from another."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it has to know of others
        self,
        store: Store,
        requests: RequestCounter,
        connections: Connections,
        streams: Streams,
        labels: Mapping[str, str],
        beside: Beside,
        part: Part | None = None,
    ) -> None:
        self._part = part
        self._store = store
        self._requests = requests
        self._connections = connections
        self._streams = streams
        self._beside = beside
        self._labels = dict(labels)
        self._process = ProcessCollector(registry=None)
        # One thread: scrapes that come at the same time are rendered one after the other.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer with every metric, as text 0.0.4 or, where Accept names it, OpenMetrics 1.0.0."""
        asked = _asked(req.scope["query_string"])
        # NOTE: prometheus_client's choose_encoder would put what the client calls a version into our Content-Type.
        wants_openmetrics = "application/openmetrics-text" in (req.get_header("Accept") or "").lower()
        encode = openmetrics.generate_latest if wants_openmetrics else generate_latest
        connections = [
            *_connection_families(self._connections, self._streams),
            *_account_families(self._connections, self._streams),
            *_beside_families(self._beside),
            *([] if self._part is None else _cluster_families(self._part.counts())),
        ]
        scrape = _Scrape(
            self._store,
            self._requests.copy(),
            connections,
            self._process,
            self._labels,
            asked,
            symbols_of(req.scope, READ),
        )
        resp.data = await asyncio.get_running_loop().run_in_executor(self._pool, encode, scrape)
        resp.content_type = openmetrics.CONTENT_TYPE_LATEST if wants_openmetrics else CONTENT_TYPE_PLAIN_0_0_4

    on_head = on_get


@dataclass(frozen=True, slots=True)
class _Scrape:
    """What one scrape tells; takes the place of a registry when it is rendered."""

    store: Store
    requests: RequestCounts
    connections: Sequence[Metric]
    process: ProcessCollector
    labels: Mapping[str, str]
    asked: Sequence[str]
    mine: Callable[[str], bool] | None

    def collect(self) -> Iterator[Metric]:
        """Yield every family, the constant labels on each sample."""
        for family in self._families():
            if self.labels:
                family.samples = [sample._replace(labels={**self.labels, **sample.labels}) for sample in family.samples]
            yield family

    def _families(self) -> Iterator[Metric]:
        build = {"version": version("hft-mmap"), "python": platform.python_version()}
        yield InfoMetricFamily("hft_mmap_build", "What runs: the release and the Python below it.", value=build)
        yield from _request_families(self.requests)
        yield from self.connections
        yield from _store_families(self.store, self.asked, self.mine)
        yield from self.process.collect()


def _request_families(counts: RequestCounts) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "hft_mmap_http_requests", "Requests answered by the application.", labels=["route", "method", "status"]
    )
    durations = HistogramMetricFamily(
        "hft_mmap_http_request_duration_seconds",
        "Time from the head of a request to its answer, the body and a wait for the disk included.",
        labels=["route"],
    )
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    for route, methods in counts.latencies.items():
        for method in methods:
            for status, count in counts.by_status(route, method).items():
                requests.add_metric([route, method, str(status)], count)
        buckets, seconds = counts.by_bucket(route)
        durations.add_metric([route], list(zip(bounds, accumulate(buckets), strict=True)), seconds)
    yield requests
    yield durations


def _connection_families(connections: Connections, streams: Streams) -> Iterator[Metric]:
    counts = connections.counts
    yield _gauge("hft_mmap_connections", "Connections that are open.", len(connections))
    yield _gauge("hft_mmap_max_connections", "Connections that may be open.", connections.limits.max_connections)
    yield CounterMetricFamily("hft_mmap_connections_opened", "Connections accepted.", value=counts.opened)
    ended = CounterMetricFamily(
        "hft_mmap_connections_cut", "Connections that the service ended, or bodies it refused.", labels=["reason"]
    )
    for reason in ("evicted", "refused", "timed_out", "malformed"):
        ended.add_metric([reason], getattr(counts, reason))
    yield ended
    yield _gauge("hft_mmap_streams", "Streams that are open: WebSockets and server-sent events.", len(streams))
    yield _gauge("hft_mmap_max_streams", "Streams that may be open.", streams.most)
    prepared = connections.prepared
    yield _gauge("hft_mmap_prepared_requests", "Requests that are remembered.", len(prepared.known))
    short = "Requests that were answered without being parsed again, all of them with 200."
    yield CounterMetricFamily("hft_mmap_prepared_answers", short, value=prepared.answered)
    held = connections.ledger.accounts[BODIES].held
    yield _gauge("hft_mmap_body_memory_bytes", "Memory that bodies and messages take now.", held)


def _account_families(connections: Connections, streams: Streams) -> Iterator[Metric]:
    places = Account("streams", streams.most, streams.share)
    places.held, places.refused = len(streams), streams.refused
    accounts = [*connections.ledger.accounts, places]
    for group in connections.lines.held():
        written = Account(f"log_{group.group}", group.limit, group.share)
        written.held, written.refused = group.bytes, group.left_out
        accounts.append(written)
    for name, text, field in _OF_ACCOUNTS:
        kind = CounterMetricFamily if field == "refused" else GaugeMetricFamily
        family = kind(name, text, labels=["account"])
        for account in accounts:
            family.add_metric([account.name], getattr(account, field))
        yield family


def _beside_families(beside: Beside) -> Iterator[Metric]:
    asked = CounterMetricFamily("hft_mmap_long_questions", "Long questions that were taken.", labels=["kind"])
    seconds = CounterMetricFamily("hft_mmap_long_questions_seconds", "Time of threads they took.", labels=["kind"])
    for kind in KINDS:
        asked.add_metric([kind], beside.asked[kind])
        seconds.add_metric([kind], beside.seconds[kind])
    yield asked
    yield seconds
    refused = "Long questions that were refused, because too many wait or are being answered."
    yield CounterMetricFamily("hft_mmap_long_questions_refused", refused, value=beside.refused)
    yield _gauge("hft_mmap_long_questions_unfinished", "Long questions that run or wait.", beside.unfinished)
    yield _gauge("hft_mmap_long_answers_bytes", "Memory of answers to them that are made or sent.", beside.held_bytes)


def _cluster_families(counts: Mapping[str, float]) -> Iterator[Metric]:
    for kind, name, text in _OF_CLUSTER:
        yield kind(f"hft_mmap_cluster_{name}", text, value=counts[name])


def _asked(query: bytes) -> tuple[str, ...]:
    """Return the symbols that a scrape asks for. Raises Refusal (400), InvalidSymbol."""
    found = [value for name, value in pairs(query) if name == "symbol"]
    parameters(b"&".join(part for part in query.split(b"&") if not part.startswith(b"symbol=")), ("symbol",))
    if len(found) > MOST_SERIES:
        raise bad_query(f"{len(found)} symbols; one scrape tells of at most {MOST_SERIES} each: ask several times")
    return tuple(dict.fromkeys(validate_symbol(symbol) for symbol in found))


def _store_families(store: Store, asked: Sequence[str], mine: Callable[[str], bool] | None) -> Iterator[Metric]:
    """Yield what the store tells, with lines of its own for what is `asked`, or for all where they are few.

    mine: says which symbols the caller may be told of; None: all.
    """
    reasons = [reason.code for reason in store.reasons()]
    wanted = asked or list(store if mine is None else filter(mine, store))
    counters = store.counters(wanted if len(wanted) <= MOST_SERIES else ())
    aside = {one for one in counters.set_aside if (one in asked if asked else mine is None or mine(one))}
    told = sorted({series.symbol for series in counters.series} | set(sorted(aside)[:MOST_SERIES]))
    yield _gauge("hft_mmap_ready", "1 while every series serves reads and takes writes, as /ready says.", not reasons)
    not_ready = GaugeMetricFamily(
        "hft_mmap_not_ready_reasons", "Reasons that /ready gives, by their code.", labels=["code"]
    )
    for code in _REASON_CODES:
        not_ready.add_metric([code], reasons.count(code))
    yield not_ready
    yield _gauge("hft_mmap_symbols", "Symbols that the store holds.", counters.symbols)
    left_out = "Symbols that this answer has no lines of their own for: ask for them by symbol=."
    yield _gauge("hft_mmap_symbols_left_out", left_out, max(counters.symbols - len(told), 0))
    unopened = "Symbols that were neither used nor looked at since the start."
    yield _gauge("hft_mmap_symbols_unopened", unopened, counters.unopened)
    yield _gauge("hft_mmap_symbols_open", "Symbols that were used since the start, and are mapped.", counters.open)
    with_files = "Symbols among them that have files open now: two each, with times and sizes at most four."
    yield _gauge("hft_mmap_symbols_with_files", with_files, counters.with_files)
    oldest = "How long the oldest point has waited to be put on the disk, at most."
    yield _gauge("hft_mmap_oldest_uncommitted_seconds", oldest, counters.oldest_s)
    yield _gauge("hft_mmap_max_symbols", "Symbols that the store may hold.", store.limits.max_symbols)
    yield _gauge("hft_mmap_data_dir_free_bytes", "Free space of the data directory's file system.", counters.free_bytes)
    yield _gauge("hft_mmap_data_dir_size_bytes", "Size of the data directory's file system.", counters.size_bytes)
    events = CounterMetricFamily("hft_mmap_events", "Events of the store, as in the log.", labels=["event"])
    for event, count in counters.events.items():
        events.add_metric([event], count)
    yield events
    for kind, name, text, field in _OF_SERIES:
        family = kind(name, text, labels=["symbol"])
        for series in counters.series:
            family.add_metric([series.symbol], getattr(series, field))
        yield family
    set_aside = GaugeMetricFamily(
        "hft_mmap_series_set_aside", "1 if the series is not served: its files can't be trusted.", labels=["symbol"]
    )
    for symbol in told:
        set_aside.add_metric([symbol], symbol in aside)
    yield set_aside


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
