"""The plots of the reports, as PNG with log axes: latency against points stored, and against the window."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from hft_mmap import STANDARD_WINDOWS
from perf.case import name
from perf.record import Benchmark, values_of

Results = Mapping[str, Benchmark]
TITLES = {
    "latency-stored": "Time of a window query against points stored",
    "latency-window": "Time of a window query against the window",
}
_STORED = (1_000, 10**6, 10**8)


def needs() -> list[str]:
    """Return the benchmarks that the plots take."""
    return [benchmark for line in (*_against_stored(), *_against_window()) for _, benchmark in line[1]]


def _against_stored() -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield each line: its title, and its points as x and the name of the benchmark."""
    for window in (10, 10**8):
        title = f"hft-mmap, the newest {window:,}"
        yield title, [(n, name("reading", "window", stored=n, window=window)) for n in _STORED]
    yield "hft-mmap, all eight windows", [(n, name("reading", "all_windows", stored=n)) for n in _STORED]


def _against_window() -> Iterator[tuple[str, list[tuple[int, str]]]]:
    yield "hft-mmap", [(w, name("reading", "window", stored=10**8, window=w)) for w in STANDARD_WINDOWS]
    yield "numpy, one pass", [(w, name("naive", "rescan", stored=10**8, window=w)) for w in STANDARD_WINDOWS]
    narrow = STANDARD_WINDOWS[:5]
    yield "binary tree, plain Python", [(w, name("naive", "tree_window", stored=10**5, window=w)) for w in narrow]


def draw_all(results: Results, directory: Path) -> list[Path]:
    """Draw both plots; return their files, or none where matplotlib is not installed."""
    try:
        import_module("matplotlib").use("Agg")
        plt = import_module("matplotlib.pyplot")
    except ImportError:
        print("report: no plots, matplotlib is not installed; `make report` installs it")
        return []
    directory.mkdir(exist_ok=True)
    return [
        _draw(plt, results, list(_against_stored()), directory / "latency-stored.png", "points stored"),
        _draw(plt, results, list(_against_window()), directory / "latency-window.png", "window: the newest points"),
    ]


def _draw(
    plt: Any,  # noqa: ANN401 - matplotlib is no package of this environment by itself
    results: Results,
    lines: Sequence[tuple[str, list[tuple[int, str]]]],
    file: Path,
    label: str,
) -> Path:
    figure, axes = plt.subplots(figsize=(9, 5.5), dpi=110)
    for title, points in lines:
        known = [(x, values_of(results[benchmark])) for x, benchmark in points if benchmark in results]
        middles = [median(values) for _, values in known]
        axes.plot([x for x, _ in known], middles, marker="o", label=title, linewidth=2 if "hft-mmap" in title else 1.3)
        axes.fill_between(
            [x for x, _ in known], middles, [sorted(values)[len(values) * 95 // 100] for _, values in known], alpha=0.2
        )
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds a query (median; shaded up to p95)")
    axes.set_title(TITLES[file.stem])
    axes.grid(visible=True, which="major", alpha=0.4)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
    return file
