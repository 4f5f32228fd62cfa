"""Logs: what is written, where to, when a new file begins, and what never happens to the service because of them."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from api.operation import logs
from api.operation.logs import DailyFile, LogFileError, LogWriter
from api.operation.settings import LogSettings
from tests.conftest import StartService
from tests.service import COMMAND, PATIENCE_S, TEST_SETTINGS, Service, environment, run_command, wait_until

Event = dict[str, Any]
Configure = Callable[..., LogWriter]


class Calendar:
    """A date that the test moves."""

    def __init__(self, day: date) -> None:
        self.day = day

    def __call__(self) -> date:
        """Return the date."""
        return self.day


def read_events(path: Path) -> list[Event]:
    """Return the events of a log file; every line must be JSON."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Return a function that configures logging with a console in `tmp_path/console`; undone after the test."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    writers: list[LogWriter] = []
    with (tmp_path / "console").open("w", encoding="utf-8") as console:

        def start(**settings: Any) -> LogWriter:
            if sys.stdout is not None:
                monkeypatch.setattr(sys, "stdout", console)
            writers.append(logs.configure(LogSettings(**settings)))
            return writers[-1]

        yield start
        for writer in writers:
            writer.close()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_an_event_is_one_line_on_the_console_and_in_the_file(configure: Configure, tmp_path: Path) -> None:
    """Both get the same bytes: time in UTC, level and event first, then the fields."""
    writer = configure()
    structlog.get_logger().info("cleanup", symbol="日本円-USD", removed=3)
    writer.close()
    console, file = (tmp_path / "console").read_text(), (tmp_path / "logs" / "app.log").read_text()
    assert console == file
    (event,) = read_events(tmp_path / "logs" / "app.log")
    assert list(event) == ["timestamp", "level", "event", "symbol", "removed"]
    assert event["timestamp"].endswith("Z")
    assert (event["level"], event["event"], event["symbol"]) == ("info", "cleanup", "日本円-USD")


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_a_threshold(configure: Configure, tmp_path: Path, level: str, expected: int) -> None:
    """Events below the level are not written."""
    writer = configure(level=level)
    log = structlog.get_logger()
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    writer.close()
    assert [event["event"] for event in read_events(tmp_path / "logs" / "app.log")] == list("diwe")[-expected:]


def test_without_a_file_the_console_has_it(configure: Configure, tmp_path: Path) -> None:
    """An empty log.file writes no file and makes no directory."""
    writer = configure(file="")
    structlog.get_logger().info("hello")
    writer.close()
    assert read_events(tmp_path / "console")[0]["event"] == "hello"
    assert not (tmp_path / "logs").exists()


