"""The commands `hft-mmap import` and `hft-mmap export`: what they print, their exit codes, signals and pipes."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from api.cli import import_options, progress, transfer
from api.cli.command import main
from hft_mmap import Store
from hft_mmap.transfer import PRESETS, Progress, exporting, formats
from tests.conftest import StartService
from tests.hatchery import Hatched, can_hatch, hatch
from tests.hft_mmap.transfer.vendors import workbook
from tests.service import COMMAND, PATIENCE_S, Service, environment, run_command, wait_until

STOCKS = distribution("bokeh_sampledata").locate_file("bokeh_sampledata/_data/stocks.csv.gz")
"""Daily prices of five stocks, 2000 to 2013, in one file: Quandl WIKI, public domain; the package is BSD-3-Clause."""


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a working directory of its own, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)


def hft_mmap(*args: str, text: bytes | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, args, input=text)


def as_json(*args: str) -> Any:
    """Run the command with --json and return what it printed."""
    result = hft_mmap(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def stored(symbol: str, data: str = "data") -> list[float]:
    """Return the points of a symbol."""
    with Store(data, mode="r") as store:
        return list(map(float, store.window(symbol, 10**8)))


def test_the_formats_of_the_command_are_those_of_the_library() -> None:
    """The command lists them without importing the library."""
    assert import_options.FORMATS == formats.FORMATS
    assert set(import_options.PRESETS) == set(PRESETS)
    assert transfer.EXPORT_FORMATS == exporting.EXPORT_FORMATS


def test_import_says_what_it_stored(tmp_path: Path) -> None:
    """And the points are there."""
    Path("a.csv").write_text("price\n1\n2.5\n")
    result = hft_mmap("import", "ABC-USD", "a.csv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["2 rows read: 2 points stored", "symbol   total", "ABC-USD  2"]
    assert stored("ABC-USD") == [1.0, 2.5]
    assert as_json("import", "ABC-USD", "a.csv", "--data-dir", str(tmp_path / "other"))["totals"] == {"ABC-USD": 2}


def test_import_takes_standard_input() -> None:
    """With --format, for a pipe has no name."""
    result = hft_mmap("import", "A", "-", "--format", "csv", text=b"price\n1\n2\n")
    assert (result.exit_code, stored("A")) == (0, [1.0, 2.0])
    # Nobody can tell whether other rows are new ones: they are never dropped for the sake of those before.
    result = hft_mmap("import", "A", "-", "--format", "csv", "--resume", text=b"price\n3\n")
    assert (result.exit_code, stored("A")) == (1, [1.0, 2.0])
    assert "standard input is still what was imported: it can be read only once" in result.stderr
    result = hft_mmap("import", "B", "-", "--format", "parquet", text=b"PAR1")
    assert result.exit_code == 1
    assert "standard input: Parquet is not read from front to back" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["A", "a.csv", "--column", "bid", "--column", "ask"], "is given 2 times, as 'bid' and 'ask'"),
        (["A"], "name the SYMBOL, then at least one FILE"),
        (["A", "-"], "give --format"),
        (["--symbol-column", "a", "--where-symbol-column", "b", "f.csv"], "exclude each other"),
        (["A", "a.csv", "--format", "doc"], "'doc' is not one of"),
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str], message: str) -> None:
    """With a word on what is right."""
    result = hft_mmap("import", *args)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["part-1.csv", "part-10.csv", "part-2.csv"], [1, 2, 10]),
        (["part-2.csv", "part-10.csv", "part-1.csv"], [2, 10, 1]),
    ],
)
def test_files_are_taken_in_their_natural_order(given: list[str], taken: list[int]) -> None:
    """As a shell's pattern gives them they are sorted as people count; another order is meant."""
    for name in given:
        Path(name).write_text(f"price\n{name.removeprefix('part-').removesuffix('.csv')}\n")
    assert hft_mmap("import", "A", *given).exit_code == 0
    assert stored("A") == taken


