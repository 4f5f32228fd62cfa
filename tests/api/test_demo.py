"""`hft-mmap demo`: prices that keep coming, and a clean end."""

import csv
import gzip
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import httpx
import numpy as np
import pytest

from api.cli.demo import INSTRUMENTS, Instrument
from api.cli.replay import recorded
from hft_mmap import Store
from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.tree.words import FLAGS
from tests.service import COMMAND, PATIENCE_S, Service, environment, run_command, wait_until

STOCKS = Path(str(distribution("bokeh_sampledata").locate_file("bokeh_sampledata/_data/stocks.csv.gz")))
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


def totals(client: httpx.Client) -> dict[str, int]:
    """Return how many points each symbol has."""
    return {row["symbol"]: row["total"] for row in client.get("symbols").json()["symbols"]}


def test_a_newcomer_sees_prices_move(tmp_path: Path) -> None:
    """Every symbol has its history and grows; Ctrl+C ends it with 0, and nothing is left."""
    with demo(tmp_path) as (process, url, lines):
        client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        before = totals(client)
        assert sorted(before) == SYMBOLS
        wait_until(
            lambda: all(total > before[symbol] for symbol, total in totals(client).items()), "new prices of each symbol"
        )
        assert "text/html" in client.get("").headers["Content-Type"]
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert os.listdir(tmp_path) == []
    assert not any("Traceback" in line for line in lines)


def stored(data: Path, instrument: Instrument) -> tuple[int, bool]:
    """Return how many points a symbol has, and whether they are the first of its replay."""
    with Store(data, mode="r") as store:
        total = store.series(instrument.symbol).total
        replay = instrument.replay(1)
        is_replay = np.array_equal(store.window(instrument.symbol, total), replay.prices(0, total))
        if store.series(instrument.symbol).columns:
            ticks = store.ticks(instrument.symbol, total)
            assert ticks.times is not None
            assert ticks.sizes is not None
            is_replay &= np.array_equal(ticks.sizes, replay.sizes(0, total))
            is_replay &= np.array_equal(ticks.times.view(np.int64), replay.times(0, total))
        return total, is_replay


def test_the_data_is_kept_where_one_says_and_goes_on_from_there(tmp_path: Path) -> None:
    """The replay goes on with the point that follows, whatever part of it there was; none is missing or comes twice."""
    data = tmp_path / "kept"
    first, *_ = INSTRUMENTS
    with Store(data) as store:
        store.append(first.symbol, first.replay(1).prices(0, 5000))
    with demo(tmp_path, "--data-dir", str(data)) as (process, url, _):
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            wait_until(lambda: totals(client)[first.symbol] > 5000, "new prices")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert os.listdir(tmp_path) == ["kept"]
    assert stored(data, first)[0] > 5000
    for instrument in INSTRUMENTS:
        total, is_replay = stored(data, instrument)
        assert total >= 2000 * instrument.share
        assert is_replay


def test_no_other_service_is_fed(service: Service, tmp_path: Path) -> None:
    """One that has the port already: the demo fails with a line that says so, and nothing was sent there."""
    done = run_command(tmp_path, "demo", "--history", "1000", "--rate", "100000", "--port", str(service.port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{service.port}: Address already in use" in done.stderr
    assert "Dashboard" not in done.stdout
    assert service.client.get("/symbols").json() == {"symbols": []}


def test_what_the_service_refuses_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    """A series that became read-only: told once, the others go on. Where somebody else appends, so does the demo."""
    data = tmp_path / "kept"
    first, second, third, _ = (instrument.symbol for instrument in INSTRUMENTS)
    with (
        demo(tmp_path, "--data-dir", str(data)) as (_, url, lines),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        Head(data / first, writable=True).store(FLAGS, FLAG_SYNC_FAILED)
        wait_until(lambda: any(f"{first} was refused with 503" in line for line in lines), "the refusal")
        ticks = {"symbol": second, "values": [1.0] * 1000, "times": [1] * 1000, "sizes": [1.0] * 1000}
        foreign = client.post("add_batch", json=ticks).json()["total"]
        before = totals(client)[third]
        wait_until(lambda: totals(client)[second] > foreign, "new prices behind those of somebody else")
        wait_until(lambda: totals(client)[third] > before, "new prices of another symbol")
        assert [line.split(":")[0] for line in lines if "was refused" in line] == [
            f"{first} was refused with 503; it is sent again"
        ]


def test_a_data_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """Exit code 1, with the path."""
    (tmp_path / "file").write_text("")
    done = run_command(tmp_path, "demo", "--data-dir", "file")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "file" in done.stderr


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_each_day_begins_with_its_recorded_close(instrument: Instrument) -> None:
    """To the last day, then back to the first; in between are as many points as were asked for, near both closes."""
    replay = instrument.replay(7)
    closes, day = replay.closes, replay.points_a_day
    days = 2 * len(closes)
    there_and_back = np.concatenate([closes, closes[-2::-1], closes[1:2]])
    begins = np.concatenate([replay.prices(number * day, 1) for number in range(days)])
    assert np.array_equal(begins, there_and_back)
    for first in (0, len(closes) - 100, days - 200):  # and around the turns
        prices = replay.prices(first * day, 200 * day)
        assert np.array_equal(prices[::day], there_and_back[first : first + 200])
        assert np.abs(np.diff(np.log(prices))).max() < 0.1
    assert not np.array_equal(replay.prices(0, day), instrument.replay(8).prices(0, day))


def test_a_price_is_that_of_its_index() -> None:
    """However the points are asked for: so a batch may be sent again, and a replay goes on after a restart."""
    replay = INSTRUMENTS[0].replay(1)
    whole = replay.prices(0, 10_000)
    for first, points in ((0, 0), (0, 1), (1599, 2), (1600, 1600), (3333, 4444)):
        assert np.array_equal(replay.prices(first, points), whole[first : first + points])


def test_the_recording_is_the_published_one() -> None:
    """Every close of four stocks, as the package of sample data has it."""
    published: dict[str, list[float]] = {}
    with gzip.open(STOCKS, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            published.setdefault(row["Ticker"], []).append(round(float(row["Adj Close"]), 4))
    assert {symbol: closes.tolist() for symbol, closes in recorded().items()} == {
        symbol: published[symbol] for symbol in SYMBOLS
    }
