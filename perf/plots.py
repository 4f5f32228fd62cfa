"""The plots of the reports, as PNG with log axes: latency against points stored, and against the window."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from hft_mmap import STANDARD_WINDOWS
from perf.experiments.sweep import STORED, TREE_POINTS, label
from perf.lab import ROOT
from perf.record import Benchmark, values_of

Results = Mapping[str, Benchmark]
TITLES = {
    "latency-stored": "Time of a window query against points stored",
    "latency-window": "Time of a window query against the window",
}
DIRECTORY = ROOT / "perf" / "plots"
Line = tuple[str, list[tuple[int, str, str]]]
"""A title, and its points: x, and the names of the benchmarks that have the middle and the p95."""


def _point(what: str, x: int, stored: int, window: int) -> tuple[int, str, str]:
    middle, late = (label(what, stored, window, p) for p in (50, 95))
    return x, middle, late


def against_stored() -> list[Line]:
    """Return the lines of the plot against the points stored."""
    return [
        ("hft-mmap, the newest 10", [_point("window", n, n, 10) for n in STORED]),
        ("hft-mmap, all points", [_point("window", n, n, n) for n in STORED]),
        ("hft-mmap, all eight windows", [_point("all_windows", n, n, n) for n in STORED]),
        ("numpy, one pass over all points", [_point("rescan", n, n, n) for n in STORED]),
    ]


def against_window() -> list[Line]:
    """Return the lines of the plot against the window."""
    return [
        ("hft-mmap", [_point("window", w, STORED[-1], w) for w in STANDARD_WINDOWS]),
        ("numpy, one pass", [_point("rescan", w, STORED[-1], w) for w in STANDARD_WINDOWS]),
        ("binary tree, plain Python", [_point("tree", w, TREE_POINTS, w) for w in STANDARD_WINDOWS[:5]]),
    ]


def needs() -> list[str]:
    """Return the benchmarks that the plots take."""
    lines = (*against_stored(), *against_window())
    return [benchmark for _, points in lines for _, *benchmarks in points for benchmark in benchmarks]


def draw_all(results: Results, directory: Path) -> list[Path]:
    """Draw both plots; return their files, or none where matplotlib or all points are missing."""
    try:
        import_module("matplotlib").use("Agg")
        plt = import_module("matplotlib.pyplot")
    except ImportError:
        print("report: no plots, matplotlib is not installed; `make report` installs it")
        return []
    if not any(benchmark in results for benchmark in needs()):
        print("report: no plots, the result holds none of their points")
        return []
    directory.mkdir(exist_ok=True)
    return [
        _draw(plt, results, against_stored(), directory / "latency-stored.png", "points stored"),
        _draw(plt, results, against_window(), directory / "latency-window.png", "window: the newest points"),
    ]


def _draw(
    plt: Any,  # noqa: ANN401 - matplotlib is no package of this environment by itself
    results: Results,
    lines: Sequence[Line],
    file: Path,
    x_label: str,
) -> Path:
    figure, axes = plt.subplots(figsize=(9, 5.5), dpi=110)
    for title, points in lines:
        known = [(x, middle, late) for x, middle, late in points if middle in results and late in results]
        xs = [x for x, _, _ in known]
        middles, lates = ([median(values_of(results[one])) for one in names] for names in (
            [middle for _, middle, _ in known], [late for _, _, late in known]))  # fmt: skip
        axes.plot(xs, middles, marker="o", label=title, linewidth=2 if "hft-mmap" in title else 1.3)
        axes.fill_between(xs, middles, lates, alpha=0.2)
    axes.set(
        xscale="log", yscale="log", xlabel=x_label, ylabel="seconds a query (median; shaded up to the p95 of calls)"
    )
    axes.set_title(TITLES[file.stem])
    axes.grid(visible=True, which="major", alpha=0.4)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
    return file
