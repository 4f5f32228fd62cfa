"""`hft-mmap demo`: prices that keep coming, and a clean end."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from api.demo import INSTRUMENTS, Walk
from hft_mmap import Store
from tests.service import COMMAND, PATIENCE_S, environment, run_command, wait_until

SYMBOLS = sorted(instrument.symbol for instrument in INSTRUMENTS)


@contextmanager
def demo(directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Yield a running demo: its process, the address of the dashboard, and the lines it has printed."""
    variables = environment({}) | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, "demo", "--history", "2000", "--rate", "1000", *options],
        cwd=directory, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    try:
        wait_until(lambda: any("Ctrl+C" in line for line in lines) or process.poll() is not None, "the demo")
        found = re.search(r"Dashboard +(\S+)", "".join(lines))
        assert found, lines
        yield process, found[1], lines
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
        process.stdout.close()


def test_a_newcomer_sees_prices_move(tmp_path: Path) -> None:
    """Every symbol has its history and grows; Ctrl+C ends it with 0, and nothing is left."""
    with demo(tmp_path) as (process, url, lines):
        client = httpx.Client(base_url=url)

        def totals() -> dict[str, int]:
            return {row["symbol"]: row["total"] for row in client.get("symbols").json()["symbols"]}

        before = totals()
        assert sorted(before) == SYMBOLS
        wait_until(
            lambda: all(total > before[symbol] for symbol, total in totals().items()), "new prices of each symbol"
        )
        assert "text/html" in client.get("").headers["Content-Type"]
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert os.listdir(tmp_path) == []
    assert not any("Traceback" in line for line in lines)


def test_the_data_is_kept_where_one_says_and_goes_on_from_there(tmp_path: Path) -> None:
    """What is there is appended to, from its newest price on; the history of the others is made."""
    data = tmp_path / "kept"
    with Store(data) as store:
        store.append("BTC-USD", [50_000.0])
    with demo(tmp_path, "--data-dir", str(data)) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    with Store(data, mode="r") as store:
        assert [info.symbol for info in store.symbols()] == SYMBOLS
        assert store.series("BTC-USD").total < 2000 * 0.6 <= store.series("ETH-USD").total
        assert np.allclose(store.window("BTC-USD", 2000), 50_000.0, rtol=0.01)
    assert os.listdir(tmp_path) == ["kept"]


def test_a_data_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """Exit code 1, with the path."""
    (tmp_path / "file").write_text("")
    done = run_command(tmp_path, "demo", "--data-dir", "file")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "file" in done.stderr


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_the_prices_are_a_walk_in_ticks_and_the_same_for_a_seed(instrument: object) -> None:
    """However they are taken, they are prices, near the first one."""
    (one,) = (found for found in INSTRUMENTS if found == instrument)
    prices = Walk(one, 7).take(50_000)
    assert np.array_equal(prices, Walk(one, 7).take(50_000))
    assert not np.array_equal(prices, Walk(one, 8).take(50_000))
    assert np.allclose(prices / one.tick, np.round(prices / one.tick), atol=1e-4)
    assert 0.5 < np.median(prices) / one.price < 2
