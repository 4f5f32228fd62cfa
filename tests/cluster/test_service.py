"""Services as replicas of a shard over a real NATS: what HTTP says, and what the commands do."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect as websocket

from api.cluster.kafka import client_of
from api.cluster.log import LogUnfit
from hft_mmap import Store, StoreUnusable
from hft_mmap.client import Client
from tests.cluster.servers import Nats, nats_servers
from tests.cluster.shards import create, needs_nats, post, replicas, settings_of
from tests.service import ROOT, Service, environment, run_command, running_service, wait_until


@needs_nats
def test_a_read_with_min_seq_sees_the_write(both: list[Service]) -> None:
    """From the other replica, at once, and again."""
    a, b = both
    for k in range(20):
        told = post(a, "READ", [float(k)], offset=k)
        assert told.status_code == 200
        assert told.json()["total"] == k + 1
        assert told.json()["durability"] == "replicated"
        seen = b.client.get("/stats?symbol=READ&window=1", headers={"X-Min-Seq": str(told.json()["seq"])})
        assert seen.json()["last"] == k
        assert int(seen.headers["X-Applied-Seq"]) >= told.json()["seq"]


@needs_nats
def test_a_read_of_what_is_not_there_yet_is_refused(both: list[Service]) -> None:
    """503 after a while; and 400 for what is no number."""
    answer = both[0].client.get("/stats?symbol=READ&window=1", headers={"X-Min-Seq": "1000000"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "and not yet 1000000" in answer.json()["detail"]
    answer = both[0].client.get("/health", headers={"X-Min-Seq": "-1"})
    assert answer.status_code == 400
    assert "X-Min-Seq must be a whole number" in answer.json()["detail"]


@needs_nats
def test_every_way_in_goes_through_the_log(both: list[Service]) -> None:
    """JSON, and again (one machine remembers it), binary, lines, a stream, times: the other replica has them all."""
    a, b = both
    for k in range(3):
        assert post(a, "JSON", [float(k)]).status_code == 200
    raw = np.array([1.0, 2.0]).tobytes()
    for _ in range(2):
        told = a.client.post("/add_batch?symbol=RAW", content=raw, headers={"Content-Type": "application/octet-stream"})
        assert told.status_code == 200, told.text
    lines = b'{"symbol":"LINE","values":[1]}\n{"symbol":"LINE","values":[2],"offset":7}\n{"symbol":"LINE","values":[3]}'
    told = a.client.post("/add_batch", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert [one["status"] for one in told.json()["lines"]] == [200, 409, 200]
    assert told.json()["durability"] == "replicated"
    timed = post(a, "TIMED", [1.0, 2.0], times=[5, 3], sizes=[1, -1])
    assert (timed.json()["late"], timed.json()["latest_ns"]) == (1, 2)
    with websocket(f"{a.url.replace('http', 'ws')}/stream?mode=ingest&symbol=WS") as stream:
        assert json.loads(stream.recv())["durability"] == "replicated"
        stream.send(np.array([4.0, 5.0]).tobytes())
        ack = json.loads(stream.recv())
    assert (ack["total"], ack["seq"] > told.json()["seq"]) == (2, True)
    least = {"X-Min-Seq": str(ack["seq"])}
    rows = {row["symbol"]: row["total"] for row in b.client.get("/symbols", headers=least).json()["symbols"]}
    assert {name: rows.get(name) for name in ("JSON", "RAW", "LINE", "TIMED", "WS")} == {
        "JSON": 3, "RAW": 4, "LINE": 2, "TIMED": 2, "WS": 2,
    }  # fmt: skip
    assert "seq" in told.json()


@needs_nats
def test_an_offset_is_held_against_the_newest_state(both: list[Service]) -> None:
    """The replica that has not written says the same, with the total."""
    a, b = both
    post(a, "OFF", [1.0, 2.0, 3.0])
    assert post(b, "OFF", [2.0, 3.0], offset=1).json()["total"] == 3
    refused = post(b, "OFF", [9.0], offset=1)
    assert (refused.status_code, refused.json()["total"]) == (409, 3)


@needs_nats
def test_what_would_change_one_replica_alone_is_refused(both: list[Service], tmp_path: Path) -> None:
    """By HTTP, by the commands, and by another process of the library."""
    a = both[0]
    post(a, "MINE", [1.0])
    for method in ("PUT", "DELETE", "PATCH"):
        answer = a.client.request(method, "/symbols/MINE")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    with pytest.raises(StoreUnusable, match="replica of a shard"):
        Store(a.data_dir)
    removed = run_command(tmp_path, "remove", "MINE", "--yes", "--data-dir", str(a.data_dir))
    assert removed.returncode != 0
    with Store(a.data_dir, mode="r") as store:
        assert store.window("MINE", 5).tolist() == [1.0]


@needs_nats
def test_a_symbol_of_another_shard_is_misdirected(nats: Nats, both: list[Service], tmp_path: Path) -> None:
    """421, and nothing is stored; what is there already is taken by every replica."""
    post(both[0], "THERE", [1.0])
    name = {"cluster__replica": "c", "cluster__slots": "5"}
    with running_service(tmp_path, **settings_of(nats, **name)) as c:
        wait_until(lambda: c.client.get("/ready").status_code == 200, "the replica to catch up")
        refused = post(c, "NEWONE", [1.0])
        assert refused.status_code == 421
        assert "cluster.slots" in refused.json()["detail"]
        assert post(c, "THERE", [2.0], offset=1).json()["total"] == 2


@needs_nats
def test_cluster_and_metrics_tell_where_a_replica_is(both: list[Service]) -> None:
    """The same numbers by both."""
    told = post(both[0], "SEEN", [1.0]).json()
    found = both[0].client.get("/cluster").json()
    assert found["replica"] == "a"
    assert found["shard"] == 0
    assert found["reason"] is None
    assert found["applied"] >= told["seq"]
    numbers = both[0].client.get("/metrics").text
    assert "hft_mmap_cluster_stopped 0.0" in numbers
    document = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^hft_mmap_cluster_\w+", numbers, re.MULTILINE)) == set(
        re.findall(r"hft_mmap_cluster_\w+", document)
    )


@needs_nats
def test_the_commands_look_trim_and_copy(nats: Nats, both: list[Service], tmp_path: Path) -> None:
    """A trim stops at what every replica has saved; a copy of one goes on where an empty one can't."""
    a, b = both
    last = post(a, "COPY", [1.0, 2.0, 3.0]).json()["seq"]
    wait_until(lambda: all(one.client.get("/cluster").json()["saved"] >= last for one in both), "positions to be saved")
    status = run_command(tmp_path, "cluster", "status", a.url, b.url, "--json")
    assert [row["replica"] for row in json.loads(status.stdout)] == ["a", "b"]
    gone = run_command(tmp_path, "cluster", "trim", a.url, "http://127.0.0.1:1", **settings_of(nats))
    assert (gone.returncode, "does not answer" in gone.stderr) == (1, True)
    trimmed = run_command(tmp_path, "cluster", "trim", a.url, b.url, "--keep", "0", **settings_of(nats))
    assert trimmed.returncode == 0, trimmed.stderr
    assert int(trimmed.stdout.split(",")[0].rpartition(" ")[2]) > last
    (tmp_path / "new").mkdir()
    copied = run_command(
        tmp_path, "cluster", "bootstrap", str(tmp_path / "new" / "data"), "--data-dir", str(b.data_dir)
    )
    assert copied.returncode == 0, copied.stderr
    with running_service(tmp_path / "new", **settings_of(nats)) as new:
        wait_until(lambda: new.client.get("/ready").status_code == 200, "the copy to catch up")
        assert post(new, "COPY", [4.0], offset=3).json()["total"] == 4
    (tmp_path / "empty").mkdir()
    with running_service(tmp_path / "empty", **settings_of(nats)) as empty:
        wait_until(lambda: "log begins at" in str(empty.client.get("/cluster").json()["reason"]), "the replica to stop")
        assert post(empty, "COPY", [5.0]).status_code == 503


