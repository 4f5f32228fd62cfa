"""The comparison with other stores: adapters give right answers, exact values are exact, the report is complete."""

import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from hft_mmap.stats import exact_window_stats, summarise_exactly
from perf.peers import report
from perf.peers.catalogue import NAMES, entry_of, make
from perf.peers.conduct import ROOT, Exact, Plan, measure
from perf.peers.data import BATCH_POINTS, batches, cents, exact_answer, exact_variance, near_a_billion
from perf.peers.machine import Busy
from perf.peers.measure import percentile_95, windows_of
from perf.peers.peer import Method, Peer, Survives, bytes_on_disk
from perf.peers.results import PeerResult, Run

WITHOUT_PACKAGES = ("hft-mmap", "hft-mmap-sync", "hft-mmap-http", "numpy", "sqlite", "python-tree", "python-moments")
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"
POINTS = 10_000
WINDOWS = (1, 10, 999, 10_000)


def opened(name: str, path: Path) -> Peer:
    """Return an open peer whose data is below `path`."""
    peer = make(name)
    path.mkdir(exist_ok=True)
    peer.open(path)
    return peer


def run_of(*peers: PeerResult) -> Run:
    """Return a run over `peers`."""
    return Run("2026-01-02T03:04:05+00:00", POINTS, BATCH_POINTS, 10.0, 10.0, 10.0, 60.0, {"env_cpu": "a CPU"}, peers)


@pytest.fixture(scope="module")
def prices() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the prices that all append."""
    return np.concatenate(list(batches(POINTS)))


@pytest.mark.parametrize("name", WITHOUT_PACKAGES)
def test_adapter_gives_the_exact_values(
    name: str, tmp_path: Path, prices: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    """Min, max and last are the values that were appended; avg and var are right to nine digits."""
    peer = opened(name, tmp_path / "data")
    for start in range(0, POINTS, 1_000):
        peer.append(prices[start : start + 1_000])

    for window in WINDOWS:
        expected = exact_window_stats(prices.tolist(), window)
        actual = peer.query(window)
        assert actual[:3] == expected[:3]
        assert actual.avg == pytest.approx(expected.avg, rel=1e-12)
        assert actual.var == pytest.approx(expected.var, rel=1e-9, abs=1e-9)
    peer.close()


@pytest.mark.parametrize("name", WITHOUT_PACKAGES)
def test_adapter_answers_the_same_after_a_restart(
    name: str, tmp_path: Path, prices: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    """What was closed in order is there when it is opened again, and appending goes on behind it."""
    peer = opened(name, tmp_path / "data")
    peer.append(prices[:6_000])
    before = peer.query(5_000)
    peer.close()

    again = opened(name, tmp_path / "data")
    assert again.query(5_000) == before
    again.append(prices[6_000:])
    assert again.query(POINTS)[:3] == (prices.min(), prices.max(), prices[-1])
    again.close()


@pytest.mark.parametrize("name", WITHOUT_PACKAGES)
def test_adapter_states_its_settings_and_its_promise(name: str, tmp_path: Path) -> None:
    """The report has something to say about every store: version, licence, settings, durability."""
    peer = opened(name, tmp_path / "data")
    facts = peer.facts()
    peer.close()

    assert all((facts.title, facts.version, facts.licence, facts.durability, *facts.settings))


def test_running_sums_lose_the_variance_and_hft_mmap_does_not(tmp_path: Path) -> None:
    """Near 1e9 the tree of sums has no digit of the variance right; ours has all but the last ones."""
    values = near_a_billion(POINTS)
    exact = exact_variance(values)
    found = {}
    for name in ("hft-mmap", "python-tree"):
        peer = opened(name, tmp_path / name)
        peer.append(values)
        found[name] = float(abs(Fraction(peer.query(POINTS).var) / exact - 1))
        peer.close()

    assert found["hft-mmap"] < 1e-14
    assert found["python-tree"] > 0.1


@pytest.mark.peers
@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PACKAGES])
def test_adapter_of_a_package_gives_the_exact_values(name: str) -> None:
    """All phases of the comparison on two batches, in .venv-peers; PostgreSQL's account can't enter tmp_path."""
    if not PEERS_PYTHON.exists():
        pytest.skip("there is no .venv-peers; make test-peers makes it")
    with TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o711)
        plan = Plan(2 * BATCH_POINTS, 30.0, 2.0, 30.0, Path(directory), PEERS_PYTHON)
        result = measure(entry_of(name), plan, Exact())
    if result.facts is None and any("install" in problem for problem in result.problems):
        pytest.skip(str(result.problems))
    assert result.problems == ()
    assert result.points == 2 * BATCH_POINTS
    assert all(found.exact_ends and found.avg_error < 1e-9 and found.var_error < 1e-6 for found in result.windows)
    assert result.restart_same is True


def test_merged_moments_keep_the_variance_that_sums_lose(tmp_path: Path) -> None:
    """Eight digits of it near 1e9, where a tree of sums has none; it is only slow."""
    values = near_a_billion(POINTS)
    peer = opened("python-moments", tmp_path / "data")
    peer.append(values)
    assert float(abs(Fraction(peer.query(POINTS).var) / exact_variance(values) - 1)) < 1e-7
    peer.close()


def test_report_says_why_a_store_was_given_fewer_points_and_compares_tier_sync(tmp_path: Path) -> None:
    """A figure of fewer points is no figure of the full size."""
    plan = Plan(POINTS, 30.0, 1.0, 30.0, tmp_path, Path(sys.executable))
    taken = {name: measure(entry_of(name), plan, Exact()) for name in ("hft-mmap", "hft-mmap-sync")}
    facts = taken["hft-mmap-sync"].facts
    assert facts is not None
    assert facts.survives is Survives.ALL
    other = replace(taken["hft-mmap-sync"], name="other", facts=replace(facts, ours=False, title="another"))
    few = replace(other, most_points=POINTS, most_points_why="it is slow")
    text = report.text(replace(run_of(*taken.values(), few), points=2 * POINTS), None)
    assert "given 1e4 points at most: it is slow" in text
    assert "(tier `sync`)" in " ".join(text.split())


def test_exact_variance_is_the_rational_one() -> None:
    """The integers that stand for the values lose nothing."""
    values = near_a_billion(1_000)
    summary = summarise_exactly(values.tolist())

    assert exact_variance(values) == summary.m2 / summary.count


def test_exact_answer_is_that_of_the_decimal_prices(prices: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Sums of cents and sums of the stored values agree to the last digits."""
    expected = exact_window_stats(prices.tolist(), 5_000)
    actual = exact_answer(cents(POINTS), 5_000)

    assert actual[:3] == expected[:3]
    assert actual == pytest.approx(expected[:5], rel=1e-14)


