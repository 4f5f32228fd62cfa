"""Logs: one JSON line an event, on standard output and in a file that starts anew each day.

`configure` sends everything that structlog and the standard `logging` produce through one writer thread. The event loop
only renders a line (orjson) and puts it into a queue: it never waits for a disk that is busy with the store's own
syncs, or for a console that nobody reads. The price is what a queue costs: a process that is killed (SIGKILL, power)
loses the lines of its last milliseconds. No price is ever lost with them, the store has its own files; every
orderly exit drains the queue. A queue that has grown to `MAX_QUEUED_LINES` drops further lines and says how many.

PERF: a line costs 8 us on the thread that says it. A call below the level costs 0.1 us if the logger is bound once
(`log = structlog.get_logger().bind()`) and 0.7 us through the lazy proxy that `structlog.get_logger()` returns.
"""

import contextlib
import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from api.operation.settings import LogSettings, how_to_set

MAX_QUEUED_LINES = 20_000
_MAX_LINES_A_WRITE = 256
_CLOSE_TIMEOUT_S = 5.0
_ORJSON_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

_LEAVE_CONSOLE = b"leave"  # no line: it is known by its identity
_LOG_FILE = how_to_set("log.file")
Today = Callable[[], date]


class LogFileError(Exception):
    """The log file cannot be opened; the text says which one and why."""


def today_utc() -> date:
    """Return the date in UTC, which is also what the timestamps of the lines are in."""
    return datetime.now(UTC).date()


