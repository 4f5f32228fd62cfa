"""GET /metrics on a real running service, read with the parsers that Prometheus's own client brings."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from api.app import create_app, routes
from api.connection.connections import ConnectionLimits, Connections
from api.operation.beside import Beside
from api.operation.latency import BUCKETS_S, RequestCounter
from api.operation.settings import Settings
from api.routes.metrics import Metrics
from api.streams.registry import Streams
from hft_mmap import Store
from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.tree.words import FLAGS
from tests.api.streams.client import opened, said
from tests.api.test_app import ask, request
from tests.conftest import StartService
from tests.service import ROOT, Service, wait_until
from tests.small_disk import SmallDisk

ASK_OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
ROW = re.compile(r"\| `(\w+)` \| (\w+) \|([^|]*)\| ")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(service: Service) -> list[Metric]:
    """Return what a scrape in the plain text format tells."""
    answer = service.client.get("/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, TEXT)
    return list(read_text(answer.text))


def samples(families: list[Metric]) -> Samples:
    """Return the value of each sample, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(service: Service, name: str, **labels: str) -> float:
    """Return the value of one sample."""
    return samples(scraped(service))[name, frozenset(labels.items())]


def new_samples(service: Service, before: Samples, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return by how much each sample of `name` has grown since `before`, where it has."""
    now = samples(scraped(service))
    grown = {labels: number - before.get((each, labels), 0) for (each, labels), number in now.items() if each == name}
    return {labels: number for labels, number in grown.items() if number}


def test_requests_are_counted_by_route_method_and_status(shared_service: Service) -> None:
    """A slash at the end makes no other route."""
    before = samples(scraped(shared_service))
    shared_service.add("COUNTED", [1.0])
    for _ in range(3):
        shared_service.client.get("/stats?symbol=COUNTED&k=1")
    shared_service.client.head("/stats/?symbol=COUNTED&k=1")
    for _ in range(2):
        shared_service.client.get("/stats/?symbol=MISSING&k=1")
    shared_service.client.post("/add_batch", content=b"{}")
    expected = {
        ("/add_batch", "POST", "200"): 1, ("/add_batch", "POST", "415"): 1, ("/stats", "GET", "200"): 3,
        ("/stats", "HEAD", "200"): 1, ("/stats", "GET", "404"): 2, ("/metrics", "GET", "200"): 1,
    }  # fmt: skip
    assert new_samples(shared_service, before, "hft_mmap_http_requests_total") == {
        frozenset({("route", route), ("method", method), ("status", status)}): number
        for (route, method, status), number in expected.items()
    }


def test_connections_are_counted_and_why_they_were_cut(service: Service) -> None:
    """Who shuts clients out, or is shut out, can be seen."""
    before = samples(scraped(service))
    with service.connect() as connection:
        connection.sendall(b"no request\r\n\r\n")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    assert new_samples(service, before, "hft_mmap_connections_cut_total") == {frozenset({("reason", "malformed")}): 1}
    assert new_samples(service, before, "hft_mmap_connections_opened_total") == {frozenset(): 1}
    with service.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1) == b"H"
        assert value(service, "hft_mmap_connections") == 2
    assert value(service, "hft_mmap_max_connections") == 4096


def test_streams_are_counted_while_they_are_open(service: Service) -> None:
    """Both kinds; how many there may be stands beside it."""
    service.add("A", [1.0])
    with (
        opened(service, mode="stats", symbol="A") as client,
        service.client.stream("GET", "/events?symbol=A") as answer,
    ):
        assert said(client)["total"] == 1
        lines = answer.iter_lines()  # whose end would be that of the answer
        assert next(lines) == "retry: 2000"
        assert value(service, "hft_mmap_streams") == 2
        assert value(service, "hft_mmap_max_streams") == 256
    wait_until(lambda: value(service, "hft_mmap_streams") == 0, "the end of the streams")


def test_what_is_made_up_shares_one_label(shared_service: Service) -> None:
    """Ten thousand paths or methods that do not exist are one more series, not ten thousand."""
    before = samples(scraped(shared_service))
    for number in range(20):
        shared_service.client.get(f"/{number}")
    shared_service.client.get("/stats//")
    for method in ("PROPFIND", "LOCK", "MKCOL", "SEARCH"):
        shared_service.client.request(method, "/stats")
    assert new_samples(shared_service, before, "hft_mmap_http_requests_total") == {
        frozenset({("route", "other"), ("method", "GET"), ("status", "404")}): 21,
        frozenset({("route", "/stats"), ("method", "other"), ("status", "405")}): 4,
        frozenset({("route", "/metrics"), ("method", "GET"), ("status", "200")}): 1,
    }


def test_latencies_fill_a_histogram_by_route(shared_service: Service) -> None:
    """Every request is in it once, its buckets never fall, and the sum is that of the durations."""
    for _ in range(5):
        shared_service.client.get("/symbols")
    found = samples(scraped(shared_service))
    name, route = "hft_mmap_http_request_duration_seconds", ("route", "/symbols")
    buckets = {
        float(dict(labels)["le"]): number
        for (each, labels), number in found.items()
        if each == f"{name}_bucket" and route in labels
    }
    assert sorted(buckets) == [*BUCKETS_S, float("inf")]
    assert sorted(buckets.values()) == [buckets[bound] for bound in sorted(buckets)]
    assert buckets[float("inf")] == found[f"{name}_count", frozenset({route})] >= 5
    assert 0 < found[f"{name}_sum", frozenset({route})] < 30


@pytest.mark.parametrize(
    ("duration_s", "bucket"), [(0.0, 0), (25e-6, 0), (26e-6, 1), (9.9, len(BUCKETS_S) - 1), (11.0, len(BUCKETS_S))]
)
def test_a_duration_falls_in_the_bucket_that_it_does_not_exceed(duration_s: float, bucket: int) -> None:
    """The bound belongs to its bucket, as Prometheus's `le` has it."""
    counter = RequestCounter()
    counter.know(["/stats"])
    counter.count({"path": "/stats/", "method": "GET"}, duration_s)
    counts, seconds = counter.copy().by_bucket("/stats")
    assert [index for index, count in enumerate(counts) if count] == [bucket]
    assert seconds == duration_s


def test_series_have_their_numbers(start_service: StartService) -> None:
    """As /symbols has them, one sample for each symbol, whatever is in its name."""
    service = start_service(store__max_data_retention=100, store__cleanup_keep_count=50, store__durability="sync")
    names = ("ABC-USD", 'quote"back\\slash', "日本円-USD")
    for symbol in names:
        for _ in range(3):
            assert service.add(symbol, [1.0] * 40).status_code == 200
    found = samples(scraped(service))
    for row in service.client.get("/symbols").json()["symbols"]:
        labels = frozenset({("symbol", row["symbol"])})
        assert found["hft_mmap_series_points_total", labels] == row["total"] == 120
        assert found["hft_mmap_series_durable_points_total", labels] == 120
        assert found["hft_mmap_series_start_point", labels] == row["start"]
        assert found["hft_mmap_series_kept_points", labels] == row["count"]
        assert found["hft_mmap_series_size_bytes", labels] == row["bytes"]
        assert found["hft_mmap_series_syncs_total", labels] >= 3
        assert found["hft_mmap_series_sync_seconds_total", labels] > 0
        assert 0 <= found["hft_mmap_series_last_sync_age_seconds", labels] < 30
        assert found["hft_mmap_series_cleanups_total", labels] == 1
        assert found["hft_mmap_series_recoveries_total", labels] == 0
        assert found["hft_mmap_series_read_only", labels] == found["hft_mmap_series_set_aside", labels] == 0
    assert found["hft_mmap_symbols", frozenset()] == len(names)
    assert found["hft_mmap_max_symbols", frozenset()] == 10
    assert found["hft_mmap_events_total", frozenset({("event", "cleanup")})] == len(names)
    assert 0 < found["hft_mmap_data_dir_free_bytes", frozenset()] <= found["hft_mmap_data_dir_size_bytes", frozenset()]


def test_faults_show(start_service: StartService, tmp_path: Path) -> None:
    """A crash as a recovery; what can't be trusted as set aside, what can't be synced as read-only: not ready."""
    before = start_service()
    before.add("GOOD", [1.0])
    before.add("DAMAGED", [1.0])
    before.kill()
    (tmp_path / "data" / "DAMAGED" / "head").write_bytes(bytes(4096))
    after = start_service()
    assert value(after, "hft_mmap_series_recoveries_total", symbol="GOOD") == 1
    assert value(after, "hft_mmap_series_set_aside", symbol="GOOD") == 0
    assert value(after, "hft_mmap_series_set_aside", symbol="DAMAGED") == 1
    assert value(after, "hft_mmap_ready") == 0
    assert value(after, "hft_mmap_not_ready_reasons", code="set_aside") == 1
    assert value(after, "hft_mmap_symbols") == 2
    # A sync that failed in another process.
    Head(tmp_path / "data" / "GOOD", writable=True).store(FLAGS, FLAG_SYNC_FAILED)
    assert after.add("GOOD", [1.0]).status_code == 503
    assert value(after, "hft_mmap_series_read_only", symbol="GOOD") == 1
    assert {reason["code"] for reason in after.client.get("/ready").json()["reasons"]} == {"set_aside", "read_only"}
    assert after.client.get("/stats?symbol=GOOD&k=1").status_code == 200


def test_ready_and_metrics_follow_the_disk(start_service: StartService, disk: SmallDisk) -> None:
    """Not ready as soon as it is full, before any batch was refused; ready again by itself when there is space."""
    service = start_service(store__data_dir=disk.path / "data", store__starting_capacity=0)
    assert service.add("A", [1.0]).status_code == 200
    assert (service.client.get("/ready").status_code, value(service, "hft_mmap_ready")) == (200, 1)
    disk.fill()
    answer = service.client.get("/ready")
    assert answer.status_code == 503
    assert [(reason["symbol"], reason["code"]) for reason in answer.json()["reasons"]] == [(None, "disk_full")]
    assert (value(service, "hft_mmap_ready"), value(service, "hft_mmap_not_ready_reasons", code="disk_full")) == (0, 1)
    assert value(service, "hft_mmap_data_dir_free_bytes") < 65_536
    assert service.add("A", [1.0] * 20_000).status_code == 507
    assert service.client.get("/ready").status_code == 503
    disk.clear()
    assert (service.client.get("/ready").status_code, value(service, "hft_mmap_ready")) == (200, 1)
    assert service.add("A", [1.0] * 20_000).json()["total"] == 20_001


def lines_of(service: Service, query: str = "") -> set[str]:
    """Return the symbols that have lines of their own in an answer."""
    found = read_text(service.client.get(f"/metrics{query}").text)
    return {sample.labels["symbol"] for family in found for sample in family.samples if "symbol" in sample.labels}


def test_many_symbols_have_lines_where_they_are_asked_for(start_service: StartService) -> None:
    """So that an answer stays short; it says how many symbols it leaves out, and counts them all."""
    with TemporaryDirectory(dir="/dev/shm") as place:
        service = start_service(store__data_dir=place, store__max_symbols=200, store__starting_capacity=0)
        names = [f"S{number:03}" for number in range(101)]
        for name in names[:100]:
            service.add(name, [1.0])
        assert lines_of(service) == set(names[:100])
        assert value(service, "hft_mmap_symbols_left_out") == 0
        service.add(names[100], [1.0])
        assert lines_of(service) == set()
        assert (value(service, "hft_mmap_symbols"), value(service, "hft_mmap_symbols_left_out")) == (101, 101)
        assert lines_of(service, "?symbol=S007&symbol=S100&symbol=NONE&symbol=S007") == {"S007", "S100"}
        assert service.client.get("/metrics?symbol=").status_code == 400
        assert service.client.get("/metrics?symbols=S007").status_code == 400
        too_many = service.client.get("/metrics", params={"symbol": names})
        assert (too_many.status_code, "101 symbols; one scrape tells of at most 100" in too_many.text) == (400, True)
        assert service.stop() == 0
        again = start_service(store__data_dir=place, store__max_symbols=200, store__starting_capacity=0)
        assert again.client.get("/stats?symbol=S100&window=1").json()["last"] == 1.0
        wait_until(lambda: value(again, "hft_mmap_symbols_unopened") == 0, "the look at every symbol")
        assert len(again.client.get("/symbols").json()["symbols"]) == 101
        assert again.client.get("/symbols?limit=1&after=S098").json()["next"] == "S099"
        assert again.stop() == 0


def test_points_that_wait_for_the_disk_have_an_age(start_service: StartService) -> None:
    """It grows while another process keeps them from it, and is 0 once they are there."""
    service = start_service()
    service.add("A", [1.0])
    wait_until(lambda: value(service, "hft_mmap_oldest_uncommitted_seconds") == 0, "the commit")
    head = Head(service.data_dir / "A", writable=True)

    def hold() -> None:
        service.add("A", [2.0])
        wait_until(lambda: value(service, "hft_mmap_oldest_uncommitted_seconds") > 0.2, "the age to grow")

    head.committing(hold)
    head.close()
    wait_until(lambda: value(service, "hft_mmap_oldest_uncommitted_seconds") == 0, "the commit")
    assert value(service, "hft_mmap_series_durable_points_total", symbol="A") == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("*/*", TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", TEXT),
        (ASK_OPENMETRICS, OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0\xff", OPENMETRICS),
    ],
)
def test_both_formats(shared_service: Service, method: str, accept: str | None, content_type: str) -> None:
    """By what the scraper accepts; nothing that it sends comes back in a header."""
    headers = {b"Accept": accept.encode("latin-1")} if accept else {}
    answer = shared_service.client.request(method, "/metrics/", headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    if method == "GET":
        families = (read_text if content_type == TEXT else read_openmetrics)(answer.text)
        assert "hft_mmap_ready" in {family.name for family in families}


def test_the_document_lists_every_metric(shared_service: Service) -> None:
    """Name, type and labels in docs/metrics.md are those of the service, both ways."""
    shared_service.add("A", [1.0])
    document = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(document)
    }
    shared_service.client.get("/health")
    exposed = {}
    for family in scraped(shared_service):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset().union(*(sample.labels for sample in family.samples)) - {"le"}
        exposed[name] = (family.type, labels)
        assert family.samples, name
        assert family.documentation, name
    assert documented == exposed


def test_constant_labels_stand_on_every_sample(tmp_path: Path) -> None:
    """They tell one instance of the service from another; a label of a metric beats one of the same name."""
    with Store(tmp_path) as store:
        store.append("A", [1.0])
        app = create_app(store, Settings(), labels={"instance": "one", "symbol": "constant"})
        _, body = ask(app, request("/metrics"))
    found = [sample for family in read_text(body["body"].decode()) for sample in family.samples]
    assert {sample.labels["instance"] for sample in found} == {"one"}
    assert {sample.labels["symbol"] for sample in found} == {"constant", "A"}


def test_two_applications_do_not_share_numbers(tmp_path: Path) -> None:
    """Nothing is kept in prometheus_client's global registry."""
    with Store(tmp_path) as store:
        one, other = (create_app(store, Settings()) for _ in range(2))
        ask(one, request("/health"))
        assert 'route="/health"' in ask(one, request("/metrics"))[1]["body"].decode()
        assert 'route="/health"' not in ask(other, request("/metrics"))[1]["body"].decode()


def test_every_route_has_its_own_label(tmp_path: Path) -> None:
    """None of them is counted as `other`."""
    with Store(tmp_path) as store:
        counter = RequestCounter()
        streams, beside = Streams(1), Beside()
        metrics = Metrics(store, counter, Connections(ConnectionLimits()), streams, {}, beside)
        served = routes(store, Settings(), metrics, streams, beside)
        counter.know(served)
        for path in served:
            counter.count({"path": path, "method": "GET"}, 1e-3)
    assert set(counter.copy().latencies) == set(served)