def test_without_a_console_the_file_has_it(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process started without standard output logs to its file, and to no descriptor 1 of somebody else."""
    monkeypatch.setattr(sys, "stdout", None)
    writer = configure()
    structlog.get_logger().info("hello")
    writer.close()
    assert read_events(tmp_path / "logs" / "app.log")[0]["event"] == "hello"


@pytest.mark.parametrize(
    "value", ["\ud800", 2**100, b"\xff", {1: 2}, {"a": {3}}, float("nan"), "line\nbreak", date(2026, 1, 2), Path("/x")]
)
def test_any_value_makes_one_valid_line(configure: Configure, tmp_path: Path, value: object) -> None:
    """Whatever a request brings into a log line, the line is valid JSON and no error comes out of logging."""
    writer = configure()
    structlog.get_logger().info("odd", value=value)
    writer.close()
    (event,) = read_events(tmp_path / "logs" / "app.log")
    assert "value" in event


def test_an_exception_is_a_field_of_its_event(configure: Configure, tmp_path: Path) -> None:
    """A traceback does not break the lines."""
    writer = configure()
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception("failed")
    writer.close()
    (event,) = read_events(tmp_path / "logs" / "app.log")
    assert event["level"] == "error"
    assert event["exception"].endswith("ValueError: invalid literal for int() with base 10: 'x'")


def test_libraries_that_use_logging_are_in_the_same_file(configure: Configure, tmp_path: Path) -> None:
    """Their warnings and errors are events with the name of their logger; what they chat at info is not."""
    writer = configure(level="debug")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid %s request received.", "HTTP")
    logging.getLogger("some.library").log(35, "a level of its own")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old habit", DeprecationWarning, stacklevel=1)
    writer.close()
    events = read_events(tmp_path / "logs" / "app.log")
    assert [(event["logger"], event["level"]) for event in events] == [
        ("uvicorn.error", "warning"),
        ("some.library", "warning"),
        ("py.warnings", "warning"),
    ]
    assert events[0]["event"] == "Invalid HTTP request received."


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    """The first write of a day renames the file to the day it is of."""
    today = Calendar(date(2026, 3, 1))
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14, today=today)
    file.write(b"1\n")
    file.write(b"2\n")
    today.day = date(2026, 3, 2)
    file.write(b"3\n")
    today.day = date(2026, 3, 5)
    file.write(b"4\n")
    file.close()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {"app.log.2026-03-01": b"1\n2\n", "app.log.2026-03-02": b"3\n", "app.log": b"4\n"}


def test_the_file_of_an_earlier_day_is_set_aside_at_the_start(tmp_path: Path) -> None:
    """A service that was down at midnight does not mix the days."""
    path = tmp_path / "app.log"
    path.write_bytes(b"old\n")
    os.utime(path, (0, 0))
    file = DailyFile(path, keep_days=0, today=Calendar(date(2026, 3, 1)))
    file.write(b"new\n")
    file.close()
    assert (tmp_path / "app.log.1970-01-01").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_the_file_of_today_is_continued(tmp_path: Path) -> None:
    """A restart appends."""
    for line in (b"1\n", b"2\n"):
        file = DailyFile(tmp_path / "app.log", keep_days=14)
        file.write(line)
        file.close()
    assert (tmp_path / "app.log").read_bytes() == b"1\n2\n"


def test_no_day_is_ever_overwritten(tmp_path: Path) -> None:
    """A clock that goes back gives a second file of the same day its own name."""
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    today = Calendar(first)
    file = DailyFile(tmp_path / "app.log", keep_days=0, today=today)
    for number, day in enumerate((first, second, first, second)):
        today.day = day
        file.write(b"%d\n" % number)
    file.close()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {
        "app.log.2026-03-01": b"0\n",
        "app.log.2026-03-02": b"1\n",
        "app.log.2026-03-01.1": b"2\n",
        "app.log": b"3\n",
    }


def test_old_days_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """Of ten days the newest three stay (keep_days), beside files that only look alike."""
    for name in ("app.log.backup", "app.log.2026-13-99", "other.log.2020-01-01"):
        (tmp_path / name).touch()
    today = Calendar(date(2026, 3, 1))
    file = DailyFile(tmp_path / "app.log", keep_days=3, today=today)
    for _ in range(10):
        file.write(b"x\n")
        today.day += timedelta(days=1)
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "app.log",
        "app.log.2026-03-07",
        "app.log.2026-03-08",
        "app.log.2026-03-09",
        "app.log.2026-13-99",
        "app.log.backup",
        "other.log.2020-01-01",
    ]


def test_a_day_has_at_most_two_files_of_the_bound(tmp_path: Path) -> None:
    """A full file is set aside; of those of one day the newest stays, and other days lose nothing."""
    today = Calendar(date(2026, 3, 1))
    file = DailyFile(tmp_path / "app.log", keep_days=14, max_bytes=10, today=today)
    removed = [file.write(b"%d---\n" % number) for number in range(5)]
    today.day = date(2026, 3, 2)
    removed += [file.write(b"%d---\n" % number) for number in range(5, 8)]
    removed.append(file.write(b"a line longer than the bound\n"))
    file.close()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {
        "app.log.2026-03-01.1": b"2---\n3---\n",
        "app.log.2026-03-01.2": b"4---\n",
        "app.log.2026-03-02.1": b"7---\n",
        "app.log": b"a line longer than the bound\n",
    }
    assert [names for names in removed if names] == [["app.log.2026-03-01"], ["app.log.2026-03-02"]]


def test_files_that_had_to_go_are_named(configure: Configure, tmp_path: Path) -> None:
    """The log says which of its files were removed because of log.max_file_bytes."""
    writer = configure(max_file_bytes=70_000)
    for _ in range(3 * 70_000 // 1000):
        structlog.get_logger().info("serving", filler="x" * 1000)
    writer.close()
    files = sorted((tmp_path / "logs").iterdir())
    events = [event for path in files for event in read_events(path)]
    removed = [name for event in events if event["event"] == "log_files_removed" for name in event["files"]]
    assert len(files) == 2
    assert removed
    assert not set(removed) & {path.name for path in files}
    assert all(path.stat().st_size <= 70_000 for path in files)


def test_a_file_that_was_moved_away_is_begun_anew_on_request(tmp_path: Path) -> None:
    """Another program rotates: it moves the file, or moves it and makes a new one; one that is in place is kept."""
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14)
    file.write(b"1\n")
    assert not file.reopen()
    path.rename(tmp_path / "moved")
    file.write(b"2\n")
    assert file.reopen()
    file.write(b"3\n")
    path.rename(tmp_path / "moved again")
    path.write_bytes(b"made by logrotate\n")
    assert file.reopen()
    file.write(b"4\n")
    file.close()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {"moved": b"1\n2\n", "moved again": b"3\n", "app.log": b"made by logrotate\n4\n"}


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one(tmp_path: Path) -> None:
    """Nothing is lost where the name belongs to another process, or to what is no file."""
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14)
    path.rename(tmp_path / "moved")
    other = DailyFile(path, keep_days=14)
    with pytest.raises(OSError, match="belongs to another running process"):
        file.reopen()
    other.close()
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        file.reopen()
    file.write(b"1\n")
    file.close()
    assert (tmp_path / "moved").read_bytes() == b"1\n"


def test_a_file_that_was_cut_in_place_is_not_full(tmp_path: Path) -> None:
    """What counts is the file as it is: `copytruncate` of logrotate makes it empty under the service."""
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14, max_bytes=10)
    for _ in range(3):
        file.write(b"12345678\n")
        os.truncate(path, 0)
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["app.log"]


def test_a_file_that_was_moved_away_does_not_stop_the_next_day(tmp_path: Path) -> None:
    """Somebody else's rotation is survived."""
    today = Calendar(date(2026, 3, 1))
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14, today=today)
    file.write(b"1\n")
    path.rename(tmp_path / "taken")
    today.day = date(2026, 3, 2)
    file.write(b"2\n")
    file.close()
    assert path.read_bytes() == b"2\n"


