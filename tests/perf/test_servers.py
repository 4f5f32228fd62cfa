"""perf.servers and perf.bare: what is compared runs in the same server, with the same settings."""

from pathlib import Path

import pytest

from perf import anchors, load, servers
from perf.load import Stream
from perf.requests import add_batch, get
from perf.suites.decode import body


@pytest.mark.parametrize(
    "form", [servers.BARE, servers.BARE_ON_OUR_PROTOCOL, servers.BARE_ASGI, servers.BARE_PREPARED], ids=" ".join
)
def test_the_bare_endpoint_answers_both_methods(tmp_path: Path, form: tuple[str, ...]) -> None:
    """With constant bytes, after it has read the body, in each of its forms."""
    with servers.running(form, tmp_path) as server:
        streams = [Stream("get", [get("/")], 2), Stream("post", add_batch([body(10)], "/"), 2)]
        found = load.run(server.port, streams, 0.05)
    assert found["get"].answered > 0
    assert found["post"].answered > 0


def test_without_cargo_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The axum program is left out of a run then, and the others are measured."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(anchors.NoAnchorError, match="there is no cargo here"):
        anchors.axum()


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
