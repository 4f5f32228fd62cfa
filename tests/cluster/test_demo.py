"""`hft-mmap cluster demo`: the whole cluster comes up, survives what its text invites to, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from hft_mmap.client import Client, Retry
from tests.cluster.brokers import needs_kafka
from tests.cluster.shards import needs_nats
from tests.proxies.programs import missing
from tests.service import COMMAND, PATIENCE_S, environment, wait_until

SYMBOLS = ["AAPL", "GOOG", "IBM", "MSFT"]


def is_there(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(600)
@pytest.mark.parametrize("log", [pytest.param("nats", marks=needs_nats), pytest.param("kafka", marks=needs_kafka)])
@pytest.mark.skipif(bool(missing("haproxy")), reason=missing("haproxy") or "it is there")
def test_a_cluster_comes_up_survives_and_goes(tmp_path: Path, log: str) -> None:
    """Prices come to both shards, also while a replica and a server of the log are killed; Ctrl+C removes it all.

    Its port is another's when HAProxy starts, which is started again until it has it.
    """
    taken = socket.create_server(("127.0.0.1", 0))
    variables = environment({}) | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, "cluster", "demo", "--log", log, "--rate", "1000", "--port", str(taken.getsockname()[1])],
        cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    try:
        wait_until(
            lambda: any("haproxy ended (1)" in line for line in lines) or process.poll() is not None,
            "HAProxy to miss its port",
        )
        taken.close()
        wait_until(lambda: any("Ctrl+C" in line for line in lines) or process.poll() is not None, "the cluster")
        said = "".join(lines)
        assert process.poll() is None, said
        processes = {name: int(pid) for name, pid in re.findall(r"^  (\S+) +(\d+)$", said, re.MULTILINE)}
        assert len(processes) == 8, said
        urls = [url.rstrip("/") for url in re.findall(r"Dashboard +(\S+)", said)]
        assert [httpx.get(f"{url}/").headers["Content-Type"] for url in urls] == ["text/html; charset=utf-8"] * 2
        page = httpx.get(urls[0].replace("shard/0", "")).text
        assert 'href="/shard/0/"' in page
        assert 'href="/shard/1/"' in page
        with Client(urls, retry=Retry(give_up_s=PATIENCE_S)) as client:

            def grows() -> None:
                before = {row.symbol: row.total for row in client.symbols()}
                wait_until(
                    lambda: (
                        (now := {row.symbol: row.total for row in client.symbols()}).keys() == set(SYMBOLS)
                        and all(total > before.get(symbol, 0) for symbol, total in now.items())
                    ),
                    "new prices of each symbol",
                )

            grows()
            for name in ("shard-0-a", f"{log}-1"):
                os.kill(processes[name], signal.SIGKILL)
                grows()
                wait_until(lambda: any(f"{name} ended (-9)" in line for line in lines), "it to be started again")  # noqa: B023
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert not [name for name, pid in processes.items() if is_there(pid)]
        again = re.findall(r"started again: process (\d+)", "".join(lines))
        assert not [pid for pid in again if is_there(int(pid))]
        assert os.listdir(tmp_path) == []
        assert "Traceback" not in "".join(lines)
    finally:
        process.terminate()  # it ends the others
        process.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
        process.stdout.close()
        taken.close()