def test_a_file_belongs_to_one_process(tmp_path: Path) -> None:
    """Two that rename the same file would overwrite each other's days; closing frees it."""
    path = tmp_path / "app.log"
    file = DailyFile(path, keep_days=14)
    with pytest.raises(LogFileError, match="belongs to another running process"):
        DailyFile(path, keep_days=14)
    file.close()
    DailyFile(path, keep_days=14).close()


def test_lines_that_do_not_fit_the_queue_are_dropped_and_counted(tmp_path: Path) -> None:
    """A console that nobody reads costs lines, with their number, and neither memory nor time."""
    reading, writing = os.pipe()
    writer = LogWriter(DailyFile(tmp_path / "app.log", keep_days=14), writing, max_queued_lines=10)
    line = b'{"event":"x"}' + b" " * 100_000 + b"\n"  # more than a pipe holds, so the writer is stuck after one
    for _ in range(300):
        writer.put(line)
    with io.FileIO(reading) as console:
        reader = threading.Thread(target=console.readall)
        reader.start()
        writer.close()
        os.close(writing)
        reader.join()
    events = read_events(tmp_path / "app.log")
    dropped = sum(event["lines"] for event in events if event["event"] == "log_lines_dropped")
    written = sum(event["event"] == "x" for event in events)
    assert dropped > 0
    assert written + dropped == 300