@needs_nats
def test_the_command_changes_the_limits_of_every_replica(tmp_path: Path) -> None:
    """And prints them; what is wrong changes nothing."""
    with nats_servers(tmp_path, 1) as nats, replicas(nats, tmp_path) as both:
        a, b = both

        def limits(url: str, *options: str) -> tuple[int, str]:
            done = run_command(tmp_path, "cluster", "limits", url, *options)
            return done.returncode, done.stdout + done.stderr

        assert "no limits yet, so --cleanup-keep-count is needed" in limits(a.url, "--max-data-retention", "9")[1]
        post(a, "KEEP", [1.0, 2.0, 3.0, 4.0])
        assert limits(a.url) == (0, "max_data_retention 150000000\ncleanup_keep_count 100000000\n")
        code, said = limits(a.url, "--max-data-retention", "4", "--cleanup-keep-count", "2")
        assert (code, said) == (0, "max_data_retention 4\ncleanup_keep_count 2\n")
        least = {"X-Min-Seq": str(post(b, "KEEP", [5.0], offset=4).json()["seq"])}
        for one in both:
            assert one.client.get("/values?symbol=KEEP", headers=least).json()["values"] == [3.0, 4.0, 5.0]
        code, said = limits(b.url, "--cleanup-keep-count", "7")
        assert (code, "must be at most max_data_retention (4); nothing was changed" in said) == (1, True), said
        assert limits(b.url)[1] == "max_data_retention 4\ncleanup_keep_count 2\n"
        assert "does not answer" in limits("http://127.0.0.1:1")[1]
        for body, status in (({}, 400), ({"max_data_retention": True, "cleanup_keep_count": 1}, 400)):
            assert a.client.patch("/cluster", json=body).status_code == status