def test_batches_are_the_same_in_every_run_and_end_where_asked() -> None:
    """The last batch takes what is left."""
    sizes = [len(batch) for batch in batches(2 * BATCH_POINTS + 5)]

    assert sizes == [BATCH_POINTS, BATCH_POINTS, 5]
    assert np.array_equal(next(batches(BATCH_POINTS)), next(batches(10 * BATCH_POINTS)))


@pytest.mark.parametrize(("points", "expected"), [(10, [10]), (1000, [10, 100, 1000]), (2345, [10, 100, 1000, 2345])])
def test_windows_grow_tenfold_up_to_all(points: int, expected: list[int]) -> None:
    """The largest window is everything that was appended."""
    assert windows_of(points) == expected


def test_percentile_is_a_value_that_was_measured() -> None:
    """Nearest rank, also for few values."""
    assert percentile_95(range(1, 101)) == 95
    assert percentile_95([3.0, 1.0, 2.0]) == 3.0


def test_holes_of_sparse_files_take_no_space(tmp_path: Path) -> None:
    """Only allocated blocks count."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)

    assert bytes_on_disk(tmp_path) < 1 << 20


def test_whole_measurement_of_one_store(tmp_path: Path) -> None:
    """Fresh processes append, ask, restart and ask again; everything is found, is right and can be kept."""
    plan = Plan(POINTS, 30.0, 5.0, 30.0, tmp_path, Path(sys.executable))
    result = measure(entry_of("numpy"), plan, Exact())

    assert result.problems == ()
    assert result.points == POINTS
    assert [found.window for found in result.windows] == [10, 100, 1000, 10_000]
    assert all(found.exact_ends and found.avg_error < 1e-12 and found.var_error < 1e-9 for found in result.windows)
    assert result.restart_same is True
    assert result.var_error is not None
    assert result.var_error < 1e-9
    assert result.disk_bytes is not None
    assert result.disk_bytes >= 8 * POINTS
    kept = tmp_path / "kept.json"
    run_of(result).save(kept)
    assert Run.load(kept) == run_of(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json"]


def test_store_that_cannot_be_measured_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program or package is a line of the report, not a figure and not an end of the run."""
    monkeypatch.setattr(report, "REPORT", tmp_path / "REPORT.md")
    plan = Plan(POINTS, 5.0, 5.0, 5.0, tmp_path, Path(sys.executable))
    result = measure(entry_of("duckdb"), plan, Exact())
    text = report.write_report(run_of(result), None).read_text(encoding="utf-8")

    assert result.facts is None
    assert result.problems == (
        "measure: duckdb can't be imported (No module named 'duckdb'); `make peers` installs it",
    )
    assert "- duckdb: measure: duckdb can't be imported" in text


def test_report_marks_what_was_extrapolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rescan's largest window is extended in proportion, with a mark; a tree's is not."""
    monkeypatch.setattr(report, "REPORT", tmp_path / "REPORT.md")
    plan = Plan(POINTS, 30.0, 5.0, 30.0, tmp_path, Path(sys.executable))
    measured = measure(entry_of("numpy"), plan, Exact())
    run = Run(**{**{name: getattr(run_of(measured), name) for name in Run.__slots__}, "points": 100_000})
    row = next(
        line
        for line in report.write_report(run, None).read_text(encoding="utf-8").splitlines()
        if line.startswith("| numpy rescan") and "~" in line
    )

    assert measured.facts is not None
    assert measured.facts.method is Method.RESCAN
    assert row.count("~") == 1


def test_every_peer_has_a_name_of_its_own() -> None:
    """Names are what the command line and the figures go by."""
    assert len(set(NAMES)) == len(NAMES)


def test_own_processor_time_is_not_counted_as_that_of_others() -> None:
    """A machine whose busy time is all ours was not disturbed; what is beyond that is a share of all cores."""
    cores = os.cpu_count() or 1
    before = Busy(at_s=0.0, all_s=100.0, own_s=10.0)

    assert Busy(at_s=10.0, all_s=105.0, own_s=15.0).others_since(before) == 0.0
    assert Busy(at_s=10.0, all_s=105.0 + 5.0 * cores, own_s=15.0).others_since(before) == 0.5