def test_import_has_a_file_turned_round() -> None:
    """The refusal names the option that does it."""
    Path("a.csv").write_text("Date,price\n2024-01-02,2\n2024-01-01,1\n")
    refused = hft_mmap("import", "A", "a.csv")
    assert (refused.exit_code, "--reverse" in refused.stderr) == (1, True)
    assert hft_mmap("import", "A", "a.csv", "--reverse").exit_code == 0
    assert stored("A") == [1, 2]


def test_a_tab_may_be_written_with_a_backslash() -> None:
    """As most languages have it, where a shell makes it hard to give one."""
    Path("a.csv").write_text("name\tprice\nx\t1.5\n")
    assert hft_mmap("import", "A", "a.csv", "--delimiter", r"\t").exit_code == 0
    assert stored("A") == [1.5]


def test_a_bad_row_is_one_line_and_exit_code_1() -> None:
    """File, row and value; --skip-bad counts it, --resume goes on."""
    Path("a.csv").write_text("price\n1\nx\n2\n")
    result = hft_mmap("import", "A", "a.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "hft-mmap: a.csv: row 2: 'x' is no number",
        "hft-mmap: mend the file, or count and skip such rows with --skip-bad",
    ]
    result = hft_mmap("import", "A", "a.csv", "--skip-bad", "--resume")
    assert result.stdout.splitlines()[0] == (
        "3 rows read: 2 points stored, 1 bad row skipped (the first: a.csv: row 2: 'x' is no number)"
    )
    answer = as_json("import", "A", "a.csv", "--skip-bad")
    assert (answer["stored"], answer["skipped"], answer["totals"]) == (2, 1, {"A": 4})


def test_a_dry_run_makes_no_data_directory() -> None:
    """It reads and checks everything."""
    Path("a.csv").write_text("ticker,price\nX,1\nY,2\n")
    result = hft_mmap("import", "--symbol-column", "ticker", "a.csv", "--dry-run")
    assert result.stdout.splitlines() == ["2 rows read: 2 points fine", "symbol  points", "X       1", "Y       1"]
    assert not Path("data").exists()


def test_import_beside_a_running_service(service: Service) -> None:
    """The service answers with the imported points at once, and goes on behind them."""
    service.add("A", [9.0])
    path = service.directory / "a.csv"
    path.write_text("ticker,price\nA,1\nB,2\nA,3\n")
    answer = as_json("import", "--symbol-column", "ticker", str(path), "--data-dir", str(service.data_dir))
    assert answer["totals"] == {"A": 3, "B": 1}
    assert service.client.get("/stats/", params={"symbol": "A", "window": 2}).json()["avg"] == 2.0
    assert service.add("B", [5.0]).json()["total"] == 2


def test_a_missing_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what needs no pyarrow works without."""
    np.save("a.npy", np.array([1.5]))
    Path("a.csv").write_text("price\n1\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert hft_mmap("import", "A", "a.npy").exit_code == 0
    result = hft_mmap("import", "A", "a.csv")
    assert result.exit_code == 1
    assert result.stderr == "hft-mmap: reading a.csv needs the package pyarrow: make venv EXTRAS=import\n"


def in_a_process(*args: str, stdin: int | None = None, stderr: int | None = None) -> subprocess.Popen[str] | Hatched:
    """Start the command in a process of its own, with these descriptors, or a pipe for standard error."""
    variables = environment({})
    if can_hatch(variables):
        return hatch(args, Path.cwd(), variables, stdin=stdin, stderr=stderr)
    errors = subprocess.PIPE if stderr is None else stderr
    return subprocess.Popen(
        [*COMMAND, *args], env=variables, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, text=True
    )


class Importing:
    """An import of standard input, which this test writes, in a process of its own."""

    def __init__(self, *args: str, stderr: int | None = None) -> None:
        """Start it."""
        read, write = os.pipe()
        self.process = in_a_process("import", "A", "-", *args, stdin=read, stderr=stderr)
        os.close(read)
        self.input = open(write, "wb")  # noqa: SIM115, PTH123 - it lives as long as this

    def write(self, values: list[float]) -> None:
        """Send values."""
        self.input.write(np.array(values, dtype="<f8").tobytes())
        self.input.flush()

    def close_input(self) -> None:
        """End what it reads."""
        self.input.close()

    def close(self) -> None:
        """Kill it if it still runs, and close every pipe."""
        self.process.kill()
        self.process.wait()
        for stream in (self.input, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def end(self) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        out, errors = self.process.communicate()
        return self.process.wait(PATIENCE_S), out, errors


@pytest.fixture
def start_import() -> Iterator[Callable[..., Importing]]:
    """Return a function that starts imports, which end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*args: str, stderr: int | None = None) -> Importing:
            importing = Importing(*args, stderr=stderr)
            stack.callback(importing.close)
            return importing

        yield start


