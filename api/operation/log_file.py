"""The log file: a new one each day, none larger than its bound, and one process that writes it."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from api.operation.settings import how_to_set

_LOG_FILE = how_to_set("log.file")
_NUMBER = re.compile(r"(\.[0-9]{1,9})?")  # of a second file of a day, behind its date

Today = Callable[[], date]


class LogFileError(Exception):
    """The log file cannot be opened; the text says which one and why."""


def today_utc() -> date:
    """Return the date in UTC, which is also what the timestamps of the lines are in."""
    return datetime.now(UTC).date()


class DailyFile:
    """A file that is renamed to `<name>.<date>` at its first write of a new day, or when it has `max_bytes`.

    Of the files of one day that were full, the newest is kept beside the one that is written: a day has at most twice
    `max_bytes`. Files beyond the newest `keep_days` days are removed (0 keeps all).

    The file is locked: two processes that rename the same file would overwrite each other's days, so the second one
    is refused.
    """

    def __init__(self, path: Path, *, keep_days: int, max_bytes: int = 2**40, today: Today = today_utc) -> None:
        self.path = path
        self._keep_days = keep_days
        self._max_bytes = max_bytes
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
        self._day = self._day_of(self._fd)

    def write(self, data: bytes) -> list[str]:
        """Append whole lines; start a new file first if the day has changed, or this one would have too many bytes.

        Returns the names of full files that were removed. Raises OSError.
        """
        removed: list[str] = []
        day = self._today()
        # Asked of the file: somebody may have cut it (copytruncate of logrotate).
        size = os.fstat(self._fd).st_size
        if day != self._day:
            self._roll(day)
        elif size and size + len(data) > self._max_bytes:
            removed = self._remove_full(keep=self._roll(day))
        write_all(self._fd, data)
        return removed

    def reopen(self) -> bool:
        """Go on in the file that has the name now, made if there is none; return whether that is another one.

        Raises OSError, and goes on in the old one, if it can't be opened or belongs to another process.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                return False
        try:
            fd = self._open()
        except BlockingIOError:
            raise OSError(f"{self.path} belongs to another running process") from None
        self._go_on_in(fd, self._day_of(fd))
        return True

    def close(self) -> None:
        """Close the file, which frees its lock; again is nothing."""
        self._go_on_in(-1, self._day)

    def _go_on_in(self, fd: int, day: date) -> None:
        """Write to another file from now on, and close the one before; its number is first forgotten: others get it."""
        before, self._fd, self._day = self._fd, fd, day
        if before >= 0:
            os.close(before)

    def _day_of(self, fd: int) -> date:
        """Return the day that the lines of a file are of: what a process of an earlier day left is of that day."""
        status = os.fstat(fd)
        return datetime.fromtimestamp(status.st_mtime, UTC).date() if status.st_size else self._today()

    def _open(self) -> int:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _roll(self, day: date) -> Path:
        """Set the file aside, begin a new one for `day`, and return the name of the old one."""
        aside = self._name_of(self._day)
        with contextlib.suppress(FileNotFoundError):  # moved away by somebody else
            self.path.rename(aside)
        fd = self._open()
        self._go_on_in(fd, day)
        if self._keep_days:
            self._remove_old(day)
        return aside

    def _name_of(self, day: date) -> Path:
        """Return a free name for the lines of `day`, behind those that are taken.

        There are some where the file was full before, or a clock was set back.
        """
        numbers = [int(path.name.removeprefix(f"{self._stem(day)}")[1:] or 0) for path in self._files_of(day)]
        return self.path.with_name(f"{self._stem(day)}.{max(numbers) + 1}" if numbers else self._stem(day))

    def _stem(self, day: date) -> str:
        return f"{self.path.name}.{day.isoformat()}"

    def _files_of(self, day: date) -> list[Path]:
        """Return the files that hold older lines of `day`."""
        stem = self._stem(day)
        return [
            path
            for path in self.path.parent.iterdir()
            if path.name.startswith(stem) and _NUMBER.fullmatch(path.name.removeprefix(stem))
        ]

    def _remove_full(self, *, keep: Path) -> list[str]:
        """Remove the files with older lines of this day but `keep`; return their names."""
        removed = sorted(path for path in self._files_of(self._day) if path != keep)
        for path in removed:
            path.unlink(missing_ok=True)
        return [path.name for path in removed]

    def _remove_old(self, day: date) -> None:
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            try:
                written = date.fromisoformat(path.name.removeprefix(f"{self.path.name}.")[:10])
            except ValueError:
                continue
            if (day - written).days > self._keep_days:
                path.unlink(missing_ok=True)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however many calls it takes. Raises OSError."""
    while data:
        data = data[os.write(fd, data) :]
