"""perf.lab: series are made once, borrowed ones can be appended to, and nothing is left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from hft_mmap import Durability, Store
from perf.lab import DIRECTORY_VARIABLE, ROOMY, SYMBOL, Lab, default_directory


def total(data: Path) -> int:
    """Return how many points a data directory holds."""
    with Store(data, mode="r") as store:
        return store.series(SYMBOL).total


def test_a_series_is_made_once(tmp_path: Path) -> None:
    """A hundred million points take seconds, and every worker process asks for them."""
    first = Lab(tmp_path).stored(1234)
    made = (first / SYMBOL / "head").stat().st_mtime_ns
    assert Lab(tmp_path).stored(1234) == first
    assert (first / SYMBOL / "head").stat().st_mtime_ns == made
    assert total(first) == 1234


def test_what_is_appended_to_a_borrowed_series_is_gone_afterwards(tmp_path: Path) -> None:
    """Its full chunks are linked, not copied: the original must not change with it."""
    lab = Lab(tmp_path)
    points = 4_194_304 + 100
    before = {file: file.read_bytes() for file in lab.stored(points).rglob("*") if file.is_file()}
    with lab.borrowed(points) as data:
        chunks = sorted((data / SYMBOL).glob("*.chunk"))
        assert [chunk.stat().st_nlink for chunk in chunks] == [2, 1]
        with Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
            assert store.append(SYMBOL, [1.0, 2.0]) == points + 2
    assert not data.exists()
    assert {file: file.read_bytes() for file in before} == before


def test_what_a_killed_benchmark_left_is_cleared_away(tmp_path: Path) -> None:
    """Scratch directories carry the process that made them."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"scratch-{ended.pid}-x").mkdir()
    with Lab(tmp_path).scratch() as mine:
        Lab(tmp_path)
        assert list(tmp_path.glob("scratch-*")) == [mine]


def test_the_directory_is_the_users_cache_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes go where caches go."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "hft-mmap-perf"
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "named"))
    assert default_directory() == tmp_path / "named"
