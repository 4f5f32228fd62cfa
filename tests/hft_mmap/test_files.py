"""Directory operations, locks, and looking for space."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hft_mmap.files.disk import file_system_of, has_space, make_directory
from hft_mmap.files.locks import locked
from hft_mmap.testing import PATIENCE_S


def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    """A second holder waits for the first, and both see the lock file made for them."""
    order = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        locked(tmp_path / "lock", lambda: order.append("second"))

    thread = threading.Thread(target=second)
    thread.start()

    def first() -> None:
        inside.set()
        order.append("first")

    locked(tmp_path / "lock", first)
    thread.join(PATIENCE_S)
    assert order == ["first", "second"]


def test_a_dead_holder_blocks_nobody(tmp_path: Path) -> None:
    """The lock of a process that was killed is free."""
    code = "import sys, os; from pathlib import Path; from hft_mmap.files.locks import locked\n"
    code += "locked(Path(sys.argv[1]), lambda: os.kill(os.getpid(), 9))"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False).returncode == -9
    assert locked(tmp_path / "lock", (tmp_path / "lock").exists)


def test_there_is_space_where_it_can_be_allocated(tmp_path: Path) -> None:
    """Looking for space leaves no file behind; what can't be allocated, or is no directory, has none."""
    assert has_space(tmp_path)
    assert not has_space(tmp_path, 2**60)
    assert not has_space(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "synced"),
    [
        ("a/b/c", ["a/b"]),  # made by a process that may have been killed before it could sync
        ("a", [".", "a", "a/b"]),
        ("", ["..", ".", "a", "a/b"]),
    ],
)
def test_every_name_of_a_new_directory_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, synced: list[str]
) -> None:
    """Each parent is synced before the next directory is made, beginning with the one of the lowest that was there."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    really = os.fsync

    def recorded(fd: int) -> None:
        found.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
        really(fd)

    monkeypatch.setattr(os, "fsync", recorded)
    make_directory(tmp_path / "a" / "b" / "c")
    assert found == synced
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_system_that_no_mount_tells_of_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox that hides its mounts the type is not guessed."""
    assert file_system_of(tmp_path) != "unknown"
    monkeypatch.setattr(Path, "read_text", lambda _path: "")
    assert file_system_of(tmp_path) == "unknown"