StartImport = Callable[..., Importing]


def total_of(symbol: str) -> int:
    """Return the total of a symbol, 0 while there is none."""
    if not Path("data", symbol).exists():
        return 0
    with Store("data", mode="r") as store:
        return store.series(symbol).total


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_batches_and_resume_goes_on(start_import: StartImport, number: signal.Signals) -> None:
    """Also while it waits for a pipe. Exit code 130."""
    block = np.arange(1 << 20, dtype=np.float64).tolist()
    first = start_import("--format", "f64")
    first.write([*block, 1.0])
    wait_until(lambda: total_of("A"), "the first batch")
    first.process.send_signal(number)
    code, out, errors = first.end()
    assert (code, errors.splitlines()[-1]) == (130, "hft-mmap: stopped; --resume goes on from here")
    assert out.splitlines()[0] == "1048576 rows read: 1048576 points stored"
    again = start_import("--format", "f64", "--resume")
    again.write([*block, 1.0, 2.0])
    again.close_input()
    code, out, _ = again.end()
    assert (code, out.splitlines()[0]) == (
        0, "1048578 rows read: 2 points stored, 1048576 were there already"
    )  # fmt: skip
    assert stored("A") == [*block, 1.0, 2.0]


def test_progress_is_a_json_line_a_second_where_there_is_no_terminal(start_import: StartImport) -> None:
    """On standard error, after five seconds, with rate and time left, also while it waits; a short import is silent."""
    importing = start_import("--format", "f64")
    importing.write([*np.arange(1 << 20, dtype=np.float64).tolist(), 1.0])
    assert importing.process.stderr is not None
    lines = [json.loads(importing.process.stderr.readline()) for _ in range(2)]
    importing.close_input()
    code, out, _ = importing.end()
    assert (code, out.splitlines()[0]) == (0, "1048577 rows read: 1048577 points stored")
    elapsed = [line.pop("elapsed_s") for line in lines]
    assert 5 <= elapsed[0] < elapsed[1]
    assert lines[1].pop("rows_per_s") == pytest.approx((1 << 20) / elapsed[1], rel=0.1)
    assert lines[1] == {
        "event": "importing", "file": "standard input", "done": None, "rows": 1 << 20, "stored": 1 << 20, "found": 0,
        "skipped": 0, "left_s": None,
    }  # fmt: skip
    short = start_import("--format", "f64")
    short.write([1.0])
    short.close_input()
    assert short.end()[::2] == (0, "")


def test_the_line_of_progress_says_what_is_left() -> None:
    """By the share of the files that was read."""
    found = json.loads(progress._line(Progress("a.csv", done=0.25, rows=1000, stored=900, skipped=100), 5.0))
    assert (found["rows_per_s"], found["left_s"], found["done"]) == (200, 15.0, 0.25)


def test_progress_is_a_bar_on_a_terminal(start_import: StartImport) -> None:
    """With the rows so far; it goes away at the end."""
    terminal, side = pty.openpty()
    importing = start_import("--format", "f64", stderr=side)
    os.close(side)
    importing.write(np.arange(1 << 21, dtype=np.float64).tolist())
    importing.close_input()
    shown = b""
    try:
        while data := os.read(terminal, 1 << 16):
            shown += data
    except OSError:
        pass  # the other side was closed: that is how a terminal ends
    assert importing.process.wait(PATIENCE_S) == 0
    os.close(terminal)
    assert b"standard input" in shown
    assert b"rows" in shown


