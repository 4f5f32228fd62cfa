"""Logs: one JSON line an event, on standard output and in a file that starts anew each day.

`configure` sends everything that structlog and the standard `logging` produce through one writer thread. The event loop
only renders a line (orjson) and puts it into a queue: it never waits for a disk that is busy with the store's own
syncs, or for a console that nobody reads. The price is what a queue costs: a process that is killed (SIGKILL, power)
loses the lines of its last milliseconds. No price is ever lost with them, the store has its own files; every
orderly exit drains the queue.

Nothing of it grows without a bound: a line is cut where it is rendered (`render`), lines that clients cause have a
budget (`api.operation.line_budget`), a queue of `MAX_QUEUED_BYTES` or `MAX_QUEUED_LINES` drops further lines and says
how many, and a file that has grown to its bound is set aside (`api.operation.log_file`).

PERF: a line costs 8 us on the thread that says it. A call below the level costs 0.1 us if the logger is bound once
(`log = structlog.get_logger().bind()`) and 0.7 us through the lazy proxy that `structlog.get_logger()` returns.
"""

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from api.operation.line_budget import POT, LineBudget, Pot
from api.operation.log_file import DailyFile, LogFileError, Today, today_utc, write_all
from api.operation.settings import LogSettings

__all__ = ["DailyFile", "LogFileError", "LogWriter", "configure", "render"]

MAX_QUEUED_LINES = 20_000
MAX_QUEUED_BYTES = 8 * 2**20
MAX_LINE_BYTES = 4096
"""A line longer than this has each long value cut."""
_MAX_VALUE_CHARS = 256
_MAX_TRACEBACK_CHARS = 8192
_MAX_LINES_A_WRITE = 256
_MAX_BYTES_A_WRITE = 32_768  # and one line more: less than any bound of the file
_CLOSE_TIMEOUT_S = 5.0
_ORJSON_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def configure(settings: LogSettings, *, instance: str = "", today: Today = today_utc) -> "LogWriter":
    """Send all logging of this process to the console and to `settings.file`; return the writer, to be closed last.

    An `instance` stands in every line, and in the name of the file: logs/app.log becomes logs/app-INSTANCE.log. Raises
    LogFileError if the file cannot be opened, or belongs to another running process.
    """
    file = None
    if settings.file:
        path = Path(settings.file)
        own = path.with_stem(f"{path.stem}-{instance}") if instance else path
        file = DailyFile(own, keep_days=settings.keep_days, max_bytes=settings.max_file_bytes, today=today)
    # Started without standard output, Python has None here, and descriptor 1 may become one of the store's files.
    naming, budget = _Naming(instance), LineBudget()
    writer = LogWriter(file, sys.stdout.fileno() if sys.stdout else None, naming=naming, budget=budget)
    threshold = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            budget,  # first: what is dropped costs no more than the look at it
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
    """Return the event as one line of JSON, whatever is in it; what an eye looks for stands first.

    In a line longer than MAX_LINE_BYTES every long value is cut, and says how long it was.
    """
    pot: Pot | None = event_dict.pop(POT, None)
    first = {key: event_dict.pop(key) for key in ("timestamp", "level", "event")}
    fields = {**first, **event_dict}
    line = _dumped(fields)
    # PERF: asked of the line and not of each value: lines are short, and this costs them nothing.
    if len(line) > MAX_LINE_BYTES:
        line = _dumped({key: _cut(key, value) for key, value in fields.items()})
    if pot is not None:
        pot.bytes += len(line)
    return line


def _dumped(fields: EventDict) -> bytes:
    try:
        return orjson.dumps(fields, default=repr, option=_ORJSON_OPTIONS)
    except TypeError:  # lone surrogates and integers above 64 bits, which the standard library takes
        return json.dumps(fields, default=repr).encode() + b"\n"


def _cut(key: str, value: object) -> object:
    """Return a short value as it is, and the text of a long one cut; of a traceback both ends are kept."""
    text = value if isinstance(value, str) else _dumped({"": value})[4:-2].decode()
    most = _MAX_TRACEBACK_CHARS if key == "exception" else _MAX_VALUE_CHARS
    if len(text) <= most:
        return value
    told = f"… ({len(text)} characters)"
    return f"{text[: most // 4]}{told}…{text[-most * 3 // 4 :]}" if key == "exception" else f"{text[:most]}{told}"


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


class _Request(Enum):
    """What is asked of the writer, between two lines."""

    REOPEN = 1
    CLOSE = 2
    LEAVE_CONSOLE = 3