def test_the_queue_is_bounded_by_bytes(tmp_path: Path) -> None:
    """Few and long lines take no more memory than many short ones while a console stands still."""
    reading, writing = os.pipe()
    writer = LogWriter(DailyFile(tmp_path / "app.log", keep_days=14), writing, max_queued_bytes=1_000_000)
    line = b'{"event":"x"}' + b" " * 100_000 + b"\n"
    for _ in range(30):
        writer.put(line)
    with io.FileIO(reading) as console:
        reader = threading.Thread(target=console.readall)
        reader.start()
        wait_until(writer._queue.empty, "the writer")  # which makes room again
        writer.put(b'{"event":"later"}\n')
        writer.close()
        os.close(writing)
        reader.join()
    events = read_events(tmp_path / "app.log")
    dropped = sum(event["lines"] for event in events if event["event"] == "log_lines_dropped")
    names = [event["event"] for event in events]
    assert dropped >= 30 - 11  # one that is written, one that was taken from the queue, and nine in it
    assert names.count("x") + dropped == 30
    assert names.count("later") == 1


def test_a_long_value_is_cut_and_says_how_long_it_was(configure: Configure, tmp_path: Path) -> None:
    """Whatever its type; short values of the same line stay as they are, and a traceback keeps both of its ends."""
    writer = configure()
    log = structlog.get_logger()
    log.info("text", symbol="x" * 190_000, points=3)
    log.info("list", files=["y" * 50] * 1000, code=4400)
    log.info("odd", value=b"z" * 100_000)
    try:
        raise ValueError("a" * 100_000 + " the end")  # noqa: TRY301 - a traceback is wanted
    except ValueError:
        log.exception("fault")
    writer.close()
    text, listed, odd, fault = read_events(tmp_path / "logs" / "app.log")
    assert text["symbol"] == "x" * 256 + "… (190000 characters)"
    assert text["points"] == 3
    assert listed["files"].startswith('["yyy')
    assert len(listed["files"]) < 300
    assert listed["code"] == 4400
    assert odd["value"].endswith("characters)")
    assert fault["exception"].startswith("Traceback")
    assert fault["exception"].endswith("a the end")
    assert max(len(line) for line in (tmp_path / "logs" / "app.log").read_bytes().splitlines()) < 10_000


def test_a_console_that_goes_away_leaves_the_file(tmp_path: Path) -> None:
    """`hft-mmap serve | head -1` must not end the logging."""
    reading, writing = os.pipe()
    os.close(reading)
    writer = LogWriter(DailyFile(tmp_path / "app.log", keep_days=14), writing)
    for _ in range(3):
        writer.put(b'{"event":"x"}\n')
    writer.close()
    os.close(writing)
    assert len(read_events(tmp_path / "app.log")) == 3


def test_a_disk_that_is_full_is_said_once_and_tried_again(tmp_path: Path) -> None:
    """The console says that the file fails; the service goes on, and so does the file when there is space."""
    path = tmp_path / "console"
    with path.open("wb") as console:
        file = DailyFile(tmp_path / "app.log", keep_days=14)
        own_fd, file._fd = file._fd, os.open("/dev/full", os.O_WRONLY)
        writer = LogWriter(file, console.fileno())
        for _ in range(3):
            writer.put(b'{"event":"lost"}\n')
            wait_until(writer._queue.empty, "the writer")
        wait_until(lambda: len(read_events(path)) == 4, "three lines and one that says why")
        os.close(file._fd)
        file._fd = own_fd
        writer.put(b'{"event":"kept"}\n')
        writer.close()
    assert [event["event"] for event in read_events(path)].count("log_file_failed") == 1
    assert read_events(tmp_path / "app.log") == [{"event": "kept"}]


# -- the running service ----------------------------------------------------------------------------------------------


def requests(service: Service) -> list[tuple[str, str, int]]:
    """Stop the service and return method, route and status of its canonical lines."""
    assert service.stop() == 0
    return [(event["method"], event["route"], event["status"]) for event in service.events("request")]