def test_real_prices_give_what_pandas_says() -> None:
    """12,154 daily bars of five stocks, in one compressed file, each to its own series."""
    answer = as_json("import", "--symbol-column", "Ticker", "--column", "Close", str(STOCKS))
    frame = pd.read_csv(STOCKS)
    assert answer["totals"] == frame.groupby("Ticker").size().to_dict()
    for symbol, prices in frame.groupby("Ticker")["Close"]:
        assert stored(str(symbol)) == prices.tolist()
        for window in (10, 100, 1000):
            newest = prices.tail(window)
            found = as_json("stats", str(symbol), "--window", str(window))
            assert (found["min"], found["max"], found["last"]) == (newest.min(), newest.max(), newest.iloc[-1])
            assert found["avg"] == pytest.approx(newest.mean(), rel=1e-12)
            assert found["var"] == pytest.approx(newest.var(ddof=0), rel=1e-9)


def test_export_writes_what_import_brought() -> None:
    """And says how much."""
    Path("a.csv").write_text("price\n1\n2.5\n150.1\n")
    hft_mmap("import", "A", "a.csv")
    result = hft_mmap("export", "A", "b.csv", "--last", "2")
    assert (result.exit_code, result.stdout) == (0, "b.csv: 2 points of A, from 1 to 3\n")
    assert Path("b.csv").read_text() == '"price"\n2.5\n150.1\n'
    assert as_json("export", "A", "b.parquet") == {"symbol": "A", "file": "b.parquet", "first": 0, "end": 3}
    result = hft_mmap("export", "A", "-", "--format", "f64")
    assert (result.exit_code, result.stdout_bytes) == (0, np.array([1.0, 2.5, 150.1]).tobytes())


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["A", "-"], 2, "give --format"),
        (["A", "a.ndjson", "--format", "ndjson"], 2, "'ndjson' is not one of"),
        (["A", "a.csv", "--last", "0"], 2, "0 is not in the range"),
        (["B", "a.csv"], 1, "Symbol not found: B"),
        (["A", "no/a.csv"], 1, "no/a.csv: No such file or directory"),
    ],
)
def test_what_export_refuses(args: list[str], code: int, message: str) -> None:
    """In one line."""
    with Store("data") as store:
        store.append("A", [1.0])
    result = hft_mmap("export", *args)
    assert result.exit_code == code
    assert message in result.stderr


def test_the_reader_of_an_export_may_go_away() -> None:
    """`hft-mmap export A - --format csv | head -n 1` ends in silence."""
    with Store("data") as store:
        store.append("A", np.arange(1e6))
    line = f"{' '.join(COMMAND)} export A - --format csv | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", line], env=environment({}), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ('"price"\n', "")


def test_an_export_that_is_stopped_leaves_nothing() -> None:
    """Neither under the final name nor under another. Exit code 130."""
    with Store("data") as store:
        store.append("A", np.arange(3e6))
    Path("out").mkdir()
    export = in_a_process("export", "A", "out/a.csv.gz")
    wait_until(lambda: list(Path("out").iterdir()), "the temporary file")
    export.send_signal(signal.SIGTERM)
    out, errors = export.communicate()
    assert (export.wait(PATIENCE_S), out, errors) == (130, "", "")
    assert list(Path("out").iterdir()) == []