class LogWriter:
    """Write lines to a file descriptor and a daily file, in order, from a thread of its own."""

    def __init__(
        self,
        file: DailyFile | None,
        console_fd: int | None,
        *,
        max_queued_lines: int = MAX_QUEUED_LINES,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        naming: _Naming | None = None,
        budget: LineBudget | None = None,
    ) -> None:
        self._file = file
        self._console_fd = console_fd
        self._max_queued_lines = max_queued_lines
        self._max_queued_bytes = max_queued_bytes
        self._naming = naming or _Naming("")
        self.budget = budget or LineBudget()
        self._queue: SimpleQueue[bytes | _Request] = SimpleQueue()
        self._counting = threading.Lock()
        self._queued_bytes = 0
        self._dropped = 0
        self._file_fails = False
        self._leaving = False
        # Daemon: a console that blocks for ever must not keep the process from ending; `close` waits long enough.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line, newline included. Never waits; drops the line if the queue is full."""
        with self._counting:
            queued_bytes = self._queued_bytes + len(line)
            if self._queue.qsize() >= self._max_queued_lines or queued_bytes > self._max_queued_bytes:
                self._dropped += 1
                return
            self._queued_bytes = queued_bytes
        self._queue.put(line)

    def reopen(self) -> None:
        """Go on in the file that has the name now, once the lines that are queued are written: `reload`."""
        if self._file is not None:
            self._queue.put(_Request.REOPEN)

    def leave_console(self) -> None:
        """Write later lines to the file only."""
        self._queue.put(_Request.LEAVE_CONSOLE)

    def close(self) -> None:
        """Write what is queued, then close the file. Waits for a blocked console 5 s at most."""
        self._queue.put(_Request.CLOSE)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        request = None
        while request is not _Request.CLOSE:
            lines, request = self._next_lines()
            if self.budget.seconds_left() == 0.0 or request is _Request.CLOSE:
                lines += [self._own_line("info", "lines_left_out", **fields) for fields in self.budget.summaries()]
            with self._counting:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                lines.append(self._own_line("error", "log_lines_dropped", lines=dropped))
            self._write(lines)
            if request is _Request.REOPEN:
                self._reopen()
            elif request is _Request.LEAVE_CONSOLE:
                self._console_fd = None
        if self._file is not None:
            self._file.close()

    def _next_lines(self) -> tuple[list[bytes], _Request | None]:
        """Wait for a line, or the end of a minute; take the lines behind it too, up to what somebody asked for."""
        lines: list[bytes] = []
        request: _Request | None = None
        timeout = self.budget.seconds_left()
        with contextlib.suppress(Empty):
            while len(lines) < _MAX_LINES_A_WRITE:
                item = self._queue.get(timeout=timeout)
                if isinstance(item, _Request):
                    request = item
                    break
                lines.append(item)
                timeout = 0.0
        with self._counting:
            self._queued_bytes -= sum(map(len, lines))
        return lines, request

    def _reopen(self) -> None:
        try:
            reopened = self._file is not None and self._file.reopen()
        except OSError as error:
            self._write([self._own_line("error", "reload_failed", what="log file", reason=str(error))])
        else:
            if reopened:
                self._write([self._own_line("info", "reloaded", what="log file")])

    def _write(self, lines: list[bytes]) -> None:
        """Write the lines, in pieces that fit into any file."""
        piece, size = list[bytes](), 0
        for line in lines:
            piece.append(line)
            size += len(line)
            if size >= _MAX_BYTES_A_WRITE:
                self._write_piece(b"".join(piece))
                piece, size = [], 0
        if piece:
            self._write_piece(b"".join(piece))

    def _write_piece(self, data: bytes) -> None:
        if self._file is not None:
            try:
                removed = self._file.write(data)
                if removed:
                    self._file.write(self._own_line("warning", "log_files_removed", files=removed))
            except OSError as error:  # a full disk: these lines are lost, later ones are tried again
                self._say_once(error)
            else:
                self._file_fails = False
        if self._console_fd is not None:
            try:
                write_all(self._console_fd, data)  # may block for as long as nobody reads; so it comes last
            except OSError:  # the reader of the pipe has gone; the file goes on
                self._console_fd = None

    def _say_once(self, error: OSError) -> None:
        if not self._file_fails and self._console_fd is not None:
            with contextlib.suppress(OSError):
                write_all(self._console_fd, self._own_line("error", "log_file_failed", reason=str(error)))
        self._file_fails = True

    def _own_line(self, level: str, event: str, **fields: object) -> bytes:
        line = {"event": event, **fields, "level": level, "timestamp": datetime.now(UTC).isoformat()}
        return render(None, "", self._naming(None, "", line))