def configure(settings: LogSettings, *, instance: str = "", today: Today = today_utc) -> "LogWriter":
    """Send all logging of this process to the console and to `settings.file`; return the writer, to be closed last.

    An `instance` stands in every line, and in the name of the file: logs/app.log becomes logs/app-INSTANCE.log. Raises
    LogFileError if the file cannot be opened, or belongs to another running process.
    """
    file = None
    if settings.file:
        path = Path(settings.file)
        own = path.with_stem(f"{path.stem}-{instance}") if instance else path
        file = DailyFile(own, keep_days=settings.keep_days, today=today)
    # Started without standard output, Python has None here, and descriptor 1 may become one of the store's files.
    naming = _Naming(instance)
    writer = LogWriter(file, sys.stdout.fileno() if sys.stdout else None, naming=naming)
    threshold = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            naming,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _LineLogger(writer.put),
        cache_logger_on_first_use=True,
    )
    # Libraries that use `logging` (uvicorn, falcon, asyncio) have something to say here only when something is wrong;
    # numba would write pages at level debug.
    logging.basicConfig(handlers=[_ToStructlog()], level=max(threshold, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)
    return writer


def render(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> bytes:
    """Return the event as one line of JSON, whatever is in it; what an eye looks for stands first."""
    first = {key: event_dict.pop(key) for key in ("timestamp", "level", "event")}
    line = {**first, **event_dict}
    try:
        return orjson.dumps(line, default=repr, option=_ORJSON_OPTIONS)
    except TypeError:  # lone surrogates and integers above 64 bits, which the standard library takes
        return json.dumps(line, default=repr).encode() + b"\n"


class _Naming:
    """Puts the name of this process among several, if it has one, into every line."""

    def __init__(self, instance: str) -> None:
        self._fields = {"instance": instance} if instance else {}

    def __call__(self, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        return {**self._fields, **event_dict}


class _LineLogger:
    """What structlog calls with a finished line; the level was decided and written before."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.log = self.msg = put


class _ToStructlog(logging.Handler):
    """Hand the records of `logging` to structlog, with the name of their logger."""

    def emit(self, record: logging.LogRecord) -> None:
        extra: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            extra["exc_info"] = record.exc_info
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)  # structlog knows these five only
        structlog.get_logger().log(level, record.getMessage(), **extra)


class LogWriter:
    """Write lines to a file descriptor and a daily file, in order, from a thread of its own."""

    def __init__(
        self,
        file: "DailyFile | None",
        console_fd: int | None,
        *,
        max_queued_lines: int = MAX_QUEUED_LINES,
        naming: _Naming | None = None,
    ) -> None:
        self._file = file
        self._console_fd = console_fd
        self._max_queued_lines = max_queued_lines
        self._naming = naming or _Naming("")
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._dropped = 0
        self._file_fails = False
        self._leaving = False
        # Daemon: a console that blocks for ever must not keep the process from ending; `close` waits long enough.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line, newline included. Never waits; drops the line if the queue is full."""
        if self._queue.qsize() < self._max_queued_lines:
            self._queue.put(line)
        else:
            self._dropped += 1

    def leave_console(self) -> None:
        """Write later lines to the file only."""
        self._queue.put(_LEAVE_CONSOLE)

    def close(self) -> None:
        """Write what is queued, then close the file. Waits for a blocked console 5 s at most."""
        self._queue.put(None)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            lines, closing = self._next_lines()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(self._own_line("error", "log_lines_dropped", lines=dropped))
            if lines:
                self._write(b"".join(lines))
            if self._leaving:
                self._console_fd = None
            if closing:
                break
        if self._file is not None:
            self._file.close()

    def _next_lines(self) -> tuple[list[bytes], bool]:
        """Wait for a line, take those behind it too, and tell whether `close` was called."""
        lines: list[bytes] = []
        line = self._queue.get()
        while line is not None:
            if line is _LEAVE_CONSOLE:
                self._leaving = True
                return lines, False
            lines.append(line)
            if len(lines) == _MAX_LINES_A_WRITE:
                return lines, False
            try:
                line = self._queue.get_nowait()
            except Empty:
                return lines, False
        return lines, True

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:  # a full disk: these lines are lost, later ones are tried again
                self._say_once(error)
            else:
                self._file_fails = False
        if self._console_fd is not None:
            try:
                _write_all(self._console_fd, data)  # may block for as long as nobody reads; so it comes last
            except OSError:  # the reader of the pipe has gone; the file goes on
                self._console_fd = None

    def _say_once(self, error: OSError) -> None:
        if not self._file_fails and self._console_fd is not None:
            with contextlib.suppress(OSError):
                _write_all(self._console_fd, self._own_line("error", "log_file_failed", reason=str(error)))
        self._file_fails = True

    def _own_line(self, level: str, event: str, **fields: object) -> bytes:
        line = {"event": event, **fields, "level": level, "timestamp": datetime.now(UTC).isoformat()}
        return render(None, "", self._naming(None, "", line))


class DailyFile:
    """A file that is renamed to `<name>.<date>` at its first write of a new day.

    The file is locked: two processes that rename the same file would overwrite each other's days, so the second one
    is refused. Files beyond the newest `keep_days` days are removed (0 keeps all).
    """

    def __init__(self, path: Path, *, keep_days: int, today: Today = today_utc) -> None:
        self.path = path
        self._keep_days = keep_days
        self._today = today
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise LogFileError(f"log file {path} is not a regular file; set {_LOG_FILE}, to nothing for none")
            self._fd = self._open()
        except BlockingIOError:
            raise LogFileError(f"log file {path} belongs to another running process; set {_LOG_FILE}") from None
        except OSError as error:
            raise LogFileError(f"log file {path} cannot be opened: {error.strerror}; set {_LOG_FILE}") from error
        # What a process of an earlier day left is of that day.
        status = os.fstat(self._fd)
        self._day = datetime.fromtimestamp(status.st_mtime, UTC).date() if status.st_size else today()

    def write(self, data: bytes) -> None:
        """Append whole lines; start a new file first if the day has changed. Raises OSError."""
        day = self._today()
        if day != self._day:
            self._roll(day)
        _write_all(self._fd, data)

    def close(self) -> None:
        """Close the file, which frees its lock."""
        os.close(self._fd)

    def _open(self) -> int:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _roll(self, day: date) -> None:
        with contextlib.suppress(FileNotFoundError):  # moved away by somebody else
            self.path.rename(self._name_of(self._day))
        fd = self._open()
        os.close(self._fd)
        self._fd, self._day = fd, day
        if self._keep_days:
            self._remove_old(day)

    def _name_of(self, day: date) -> Path:
        """Return a free name for the lines of `day`; a clock that was set back may have taken the first one."""
        name = self.path.with_name(f"{self.path.name}.{day.isoformat()}")
        number = 0
        while name.exists():
            number += 1
            name = self.path.with_name(f"{self.path.name}.{day.isoformat()}.{number}")
        return name

    def _remove_old(self, day: date) -> None:
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            try:
                written = date.fromisoformat(path.name.removeprefix(f"{self.path.name}.")[:10])
            except ValueError:
                continue
            if (day - written).days > self._keep_days:
                path.unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