def test_limits_are_settings_on_one_machine(shared_service: Service) -> None:
    """409, and the command says so."""
    limits = {"max_data_retention": 4, "cleanup_keep_count": 2}
    assert shared_service.client.patch("/cluster", json=limits).status_code == 409


@needs_nats
def test_a_replica_without_its_log_reads_on_and_takes_no_batch(tmp_path: Path) -> None:
    """503 with Retry-After and what is known of the batch; and when the log is back, all goes on."""
    with nats_servers(tmp_path, 1) as nats, replicas(nats, tmp_path, "a", cluster__append_timeout_s=1) as (a,):
        assert post(a, "GONE", [1.0]).status_code == 200
        nats.kill(0)
        refused = post(a, "GONE", [2.0], offset=1)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "may be stored" in refused.json()["detail"]
        assert a.client.get("/stats?symbol=GONE&window=1").status_code == 200
        wait_until(lambda: a.client.get("/ready").status_code == 503, "the replica to say so")
        with Client(a.url) as client:
            assert ["log does not answer" in one for one in client.ready()] == [True]
        nats.start(0)
        wait_until(lambda: post(a, "GONE", [2.0], offset=1).status_code == 200, "the log to take batches again")
        with Store(a.data_dir, mode="r") as store:
            assert store.window("GONE", 9).tolist() == [1.0, 2.0]


