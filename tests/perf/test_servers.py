"""perf.servers and perf.bare: what is compared runs in the same server, with the same settings."""

from pathlib import Path

from perf import load, servers
from perf.load import Stream
from perf.requests import add_batch, get
from perf.suites.decode import body


def test_the_bare_endpoint_answers_both_methods(tmp_path: Path) -> None:
    """With constant bytes, after it has read the body."""
    with servers.running(servers.BARE, tmp_path) as server:
        streams = [Stream("get", [get("/")], 2), Stream("post", add_batch([body(10)], "/"), 2)]
        found = load.run(server.port, streams, 0.05)
    assert found["get"].answered > 0
    assert found["post"].answered > 0


def test_the_service_takes_the_same_load_and_its_processor_time_is_counted(tmp_path: Path) -> None:
    """All threads of it."""
    with servers.service(tmp_path, tmp_path / "data", cores=[0]) as server:
        before = server.cpu_seconds()
        writes = load.run(server.port, [Stream("writes", add_batch([body(10)]), 2)], 0.05)["writes"]
        reads = load.run(server.port, [Stream("reads", [get("/stats/?symbol=ABC-USD&exponent=1")], 2)], 0.05)["reads"]
        assert writes.answered > 0
        assert reads.answered > 0
        assert server.cpu_seconds() > before
        assert server.peak_memory_bytes() > 10_000_000
    assert server.process.returncode == 0
