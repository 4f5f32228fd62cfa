"""Directory operations, locks, and looking for space."""

import subprocess
import sys
import threading
from pathlib import Path

from hft_mmap.files import has_space, locked
from hft_mmap.testing import PATIENCE_S


def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    """A second holder waits for the first, and both see the lock file made for them."""
    order = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with locked(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locked(tmp_path / "lock"):
        inside.set()
        order.append("first")
    thread.join(PATIENCE_S)
    assert order == ["first", "second"]


def test_a_dead_holder_blocks_nobody(tmp_path: Path) -> None:
    """The lock of a process that was killed is free."""
    code = "import sys, os; from pathlib import Path; from hft_mmap.files import locked\n"
    code += "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False).returncode == -9
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


def test_there_is_space_where_it_can_be_allocated(tmp_path: Path) -> None:
    """Looking for space leaves no file behind; what can't be allocated, or is no directory, has none."""
    assert has_space(tmp_path)
    assert not has_space(tmp_path, 2**60)
    assert not has_space(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