def test_import_into_a_running_service(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --url: each point once, also when the service was killed and started again on the way."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    service.add("日本円/USD", [9.0])
    rows = [(symbol, float(i)) for i in range(1000) for symbol in ("A", "日本円/USD")]
    Path("a.csv").write_text("ticker,price\n" + "".join(f"{symbol},{price}\n" for symbol, price in rows))
    args = ("import", "--symbol-column", "ticker", "a.csv", "--url", service.url, "--batch-values", "300")
    answer = as_json(*args)
    assert answer["totals"] == {"A": 1000, "日本円/USD": 1001}
    assert as_json(*args, "--resume")["rows"] == 0
    assert stored("日本円/USD", str(service.data_dir)) == [9.0, *map(float, range(1000))]
    assert len(list((tmp_path / "state" / "hft-mmap" / "imports").iterdir())) == 1


def test_an_import_outlives_a_restart_of_the_service(
    start_service: StartService, start_import: StartImport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two batches, and started again at the same address: the import only takes longer."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    block = np.arange(1 << 20, dtype=np.float64).tolist()
    (tmp_path / "service").mkdir()
    service = start_service(tmp_path / "service")
    importing = start_import("--format", "f64", "--url", service.url)
    importing.write([*block, 1.0])
    wait_until(lambda: service.client.get("/symbols").json()["symbols"], "the first batch")
    service.kill()
    again = start_service(tmp_path / "service", server__port=service.port)
    importing.write([2.0])
    importing.close_input()
    code, out, _ = importing.end()
    assert (code, out.splitlines()[0]) == (0, "1048578 rows read: 1048578 points stored")
    assert stored("A", str(again.data_dir)) == [*block, 1.0, 2.0]


def test_a_signal_while_the_service_is_away_is_heard(
    start_service: StartService, start_import: StartImport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not when the time to try is over; --resume goes on where it stopped."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    block = np.arange(1 << 20, dtype=np.float64).tolist()
    (tmp_path / "service").mkdir()
    service = start_service(tmp_path / "service")
    importing = start_import("--format", "f64", "--url", service.url)
    importing.write([*block, 1.0])
    wait_until(lambda: service.client.get("/symbols").json()["symbols"], "the first batch")
    service.kill()
    with socket.create_server(("127.0.0.1", service.port)) as listener:
        importing.close_input()
        for _ in range(3):  # whoever connects is hung up on: by the third time it has waited before
            listener.accept()[0].close()
        importing.process.send_signal(signal.SIGINT)
        code, _, errors = importing.end()
    assert (code, errors.splitlines()[-1]) == (130, "hft-mmap: stopped; --resume goes on from here")
    again = start_service(tmp_path / "service", server__port=service.port)
    importing = start_import("--format", "f64", "--url", again.url, "--resume")
    importing.write([*block, 1.0])
    importing.close_input()
    assert importing.end()[0] == 0
    assert stored("A", str(again.data_dir)) == [*block, 1.0]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--url", "ftp://x"], 1, "'ftp://x' is no address of a service"),
        (["--url", "http://127.0.0.1:1", "--data-dir", "data"], 2, "exclude each other"),
        (["--ca", "a.csv"], 2, "--ca is for a service: it needs --url https://…"),
        (["--ca", "a.csv", "--url", "http://127.0.0.1:1"], 2, "--ca is for a service"),
        (["--ca", "none.pem", "--url", "https://127.0.0.1:1"], 1, "none.pem can't be read: No such file or directory"),
        (["--ca", "a.csv", "--url", "https://127.0.0.1:1"], 1, "a.csv holds no certificate in PEM"),
    ],
)
def test_what_import_by_url_refuses(args: list[str], code: int, message: str) -> None:
    """In one line."""
    Path("a.csv").write_text("price\n1\n")
    result = hft_mmap("import", "A", "a.csv", *args)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_refusal_of_the_service_is_told(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service words it, with what to do."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    service = start_service(server__max_batch_values=2)
    Path("a.csv").write_text("price\n1\n2\n3\n")
    result = hft_mmap("import", "A", "a.csv", "--url", service.url)
    assert result.exit_code == 1
    assert result.stderr.startswith("hft-mmap: ")
    assert "2" in result.stderr
    assert hft_mmap("import", "A", "a.csv", "--url", service.url, "--batch-values", "2", "--resume").exit_code == 0
    assert stored("A", str(service.data_dir)) == [1.0, 2.0, 3.0]


def test_an_address_where_nobody_ever_answered_is_named(tmp_path: Path) -> None:
    """A wrong port is not waited for as a service is that answered before; a service of another kind is told apart."""
    np.save(tmp_path / "a.npy", np.array([1.5]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        result = run_command(tmp_path, "import", "A", "a.npy", "--url", url)
        thread.join()
    assert (result.returncode, result.stderr) == (
        1,
        f"hft-mmap: {url}: what answers there is no service of hft-mmap\n",
    )
    result = run_command(tmp_path, "import", "A", "a.npy", "--url", url)
    assert result.returncode == 1
    assert result.stderr.endswith(f"hft-mmap: {url}: ConnectError: [Errno 111] Connection refused\n")


def test_a_preview_shows_what_would_be_made_of_a_file() -> None:
    """Its facts and first points; exit code 1 where something is left open. Nothing is made."""
    Path("a.csv").write_text("Datum;bid;ask\n02.01.2024;1,5;1,6\n03.01.2024;2,5;2,6\n")
    result = hft_mmap("import", "--preview", "A", "a.csv")
    assert result.exit_code == 1
    assert "not certain: no column is called 'price'; there are: Datum, bid, ask; --column names" in result.stdout
    result = hft_mmap("import", "--preview", "A", "a.csv", "--column", "bid")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "a.csv",
        "  format     csv",
        "  encoding   UTF-8",
        "  delimiter  ';'",
        "  header     the first row",
        "  columns    Datum, bid, ask",
        "  numbers    decimal mark ',', between thousands none",
        "  time       Datum: oldest first (02.01.2024 … 03.01.2024)",
        "  stored as  days, UTC",
        "  price      bid",
        "  row  symbol  price  time",
        "  1    A       1.5    2024-01-02T00:00:00Z",
        "  2    A       2.5    2024-01-03T00:00:00Z",
    ]
    (found,) = as_json("import", "--preview", "A", "a.csv", "--column", "bid")
    assert (found["numerals"], found["points"][1]) == (
        {"decimal": ",", "thousands": None},
        {"row": 2, "symbol": "A", "price": 2.5, "time": 1_704_240_000 * 10**9, "size": None},
    )  # fmt: skip
    assert [path.name for path in Path().iterdir()] == ["a.csv"]


def test_what_is_not_certain_is_asked_on_a_terminal() -> None:
    """Each question with its options, until nothing is open; elsewhere it is refused with them."""
    Path("a.csv").write_text("Date,bid,ask\n2024-01-03,3,9\n2024-01-02,2,9\n")
    refused = hft_mmap("import", "A", "a.csv")
    assert (refused.exit_code, "--column names the one" in refused.stderr) == (1, True)
    terminal, side = pty.openpty()
    importing = subprocess.Popen(
        [*COMMAND, "import", "A", "a.csv"], env=environment({}), stdin=side, stdout=subprocess.PIPE, stderr=side
    )
    os.close(side)
    shown = b""
    for question, answer in ((b"--column 'ask'", b"2\n"), (b"--no-reverse  (", b"1\n")):
        while question not in shown or not shown.endswith(b": "):
            shown += os.read(terminal, 1 << 16)
        os.write(terminal, answer)
        shown = b""
    out, _ = importing.communicate(timeout=PATIENCE_S)
    os.close(terminal)
    assert (importing.returncode, out.splitlines()[0]) == (0, b"2 rows read: 2 points with times stored")
    assert stored("A") == [2.0, 3.0]


def test_times_and_sizes_of_a_file_are_stored_and_told() -> None:
    """What is late, and what is left out, too; and they are exported."""
    Path("a.csv").write_text(
        "when,price,lots,side\n2026-03-09 14:30,1.5,2,buy\n2026-03-09 14:29,1.6,3,sell\n2026-03-09 14:31,1.7,4,buy\n"
    )
    options = ("--time-column", "when", "--size-column", "lots")
    refused = hft_mmap("import", "A", "a.csv", *options)
    assert (refused.exit_code, "--tz UTC or --tz America/New_York" in refused.stderr) == (1, True)
    result = hft_mmap("import", "A", "a.csv", *options, "--tz", "America/New_York")
    assert result.stdout.splitlines()[0] == (
        "3 rows read: 3 points with times and sizes stored, 1 of them late, by 60 s at most"
    )
    assert hft_mmap("export", "A", "b.csv").exit_code == 0
    assert Path("b.csv").read_text().splitlines()[1:] == [
        "2026-03-09 18:30:00.000000000Z,1.5,2", "2026-03-09 18:30:00.000000000Z,1.6,-3",
        "2026-03-09 18:31:00.000000000Z,1.7,4",
    ]  # fmt: skip
    assert "has a place for prices alone: --prices-only writes them" in hft_mmap("export", "A", "b.npy").stderr
    assert hft_mmap("export", "A", "b.npy", "--prices-only").exit_code == 0
    assert hft_mmap("import", "B", "a.csv", "--no-time", "--no-size").stdout.startswith(
        "3 rows read: 3 points stored\n"
    )
    Path("c.csv").write_text("time,price\n2026-03-09T14:30:00Z,1.5\n")
    told = hft_mmap("import", "B", "c.csv").stdout.splitlines()
    assert told[:2] == [
        "1 row read: 1 point stored",
        "B has been without times since its first batch: times of the files were left out",
    ]  # fmt: skip
    found = as_json("import", "C", "c.csv")
    assert (found["columns"], found["late"], found["left_out"]) == (["times"], 0, {})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--no-time", "--tz", "UTC"], "--no-time and --tz exclude each other"),
        (["--no-time", "--time-column", "a"], "--no-time and --time-column exclude each other"),
        (["--no-size", "--side-column", "a"], "--no-size and --side-column exclude each other"),
        (["--no-side", "--sold", "a"], "--no-side and --sold exclude each other"),
        (["--time-format", "%Y-%m-%d", "--time-unit", "s"], "--time-format is of texts, and --time-unit of numbers"),
        (["--time-format", "%Y-%m-%d", "--date", "2012-06-21"], "--time-format is of texts, and --date of numbers"),
        (["--date", "2012-06-31"], "--date must be a day from 1678 to 2261, as 2026-01-31, not '2012-06-31'"),
        (["--date", "1600-01-01"], "--date must be a day from 1678 to 2261"),
        (["--no-time", "--date", "2012-06-21"], "--no-time and --date exclude each other"),
        (["--time-format", "%H:%M"], "says no day"),
        (["--time-format", "%Q"], "has %Q, which is none of"),
        (["--tz", "Mars/Olympus"], "is no time zone that this system knows"),
        (["--time-column", "a", "--time-column", "b", "--time-column", "c"], "is given twice at most"),
    ],
)
def test_options_of_times_and_sizes_that_make_no_sense_are_refused(options: list[str], text: str) -> None:
    """Before a file is looked at."""
    Path("a.csv").write_text("price\n1.5\n")
    result = hft_mmap("import", "A", "a.csv", *options)
    assert (result.exit_code, text in result.stderr) == (2, True), result.stderr


def test_times_and_sizes_go_to_a_service(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of any size, each once; what is new in a file that has grown is found by all of it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rows = [f"{1_767_225_600 + place},7.5,{place}\n" for place in range(30)]
    Path("a.csv").write_text("time,price,size\n" + "".join(rows[:20]))
    for _ in range(2):
        given = ("import", "A", "a.csv", "--url", service.url, "--batch-values", "7", "--resume")
        assert hft_mmap(*given).exit_code == 0
    Path("a.csv").write_text("time,price,size\n" + "".join(rows))
    result = hft_mmap("import", "A", "a.csv", "--url", service.url, "--append-new")
    assert result.stdout.splitlines()[0] == (
        "30 rows read: 10 points with times and sizes stored, 20 were there already"
    )
    found = service.client.get("/values", params={"symbol": "A"}).json()
    assert found["times"] == [(1_767_225_600 + place) * 10**9 for place in range(30)]
    assert found["sizes"] == list(range(30))


def test_a_service_that_refuses_late_points_names_the_row(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the file, whatever the batches were."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    service = start_service(store__late="refuse")
    rows = [f"{1_767_225_600 + place},7.5\n" for place in (*range(9), 7, 10)]
    Path("a.csv").write_text("time,price\n" + "".join(rows))
    result = hft_mmap("import", "A", "a.csv", "--url", service.url, "--batch-values", "4")
    assert (result.exit_code, "a.csv: row 10: its time lies before" in result.stderr) == (1, True), result.stderr


def test_each_column_may_go_to_a_series_of_its_own() -> None:
    """Named beside it; no SYMBOL is given then."""
    Path("a.csv").write_text("n,bid,ask\n1,1.5,2.5\n2,1.6,2.6\n")
    result = hft_mmap("import", "--column", "bid=ES.bid", "--column", "ask=ES.ask", "a.csv")
    assert result.stdout.splitlines() == ["2 rows read: 4 points stored", "symbol  total", "ES.bid  2", "ES.ask  2"]
    assert (stored("ES.bid"), stored("ES.ask")) == ([1.5, 1.6], [2.5, 2.6])
    refused = hft_mmap("import", "--column", "bid=", "a.csv")
    assert (refused.exit_code, "is no COLUMN=SYMBOL" in refused.stderr) == (2, True)


def test_a_sheet_of_a_workbook_is_chosen_and_imports_of_two_are_two() -> None:
    """Without the choice the file is refused; the second sheet is not taken for the first one again."""
    Path("a.xlsx").write_bytes(workbook({"Bid": [["price"], [1.5], [2.5]], "Ask": [["price"], [3.5], [4.5]]}))
    assert "--sheet" in hft_mmap("import", "A", "a.xlsx").stderr
    for sheet, prices in {"Bid": [1.5, 2.5], "Ask": [1.5, 2.5, 3.5, 4.5]}.items():
        assert hft_mmap("import", "A", "a.xlsx", "--sheet", sheet).exit_code == 0
        assert stored("A") == prices


def test_a_dry_run_knows_the_limit_of_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real run does, which stores nothing then; both name the setting."""
    monkeypatch.setenv("APP_STORE__MAX_SYMBOLS", "2")
    Path("a.csv").write_text("symbol,price\nX,1\nY,2\nZ,3\n")
    for args in (["--dry-run"], []):
        result = hft_mmap("import", "--symbol-column", "symbol", "a.csv", *args)
        assert result.exit_code == 1
        assert "of at most 2 symbols (store.max_symbols), and the files name 3 more" in result.stderr
    assert hft_mmap("import", "X", "a.csv", "--where-symbol-column", "symbol").exit_code == 0
    result = hft_mmap("import", "--symbol-column", "symbol", "a.csv", "--dry-run")
    assert "holds 1 of at most 2 symbols (store.max_symbols), and the files name 2 more" in result.stderr


def test_a_service_names_its_limit_of_symbols(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command says what was stored before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    service = start_service(store__max_symbols=1)
    Path("a.csv").write_text("symbol,price\nX,1\nY,2\n")
    result = hft_mmap("import", "--symbol-column", "symbol", "a.csv", "--url", service.url)
    assert (result.exit_code, "store.max_symbols" in result.stderr) == (1, True)
    assert service.client.get("/symbols").json()["symbols"][0]["symbol"] == "X"


def test_new_points_of_a_file_that_has_grown_go_to_a_service(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its newest ones, which are found in the file again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    prices = [1.0, 5.0, 2.0, 7.0, 3.0, 9.0, 4.0, 8.0, 6.0, 11.0, 10.0]
    Path("a.csv").write_text("price\n" + "".join(f"{price}\n" for price in prices[:9]))
    assert as_json("import", "A", "a.csv", "--url", service.url)["totals"] == {"A": 9}
    Path("a.csv").write_text("price\n" + "".join(f"{price}\n" for price in prices))
    answer = as_json("import", "A", "a.csv", "--url", service.url, "--append-new")
    assert (answer["stored"], answer["found"], answer["totals"]) == (2, 9, {"A": 11})
    assert stored("A", str(service.data_dir)) == prices


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--decimal", ",", "--thousands", ","], "--decimal and --thousands can't both be ','"),
        (["--divide-by", "0"], "--divide-by has to be above 0"),
        (["--max-price", "-1"], "--max-price has to be at least 0"),
        (["--column", "a=b", "--symbol-column", "c"], "names the series"),
    ],
)
def test_options_that_say_nothing_together_are_refused(args: list[str], message: str) -> None:
    """With exit code 2."""
    result = hft_mmap("import", "A", "a.csv", *args)
    assert (result.exit_code, message in result.stderr) == (2, True)