def test_normal_requests_are_not_logged(service: Service) -> None:
    """At level info a request that was answered in time leaves no line; a refused one does."""
    service.add("ABC-USD", [1.0])
    service.client.get("/stats/", params={"symbol": "ABC-USD", "exponent": 1})
    service.client.get("/stats/", params={"symbol": "XYZ", "exponent": 1})
    service.client.get("/stats/", params={"symbol": "ABC-USD", "exponent": 9})
    assert requests(service) == [("GET", "/stats", 404), ("GET", "/stats", 400)]


def test_a_slow_request_is_logged(start_service: StartService) -> None:
    """Above log.slow_request_ms a request has its line; with 0 that is every one, but those of health checks."""
    service = start_service(log__slow_request_ms=0)
    service.add("ABC-USD", [1.0, 2.0, 3.0])
    for path in ("/health", "/health/", "/ready"):
        assert service.client.get(path).status_code == 200
    request_id = service.client.get("/nowhere", headers={"X-Request-ID": "mine"}).headers.get("X-Request-ID")
    assert requests(service) == [("POST", "/add_batch", 200), ("GET", "/nowhere", 404)]
    batch, refused = service.events("request")
    assert (batch["symbol"], batch["points"]) == ("ABC-USD", 3)
    assert batch["duration_ms"] > 0
    assert refused["request_id"] == request_id == "mine"


def test_at_debug_every_request_is_logged(start_service: StartService) -> None:
    """Level debug has all requests, health checks left out."""
    service = start_service(log__level="debug")
    service.add("ABC-USD", [1.0])
    service.client.get("/stats/", params={"symbol": "ABC-USD", "exponent": 1})
    service.client.get("/health")
    assert requests(service) == [("POST", "/add_batch", 200), ("GET", "/stats", 200)]


def test_console_and_file_have_the_same_valid_lines(service: Service) -> None:
    """Every line of a whole life is JSON with time, level and event, from "serving" to "stopped"."""
    service.add("ABC-USD", [1.0])
    service.add("ABC-USD", [-1.0])
    with service.connect() as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert service.stop() == 0
    assert read_events(service.log_file) == service.events()
    assert all({"timestamp", "level", "event"} <= event.keys() for event in service.events())
    names = [event["event"] for event in service.events()]
    assert names[-1] == "stopped"
    assert {"serving", "series_created", "request", "refused", "stopping"} <= set(names)


def test_a_hang_up_opens_the_log_file_again(service: Service) -> None:
    """As logrotate wants it: the file is moved away, SIGHUP is sent, and no line is lost between the two files."""
    moved = service.log_file.with_name("app.log.moved")
    service.client.get("/nowhere")
    service.log_file.rename(moved)
    service.client.get("/nowhere")
    service.process.send_signal(signal.SIGHUP)
    assert service.wait_for_event("reloaded", what="log file")
    service.client.get("/nowhere")
    assert service.stop() == 0
    before, after = read_events(moved), read_events(service.log_file)
    assert before + after == service.events()
    assert after[0]["event"] == "reloaded"
    assert [event["event"] for event in before].count("request") == 2


def test_a_second_service_may_not_write_the_same_file(service: Service) -> None:
    """It is refused in one line, and the first one's log stays whole."""
    result = run_command(service.directory, "serve", server__port=0)
    assert result.returncode == 1
    assert (
        result.stderr
        == "hft-mmap: log file logs/app.log belongs to another running process; set log.file (APP_LOG__FILE)\n"
    )
    assert service.stop() == 0
    assert read_events(service.log_file) == service.events()


def test_a_console_that_nobody_reads_does_not_stop_the_service(tmp_path: Path) -> None:
    """Many times more lines than a pipe holds: every request is answered all the same."""
    settings = {**TEST_SETTINGS, "log.level": "debug"}
    log_file = tmp_path / "logs" / "app.log"
    with subprocess.Popen(
        [*COMMAND, "serve"], cwd=tmp_path, env=environment(settings), stdout=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: log_file.exists() and b'"event":"serving"' in log_file.read_bytes(), "the service")
            (port,) = (event["port"] for event in read_events(log_file) if event["event"] == "serving")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                for _ in range(1000):
                    assert client.get("/symbols").status_code == 200
            process.terminate()
            console, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert console.count(b'"event":"request"') == 1000