@needs_nats
def test_a_full_log_answers_503_and_goes_on_once_it_is_trimmed(tmp_path: Path) -> None:
    """Reads go on; what was refused is stored once when it is sent again."""
    with nats_servers(tmp_path, 1) as nats:
        create(nats, tmp_path, max_bytes=2**20)
        with replicas(nats, tmp_path, "a", made=True, cluster__append_timeout_s=1) as (a,):
            values = [float(n) for n in range(5000)]
            total = 0
            while (told := post(a, "FULL", values, offset=total)).status_code == 200:
                total = told.json()["total"]
            assert (told.status_code, told.headers["Retry-After"]) == (503, "1")
            assert "it is full: hft-mmap cluster trim makes space" in told.json()["detail"]
            assert 0 < total < 2**20 / 8
            assert a.client.get("/stats?symbol=FULL&window=1").json()["last"] == 4999
            wait_until(lambda: (one := a.client.get("/cluster").json())["saved"] == one["last"], "a position")
            trimmed = run_command(tmp_path, "cluster", "trim", a.url, "--keep", "0", **settings_of(nats))
            assert trimmed.returncode == 0, trimmed.stderr
            wait_until(lambda: post(a, "FULL", values, offset=total).status_code == 200, "the log to take batches")
        with Store(a.data_dir, mode="r") as store:
            assert store.window("FULL", 10**6).tolist() == values * (total // 5000 + 1)


@needs_nats
def test_a_replica_begins_a_new_log_where_the_old_one_is_lost(tmp_path: Path) -> None:
    """It keeps its points, and the others go on from a copy of it; nobody goes on by himself."""
    with nats_servers(tmp_path, 1) as nats:
        settings = settings_of(nats)
        data = str(tmp_path / "a" / "data")

        def reseed() -> tuple[int, str]:
            done = run_command(tmp_path, "cluster", "reseed", "--data-dir", data, **settings)
            return done.returncode, done.stdout + done.stderr

        assert "has no position" in reseed()[1]
        assert not (tmp_path / "a").exists()
        with replicas(nats, tmp_path, "a") as (a,):
            options = "--replicas", "1", "--max-bytes", str(2**30), "--replace", "--yes"
            last = post(a, "KEPT", [1.0, 2.0, 3.0]).json()["seq"]
            wait_until(lambda: a.client.get("/cluster").json()["saved"] >= last, "a position to be saved")
            again = run_command(tmp_path, "cluster", "create", *options, **settings)
            assert again.returncode == 0, again.stderr
            wait_until(lambda: "the log was replaced" in str(a.client.get("/cluster").json()["reason"]), "it to stop")
            assert post(a, "KEPT", [4.0], offset=3).status_code == 503
            assert a.client.get("/stats?symbol=KEPT&window=1").json()["last"] == 3.0
            assert "belongs to another replica that is running" in reseed()[1]
            assert a.stop() == 0
        code, said = reseed()
        assert (code, f"had read {last} records" in said) == (0, True), said
        assert reseed()[0] == 0  # again, as after a command that was killed
        (tmp_path / "empty").mkdir()
        with running_service(tmp_path / "empty", **settings) as empty:  # too early: it is not bootstrapped
            wait_until(lambda: "bootstrap it" in str(empty.client.get("/cluster").json()["reason"]), "it to stop")
            assert post(empty, "OTHER", [5.0]).status_code == 503
        made = run_command(tmp_path, "cluster", "bootstrap", str(tmp_path / "b" / "data"), "--data-dir", data)
        assert made.returncode == 0, made.stderr
        with replicas(nats, tmp_path, "ab", made=True) as (a, b):
            told = post(b, "KEPT", [4.0], offset=3).json()
            assert (told["total"], told["seq"]) == (4, 2)
            for one in (a, b):
                seen = one.client.get("/values?symbol=KEPT", headers={"X-Min-Seq": "2"})
                assert seen.json()["values"] == [1.0, 2.0, 3.0, 4.0]
            assert a.stop() == 0
            assert "the log has 2 records: only a new one" in reseed()[1]


@needs_nats
def test_a_log_is_made_by_servers_that_have_yet_to_meet(tmp_path: Path) -> None:
    """The command waits for the third of three."""
    nats = Nats(tmp_path, 3)
    try:
        nats.start(0)
        nats.start(1)
        with ThreadPoolExecutor() as pool:
            made = pool.submit(create, nats, tmp_path)
            nats.start(2)
            made.result()
    finally:
        for process in filter(None, nats.processes):
            process.kill()
            process.wait()


@needs_nats
def test_a_log_that_does_not_sync_is_refused(tmp_path: Path) -> None:
    """Unless the settings allow it; check-config says so too."""
    nats = Nats(tmp_path, 1)
    nats.start(0, sync="2m")
    try:
        for command in ("serve", "check-config"):
            refused = run_command(tmp_path, command, **settings_of(nats))
            assert refused.returncode == 78
            assert "sync_interval: always" in refused.stderr
        allowed = run_command(tmp_path, "check-config", **settings_of(nats, cluster__require_fsync=False))
        assert allowed.returncode == 0
    finally:
        nats.kill(0)


def test_credentials_of_the_log_are_looked_for_where_systemd_puts_them(tmp_path: Path) -> None:
    """Named where they are missing; out of reach of check-config in a shell, and so not looked at there."""
    named = {"cluster__log": "nats", "cluster__servers": "nats://127.0.0.1:1", "cluster__require_fsync": False}
    gone = run_command(tmp_path, "check-config", **named, cluster__tls_ca=str(tmp_path / "ca.pem"))
    assert (gone.returncode, "cluster.tls_ca" in gone.stderr, "can't be read" in gone.stderr) == (78, True, True)
    handed = {**named, "cluster__credentials_file": "${CREDENTIALS_DIRECTORY}/log.creds"}
    assert run_command(tmp_path, "check-config", **handed).returncode == 0
    for command in (("serve",), ("cluster", "create")):
        refused = run_command(tmp_path, *command, **handed)
        assert (refused.returncode, "CREDENTIALS_DIRECTORY is not set" in refused.stderr) == (78, True), refused.stderr


def test_credentials_of_kafka_are_settings_of_its_client(tmp_path: Path) -> None:
    """Those of sasl and ssl alone, with Kafka; with them and an authority the connection is encrypted."""
    path = tmp_path / "log.secrets"
    path.write_text("sasl.mechanism = SCRAM-SHA-512\nsasl.username=me\nsasl.password=a=b\n")
    found = client_of(["kafka://h:9092", "i:9092"], str(path), "/ca.pem")
    assert found["bootstrap.servers"] == "h:9092,i:9092"
    assert found["security.protocol"] == "sasl_ssl"
    assert (found["sasl.password"], found["ssl.ca.location"]) == ("a=b", "/ca.pem")
    path.write_text("bootstrap.servers=elsewhere\n")
    with pytest.raises(LogUnfit, match="begins with sasl"):
        client_of(["h:9092"], str(path))


def test_settings_that_a_replica_can_not_have_are_named_at_once(tmp_path: Path) -> None:
    """Exit code 78, and a line for each."""
    refused = run_command(
        tmp_path, "check-config", cluster__log="nats", store__durability="sync", store__create_on_append=False,
        server__instance="one", server__max_batch_values=200_000,
    )  # fmt: skip
    assert refused.returncode == 78
    for name in ("cluster.servers", "store.durability", "store.create_on_append", "server.instance", "max_block_bytes"):
        assert name in refused.stderr
    assert "must be nats or kafka" in run_command(tmp_path, "check-config", cluster__log="etcd").stderr
    assert run_command(tmp_path, "check-config", cluster__slots="7-2000").returncode == 78


def test_the_service_without_a_cluster_imports_no_client() -> None:
    """Nor anything of `api.cluster`."""
    script = (
        "import sys\n"
        "import api.server, api.cli.command, api.app, hft_mmap.client\n"
        "print([name for name in sys.modules if name.startswith(('nats', 'confluent_kafka', 'api.cluster'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment({}), cwd=ROOT, check=False
    )
    assert found.stdout == "[]\n", found.stderr
