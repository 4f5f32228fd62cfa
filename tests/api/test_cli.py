"""The command `hft-mmap`: what it prints, its exit codes, and that it needs no service."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from api.cli.command import main
from hft_mmap import Limits, Store
from hft_mmap.files.descriptors import most_awake
from tests.service import ROOT, Service, environment, run_command

PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]
COMMANDS = [
    "serve", "check-config", "info", "stats", "bars", "first", "quantile", "rank", "asof", "verify", "repair",
    "summarise", "snapshot", "import", "export", "token",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a working directory of its own, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with two symbols."""
    path = tmp_path / "data"
    with Store(path, limits=Limits(starting_capacity=0, chunk_points=4096)) as store:
        store.append("ABC-USD", PRICES)
        store.append("日本円/USD", np.arange(10_000, dtype=np.float64))
    return path


def hft_mmap(*args: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, args)


def as_json(*args: str) -> Any:
    """Run the command with --json and return what it printed."""
    result = hft_mmap(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def flip_bit(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    """An example says more than a list of options."""
    result = hft_mmap(command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples:\n\s+.*hft-mmap {command}", result.stdout)


def test_help_names_every_command() -> None:
    """`hft-mmap --help` lists the commands."""
    result = hft_mmap("--help")
    assert result.exit_code == 0
    assert set(COMMANDS) <= set(result.stdout.split())


def test_help_imports_neither_the_store_nor_the_service() -> None:
    """They take half a second, and `--help` needs neither."""
    code = "import sys; from api.cli.command import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment({}), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numba", "numpy", "falcon", "uvicorn", "hft_mmap"} & set(result.stdout.split())


def test_the_installed_command_is_this_one() -> None:
    """`pip install .` gives a command `hft-mmap` that knows its version."""
    command = Path(sys.executable).with_name("hft-mmap")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"hft-mmap \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize(
    "args",
    [
        ["no-such-command"],
        ["serve", "--no-such-option"],
        ["stats"],
        ["stats", "A", "--window", "0"],
        ["stats", "A", "--window", "5x"],
        ["asof", "A", "noon"],
        ["bars", "A"],
        ["bars", "A", "2", "--every", "1m"],
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    """As everywhere."""
    assert hft_mmap(*args).exit_code == 2


def test_check_config_prints_every_value_and_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a setting: key, value, origin."""
    Path("config.toml").write_text('[server]\nport = 9000\nmax_body_bytes = "1 MiB"\n[log]\nfile = ""\n')
    Path(".env").write_text("APP_STORE__MAX_SYMBOLS=20\n")
    monkeypatch.setenv("APP_LOG__LEVEL", "DEBUG")
    result = hft_mmap("check-config")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["server.host", "127.0.0.1", "default"] in rows
    assert ["server.port", "9000", "config.toml"] in rows
    assert ["server.max_body_bytes", "1048576", "config.toml"] in rows
    assert ["log.file", '""', "config.toml"] in rows
    assert ["store.max_symbols", "20", ".env"] in rows
    assert ["log.level", "debug", "APP_LOG__LEVEL"] in rows


def test_check_config_as_json() -> None:
    """The same for programs; numbers are numbers."""
    settings = {item["key"]: item for item in as_json("check-config")["settings"]}
    assert settings["server.port"] == {"key": "server.port", "value": 8080, "origin": "default"}
    shipped = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    assert list(settings) == [f"{section}.{name}" for section, table in shipped.items() for name in table]


def test_check_config_names_the_limits_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that so many symbols would pass in use: a warning, and no fault."""
    monkeypatch.setenv("APP_STORE__MAX_SYMBOLS", "1000000000")
    result = hft_mmap("check-config")
    assert result.exit_code == 0
    files, with_columns = 1_000_000_000 + 2 * most_awake(), 3_000_000_000 + 4 * most_awake()
    assert f"in use take {files} open files, with times and sizes {with_columns}, and" in result.stderr
    assert "vm.max_map_count" in result.stderr
    assert len(as_json("check-config")["warnings"]) == 2
    monkeypatch.delenv("APP_STORE__MAX_SYMBOLS")
    assert as_json("check-config")["warnings"] == []


def test_check_config_names_every_fault_and_exits_with_78(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a fault on standard error, nothing on standard output."""
    Path("config.toml").write_text("[server]\nprot = 1\n")
    monkeypatch.setenv("APP_SERVER__PORT", "x")
    result = hft_mmap("check-config")
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        "hft-mmap: config.toml: unknown key server.prot (did you mean server.port?)",
        "hft-mmap: APP_SERVER__PORT must be a whole number, not 'x'",
    ]


def test_check_config_reads_tokens_and_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops the service with 78 stops the check as well; but what only systemd hands over is left to it."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    settings = """
        [auth]
        tokens_file = "{0}tokens"
        [server]
        tls_certificate = "{0}cert.pem"
        tls_key = "{0}key.pem"
    """
    Path("config.toml").write_text(settings.format(""))
    result = hft_mmap("check-config")
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        "hft-mmap: tokens file tokens cannot be read: No such file or directory; hft-mmap token makes one",
        "hft-mmap: TLS certificate cert.pem cannot be read: No such file or directory",
    ]
    Path("config.toml").write_text(settings.format("${CREDENTIALS_DIRECTORY}/"))
    assert hft_mmap("check-config").exit_code == 0


def test_options_of_serve_beat_every_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """check-config takes the same ones, so that it looks at what would be started; a wrong one is named."""
    monkeypatch.setenv("APP_SERVER__PORT", "9000")
    settings = {item["key"]: item for item in as_json("check-config", "--port", "0", "--data-dir", "x")["settings"]}
    assert settings["server.port"] == {"key": "server.port", "value": 0, "origin": "--port"}
    assert settings["store.data_dir"] == {"key": "store.data_dir", "value": "x", "origin": "--data-dir"}
    assert settings["server.host"]["origin"] == "default"
    result = hft_mmap("check-config", "--host", " ")
    assert result.exit_code == 78
    assert result.stderr == "hft-mmap: --host must be a text, neither empty nor with control characters, not ' '\n"


def test_serve_listens_and_stores_where_its_options_say(tmp_path: Path) -> None:
    """Nobody needs a variable for a second service beside the first."""
    command = [sys.executable, "-m", "api.cli.command", "serve", "--port", "0", "--data-dir", "elsewhere"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment({"server.port": 1}), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        serving = next(event for event in map(json.loads, process.stdout) if event["event"] == "serving")
        assert serving["port"] > 1
        assert (tmp_path / "elsewhere").is_dir()
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('server.host = "0.0.0.0"', r"0\.0\.0\.0 can be reached .* set auth\.tokens_file \(APP_AUTH__TOKENS_FILE\) .*"),
        ('server.host = "192.0.2.1"', r"cannot listen on 192\.0\.2\.1:0: .*; set server\.host \(--host, or .*\)"),
        ('server.unix_socket = "no/where.sock"', r"cannot listen on no/where\.sock: .*; set server\.unix_socket .*"),
        ('store.data_dir = "a-file"', r"data directory a-file can't be used: it is no directory; set store\..*"),
        ('store.data_dir = "a-file/x"', r"data directory a-file/x can't be used: a-file: Not a directory; set .*"),
        ('store.data_dir = "/proc/x"', r"data directory /proc/x can't be used: /proc: .*"),
        ('log.file = "a-file/x"', r"log file a-file/x can't be used: a-file: .*; set log\.file \(APP_LOG__FILE\)"),
        ('log.file = "."', r"log file \. can't be used: it is no regular file; set log\.file \(APP_LOG__FILE\)"),
    ],
)  # fmt: skip
def test_check_config_finds_what_would_stop_serve(settings: str, fault: str) -> None:
    """In one line that names what to set; and it makes nothing while it looks."""
    Path("a-file").touch()
    Path("config.toml").write_text(settings + "\n")
    result = hft_mmap("check-config")
    assert (result.exit_code, result.stdout) == (78, "")
    assert re.fullmatch(f"hft-mmap: {fault}\n", result.stderr)
    assert {path.name for path in Path().iterdir()} == {"a-file", "config.toml"}


def test_a_key_outside_of_its_section_is_told_where_it_belongs() -> None:
    """`port = 9000` at the top of the file is what many write first."""
    Path("config.toml").write_text("port = 9000\nspeed = 1\n")
    result = hft_mmap("check-config")
    assert result.stderr.splitlines() == [
        "hft-mmap: config.toml: port = 9000 stands in no section; it belongs below [server]",
        "hft-mmap: config.toml: speed = 1 stands in no section",
    ]


def test_a_fatal_error_is_said_once_where_both_streams_go_to_one_place(tmp_path: Path) -> None:
    """On a terminal and in the journal; the log file has it as a line of its own."""
    (tmp_path / "a-file").touch()
    command = [sys.executable, "-m", "api.cli.command", "serve", "--port", "0", "--data-dir", "a-file"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    unusable = "data directory a-file can't be used: Not a directory"
    text = f"{unusable}; set store.data_dir (--data-dir, or APP_STORE__DATA_DIR)"
    assert (result.returncode, result.stdout) == (1, f"hft-mmap: {text}\n")
    (line,) = (tmp_path / "logs" / "app.log").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["reason"]) == ("failed", text)


def test_names_that_no_locale_can_show_are_no_traceback(tmp_path: Path) -> None:
    """A symbol in a terminal without its letters, a file whose name is no UTF-8: both are shown as well as can be."""
    with Store(tmp_path / "data") as store:
        store.append("日本円", [1.5])
    variables = environment({}) | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "api.cli.command"]
    shown = subprocess.run([*command, "info"], cwd=tmp_path, env=variables, capture_output=True, check=True)
    assert b"\\u65e5\\u672c\\u5186" in shown.stdout
    name = os.fsdecode(b"prices-\xff.npy")
    exported = subprocess.run(
        [*command, "export", "日本円", name], cwd=tmp_path, env=environment({}), capture_output=True, check=True
    )
    assert exported.stdout.startswith(b"prices-\xff.npy: 1 point")
    told = as_json("export", "日本円", name)
    assert os.fsencode(told["file"]) == b"prices-\xff.npy"
    assert as_json("snapshot", os.fsdecode(b"copy-\xff"))["totals"] == {"日本円": 1}
    assert hft_mmap("import", "B", name).exit_code == 0


def test_the_variable_of_an_installed_service_names_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """HFT_MMAP_CONFIG stands for --config, which beats it; both beat config.toml of the working directory."""
    for name, port in (("config", 1), ("installed", 2), ("given", 3)):
        Path(f"{name}.toml").write_text(f"[server]\nport = {port}\n")
    monkeypatch.setenv("HFT_MMAP_CONFIG", "installed.toml")
    assert {"key": "server.port", "value": 2, "origin": "installed.toml"} in as_json("check-config")["settings"]
    given = as_json("check-config", "--config", "given.toml")["settings"]
    assert {"key": "server.port", "value": 3, "origin": "given.toml"} in given


@pytest.mark.parametrize("command", [["serve"], ["check-config"], ["info"], ["stats", "A"], ["verify"]])
def test_every_command_refuses_wrong_settings(command: list[str]) -> None:
    """A --config that does not exist is the same 78 everywhere."""
    result = hft_mmap(*command, "--config", "missing.toml")
    assert (result.exit_code, result.stderr) == (78, "hft-mmap: missing.toml: No such file or directory\n")


@pytest.mark.usefixtures("data")
def test_info_lists_the_symbols() -> None:
    """One line a symbol."""
    result = hft_mmap("info")
    assert result.exit_code == 0
    head, _, first, second = result.stdout.splitlines()
    assert head == "data: 2 symbols"
    assert first.split()[:5] == ["ABC-USD", "10", "0", "10", "151.9"]
    assert second.split()[:5] == ["日本円/USD", "10000", "0", "10000", "9999.0"]


@pytest.mark.parametrize(
    ("options", "symbols"),
    [
        (["--sort", "last"], ["C.1", "A.1", "A.2", "B", "E"]),
        (["--sort", "last", "--limit", "2"], ["C.1", "A.1"]),
        (["--sort", "last", "--reverse"], ["B", "A.2", "A.1", "C.1", "E"]),
        (["--sort", "total", "--limit", "1"], ["A.2"]),
        (["--sort", "age", "--limit", "1"], ["B"]),
        (["--reverse"], ["E", "C.1", "B", "A.2", "A.1"]),
        (["--search", ".1", "--sort", "count"], ["A.1", "C.1"]),
        (["--prefix", "A.", "--sort", "bytes", "--reverse", "--limit", "1"], ["A.1"]),
    ],
)
def test_the_symbols_are_listed_in_an_order(tmp_path: Path, options: list[str], symbols: list[str]) -> None:
    """By any column, the greatest first or the other way round; what has no value comes last, the limit after that."""
    with Store(tmp_path / "data", limits=Limits(starting_capacity=0)) as store:
        for symbol, values in (("A.1", [3.0]), ("A.2", [2.0] * 5000), ("C.1", [9.0]), ("B", [1.0, 1.5])):
            store.append(symbol, values)
        store.create("E")
    for old, symbol in enumerate(("B", "A.1", "A.2", "C.1")):
        (chunk,) = (tmp_path / "data" / symbol).glob("*.chunk")
        os.utime(chunk, (10**9, 10**9 - old))
    listed = as_json("symbols", "--data-dir", "data", *options)["symbols"]
    assert [row["symbol"] for row in listed] == symbols


def test_the_symbols_that_grow_and_change_most_are_listed_first(tmp_path: Path) -> None:
    """Measured between two looks, while a process appends."""
    with Store(tmp_path / "data", limits=Limits(starting_capacity=0)) as store:
        for symbol in "ABC":
            store.append(symbol, [100.0])
        ended = threading.Event()

        def append() -> None:
            while not ended.wait(0.01):
                store.append("B", [100.0] * 5)
                store.append("C", [store.stats("C", 1).last * 1.01])

        appending = threading.Thread(target=append)
        appending.start()
        try:
            by_rate, by_change = (
                as_json("symbols", "--data-dir", "data", "--sort", key, "--over", "0.3")["symbols"]
                for key in ("rate", "change")
            )
        finally:
            ended.set()
            appending.join()
    assert [row["symbol"] for row in by_rate] == ["B", "C", "A"]
    assert by_rate[0]["rate"] > by_rate[1]["rate"] > by_rate[2]["rate"] == 0.0
    assert (by_change[0]["symbol"], by_change[1]["change"], by_change[2]["change"]) == ("C", 0.0, 0.0)


def test_info_as_json(data: Path) -> None:
    """The symbols as in GET /symbols, with the reasons of those that do not serve."""
    answer = as_json("info", "--data-dir", str(data))
    size, appended_at = (answer["symbols"][0].pop(name) for name in ("bytes", "appended_at"))
    assert size >= 4096
    assert appended_at <= time.time()
    assert answer["symbols"][0] == {"symbol": "ABC-USD", "total": 10, "start": 0, "count": 10, "last": 151.9}
    assert (answer["data_dir"], answer["reasons"]) == (str(data), [])


def test_info_of_a_series_that_is_set_aside_is_exit_code_1(data: Path) -> None:
    """The series whose head is damaged is named with the reason, the other one listed."""
    flip_bit(data / "ABC-USD" / "head", 16)
    result = hft_mmap("info", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert [series["symbol"] for series in answer["symbols"]] == ["日本円/USD"]
    (reason,) = answer["reasons"]
    assert (reason["symbol"], reason["code"]) == ("ABC-USD", "set_aside")
    assert "ABC-USD: set_aside: " in hft_mmap("info").stdout


@pytest.mark.usefixtures("data")
def test_stats_prints_the_eight_windows() -> None:
    """A line a window, and how many points each really covers."""
    result = hft_mmap("stats", "ABC-USD")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows[1:]] == [f"{10**exponent:,}" for exponent in range(1, 9)]
    assert rows[1][1:5] == ["149.8", "152.0", "151.9", "150.93"]
    assert float(rows[1][5]) == pytest.approx(0.5201, rel=1e-12)
    assert rows[8][1:] == [*rows[1][1:6], "10"]


@pytest.mark.usefixtures("data")
def test_stats_of_one_window() -> None:
    """--window takes any number of points."""
    window = as_json("stats", "日本円/USD", "--window", "3")
    assert window == {"min": 9997.0, "max": 9999.0, "last": 9999.0, "avg": 9998.0, "var": pytest.approx(2 / 3)}
    assert hft_mmap("stats", "日本円/USD", "--window", "3").stdout.splitlines()[1].split()[0] == "3"


def test_stats_as_json_is_what_the_service_answers(service: Service) -> None:
    """Beside a running service, from its files: the same answers, at once."""
    service.add("ABC-USD", PRICES)
    service.add("BRK.B", [1.5, 2.5])
    data_dir = str(service.data_dir)
    for symbol in ("ABC-USD", "BRK.B"):
        assert as_json("stats", symbol, "--data-dir", data_dir) == (
            service.client.get("/stats/", params={"symbol": symbol}).json()
        )
    answer = service.client.get("/stats/", params={"symbol": "BRK.B", "window": 1}).json()
    assert as_json("stats", "BRK.B", "--window", "1", "--data-dir", data_dir) == answer
    kept, told = as_json("info", "--data-dir", data_dir)["symbols"], service.client.get("/symbols").json()["symbols"]
    for series in kept + told:  # a file system may give blocks back, or take them, when it writes later
        assert series.pop("bytes") > 0
    assert kept == told
    assert as_json("verify", "--data-dir", data_dir)["ok"] is True


def test_questions_as_json_are_what_the_service_answers(service: Service) -> None:
    """Named statistics, first passages, quantiles, ranks, as-of; bars, but for the bounds of the series."""
    service.add("ABC-USD", PRICES)
    for path, query, args in (
        ("/stats", "window=4&stats=std,zscore", ["--window", "4", "--stats", "std,zscore"]),
        ("/stats", "window=4&at=6", ["--window", "4", "--at", "6"]),
        ("/stats", "from=2&to=5&stats=count", ["--from", "2", "--to", "5", "--stats", "count"]),
        ("/stats", "stats=argmin", ["--stats", "argmin"]),
        ("/first", "after=0&above=152", ["--after", "0", "--above", "152"]),
        ("/quantile", "q=0,0.5&window=4", ["0", "0.5", "--window", "4"]),
        ("/rank", "value=150.5&from=0&to=9", ["150.5", "--from", "0", "--to", "9"]),
        ("/asof", "at=3", ["3"]),
        ("/bars", "points=4&from=1&stats=range", ["4", "--from", "1", "--stats", "range"]),
    ):
        answer = service.client.get(f"{path}?symbol=ABC-USD&{query}").json()
        told = as_json(path[1:], "ABC-USD", *args, "--data-dir", str(service.data_dir))
        if path == "/bars":
            del answer["total"], answer["start"]
        assert told == answer
        table = hft_mmap(path[1:], "ABC-USD", *args, "--data-dir", str(service.data_dir))
        assert table.exit_code == 0
        assert len(table.stdout.splitlines()) > 1


def test_questions_by_time_as_json_are_what_the_service_answers(service: Service) -> None:
    """Windows, ranges and places by time, the windows by time beside the eight, bars of a time."""
    body = {"symbol": "T", "values": [1, 2, 3], "times": [1, 2, 4], "sizes": [1, -2, 3], "time_unit": "s"}
    assert service.client.post("/add_batch", json=body).status_code == 200
    for path, query, args in (
        ("/stats", "", []),
        ("/stats", "stats=vwap", ["--stats", "vwap"]),
        ("/stats", "window=3s&stats=gap", ["--window", "3s", "--stats", "gap"]),
        ("/stats", "window=1s&at=2s", ["--window", "1s", "--at", "2s"]),
        ("/stats", "from=1s&to=3s", ["--from", "1s", "--to", "3s"]),
        ("/rank", "value=2&window=3s", ["2", "--window", "3s"]),
        ("/asof", "at=3s", ["3s"]),
        ("/bars", "points=2", ["2"]),
        ("/bars", "every=1s&tz=UTC&fill=previous&from=1s&to=5s&stats=rate",
         ["--every", "1s", "--tz", "UTC", "--fill", "previous", "--from", "1s", "--to", "5s", "--stats", "rate"]),
    ):  # fmt: skip
        answer = service.client.get(f"{path}?symbol=T&{query}").json()
        told = as_json(path[1:], "T", *args, "--data-dir", str(service.data_dir))
        if path == "/bars":
            del answer["total"], answer["start"]
        assert told == answer
        table = hft_mmap(path[1:], "T", *args, "--data-dir", str(service.data_dir))
        assert table.exit_code == 0
        assert len(table.stdout.splitlines()) > 1
    lines = hft_mmap("stats", "T", "--data-dir", str(service.data_dir)).stdout.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["1h", "1d"]


@pytest.mark.usefixtures("data")
def test_questions_without_an_answer_are_exit_code_1() -> None:
    """No point that met the price, a statistic that there is not, a range that is not stored."""
    for args, text in (
        (["first", "ABC-USD", "--after", "0", "--above", "1e9"], "no point of ABC-USD behind 0 met a price"),
        (["stats", "ABC-USD", "--stats", "mode"], "there is no statistic 'mode'"),
        (["stats", "ABC-USD", "--from", "5", "--to", "500"], "do not exist"),
        (["quantile", "ABC-USD", "0.5", "--window", "1", "--from", "0"], "not both"),
    ):
        result = hft_mmap(*args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert text in result.stderr


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("command", ["stats", "verify"])
def test_an_unknown_symbol_is_exit_code_1(command: str) -> None:
    """In one line."""
    result = hft_mmap(command, "XYZ")
    assert (result.exit_code, result.stderr) == (1, "hft-mmap: Symbol not found: XYZ\n")


@pytest.mark.parametrize("command", [["info"], ["stats", "A"], ["verify"]])
def test_a_missing_data_directory_is_exit_code_1(command: list[str]) -> None:
    """Commands that read make no directory."""
    result = hft_mmap(*command)
    assert result.exit_code == 1
    assert result.stderr.startswith("hft-mmap: data directory data ")
    assert not Path("data").exists()


@pytest.mark.usefixtures("data")
def test_verify_says_what_it_read() -> None:
    """10,000 points have 156 nodes of 64 points, and 2 of 4,096."""
    result = hft_mmap("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["ABC-USD: ok, 10 points, 0 nodes", "日本円/USD: ok, 10000 points, 158 nodes"]
    assert as_json("verify", "ABC-USD") == {
        "ok": True,
        "series": [{"symbol": "ABC-USD", "points": 10, "nodes": 0, "faults": []}],
    }


def test_verify_finds_a_changed_bit(data: Path) -> None:
    """Exit code 1, and the fault is named."""
    (directory,) = (path for path in data.iterdir() if path.is_dir() and path.name != "ABC-USD")
    flip_bit(min(directory.glob("*.chunk")), 8 * 100 + 6)  # the high mantissa of point 100
    result = hft_mmap("verify")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "ABC-USD: ok, 10 points, 0 nodes"
    assert re.fullmatch(r"日本円/USD: \d+ faults?, 10000 points, 158 nodes", lines[1])
    assert any("points 64 to 127" in line for line in lines[2:])
    assert json.loads(hft_mmap("verify", "--json").stdout)["ok"] is False


def test_a_closed_pipe_is_no_traceback(data: Path) -> None:
    """`hft-mmap info | head -0` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-m", "api.cli.command", "info", "--data-dir", str(data)],
        env=environment({}),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in result.stderr


def test_the_settings_are_those_of_the_working_directory(data: Path) -> None:
    """`info` finds the data directory as `serve` does."""
    result = run_command(data.parent, "info", store__data_dir=data.name)
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "data: 2 symbols")


def test_snapshot_copies_the_data_and_the_copy_verifies(data: Path, tmp_path: Path) -> None:
    """The copy holds the same symbols and has no fault."""
    copied = as_json("snapshot", str(tmp_path / "copy"), "--data-dir", str(data))
    assert copied["totals"] == {"ABC-USD": 10, "日本円/USD": 10_000}
    assert (copied["directory"], copied["left_out"]) == (str(tmp_path / "copy"), [])
    assert as_json("verify", "--data-dir", str(tmp_path / "copy"))["ok"] is True


def test_snapshot_says_which_series_it_could_not_copy(data: Path, tmp_path: Path) -> None:
    """A backup without a series must not look like a whole one; the others are copied."""
    flip_bit(data / "ABC-USD" / "head", 20)
    result = hft_mmap("snapshot", str(tmp_path / "copy"), "--data-dir", str(data))
    assert result.exit_code == 1
    assert "日本円/USD  10000" in result.stdout
    assert result.stderr.startswith("ABC-USD: not copied: ")
    assert json.loads(hft_mmap("snapshot", "other", "--data-dir", str(data), "--json").stdout)["left_out"]
    assert as_json("verify", "--data-dir", str(tmp_path / "copy"))["ok"] is True


def test_snapshot_refuses_a_directory_that_is_not_empty(data: Path, tmp_path: Path) -> None:
    """One line says so, and the exit code is 1."""
    target = tmp_path / "full"
    (target / "in").mkdir(parents=True)
    result = hft_mmap("snapshot", str(target), "--data-dir", str(data))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"hft-mmap: snapshot directory {target} is not empty\n"


def test_repair_rebuilds_a_damaged_node(data: Path) -> None:
    """What verify finds in a node, repair rebuilds; then verify finds nothing."""
    chunk = next((data / "%E6%97%A5%E6%9C%AC%E5%86%86%2FUSD").glob("*0000.chunk"))
    flip_bit(chunk, 8 * 4096 + 9)
    assert hft_mmap("verify", "--data-dir", str(data)).exit_code == 1
    result = hft_mmap("repair", "--data-dir", str(data))
    assert result.exit_code == 0
    assert "repaired: " in result.stdout
    assert as_json("verify", "--data-dir", str(data))["ok"] is True


def test_repair_leaves_damaged_values_and_says_so(data: Path) -> None:
    """A value that does not fit its checksum is not repaired: exit code 1, and the points are named."""
    chunk = next((data / "%E6%97%A5%E6%9C%AC%E5%86%86%2FUSD").glob("*0000.chunk"))
    flip_bit(chunk, 8)
    result = hft_mmap("repair", "日本円/USD", "--data-dir", str(data))
    assert result.exit_code == 1
    assert "the checksum of the values is wrong (points 0 to 4095)" in result.stdout


def test_repair_makes_no_data_directory(tmp_path: Path) -> None:
    """A typing error in the path is refused."""
    result = hft_mmap("repair", "--data-dir", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert not (tmp_path / "nowhere").exists()


def test_summaries_are_made_of_what_is_stored(data: Path) -> None:
    """Of one symbol or of all, of the groups that are named; done again it finds them there."""
    done = hft_mmap("summarise", "日本円/USD", "--groups", "moments, returns", "--data-dir", str(data))
    assert (done.output, done.exit_code) == ("日本円/USD: returns, moments of 9984 points\n", 0)
    done = hft_mmap("summarise", "--data-dir", str(data), "--json")
    groups = ["returns", "extremes", "moments"]
    assert json.loads(done.output) == {
        "ok": True,
        "series": [
            {"symbol": "ABC-USD", "groups": groups, "points": 0, "left": [], "lacking": ["trades"]},
            {"symbol": "日本円/USD", "groups": groups, "points": 9984, "left": [], "lacking": ["trades"]},
        ],
    }
    assert hft_mmap("verify", "--data-dir", str(data)).exit_code == 0
    done = hft_mmap("summarise", "ABC-USD", "--groups", "trades", "--data-dir", str(data))
    assert (done.output.splitlines(), done.exit_code) == (
        ["ABC-USD: nothing of 0 points", "  no trades: the points have neither times nor sizes"], 0,
    )  # fmt: skip


def test_summaries_that_there_are_not_are_wrong_usage(data: Path) -> None:
    """The names that there are stand in the text; without a name there is nothing to do, nor for a missing symbol."""
    done = hft_mmap("summarise", "--groups", "trade", "--data-dir", str(data))
    assert done.exit_code == 2
    assert "there is no group 'trade'; there are returns, extremes, moments, trades" in done.output
    assert hft_mmap("summarise", "--groups", ",", "--data-dir", str(data)).exit_code == 2
    assert hft_mmap("summarise", "NONE", "--data-dir", str(data)).exit_code == 1


def test_summaries_that_cannot_be_made_are_named(data: Path) -> None:
    """With the file and the reason; what can be made is made."""
    (data / "ABC-USD" / "00000000000000000000.returns" / "in the way").mkdir(parents=True)
    done = hft_mmap("summarise", "--data-dir", str(data))
    assert done.exit_code == 1
    assert "  not made: 00000000000000000000.returns: Is a directory" in done.output
